"""Sentences on the benchmark of mitigations and on mitigation in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs.scripts.figures import BARS, PERCENT, figure, holds, listed, percent, read
from mmh_core.studies.mitigation.benchmark import ENOUGH
from mmh_core.studies.mitigation.benchmark_rows import FROM, SOLVED


def counted(data: Path) -> str:
    """Return what the table of mitigations counts, and the bars."""
    found = read(data / "mitigation-benchmark.json")
    test, chosen = found["captions"]["test"], found["captions"]["calibration"]
    kinds = listed(sorted({one["kind"] for one in test}))
    return (
        f"{len(test)} memorized captions of the test half ({kinds}), {len(found['seeds'])} seeds "
        f"each, {found['steps']} steps, guidance {found['guidance']:g}; {PERCENT} intervals by "
        "bootstrap over captions. Each strength is the smallest that left at most "
        f"{percent(ENOUGH)} of the images a copy or not solved on {len(chosen)} captions of the "
        "other half, else the strongest. **Solved**: no copy by the search, LID risen beyond its "
        "error, alignment at least nine tenths of that without mitigation, the kind of "
        "image asked for. **Not solved**: moved off the threshold of the search, LID unchanged. "
        "Costs are for each image. Each mitigation is explained in the "
        "[reference](../reference/mitigations.md).\n\n"
        f"Bars: three mitigations that solve {figure(SOLVED, 1)} of the images where "
        f"{figure(FROM, 1)} are copies and leave reference captions unharmed; rank correlation "
        f"{figure(BARS['rank correlation'][0], 1)}."
    )


def outcome(data: Path) -> str:
    """Return what the benchmark of mitigations found."""
    found = read(data / "mitigation-benchmark.json")
    rows = {row["treatment"]["mitigation"]: row for row in found["rows"]}
    repelled, chain = rows["sparse_repellency"], rows["automatic_chain"]
    pushed, padding = rows["anti_memorization_guidance"], rows["padding_fix"]
    unharmed = {row["treatment"]["mitigation"] for row in found["normal"] if not row["harmed"]}
    best = sorted(rows, key=lambda name: -rows[name]["solved"]["value"])[:2]
    schedules = [
        rows[name]["copied"]["value"]
        for name in ("static_guidance", "opposite_guidance", "dynamic_guidance")
    ]
    medians = [
        row["value"]
        for row in read(data / "pocket-check.json")["figures"]
        if row["figure"] in (f"median conditional LID, {kind}" for kind in ("varied", "open"))
    ]
    kept = padding["alignment"]["value"] / padding["alignment_before"]["value"]
    holds(not any(row["meets"] for row in rows.values()), "no mitigation passes")
    holds(
        set(best) == {"sparse_repellency", "automatic_chain"}
        and unharmed == {*best, "noise_optimization"},
        "the two nearest and one more leave reference captions unharmed",
    )
    holds(repelled["copied"]["value"] == 0, "sparse repellency ends copying everywhere")
    holds(pushed["solved"]["value"] == 0, "the push off training images solves nothing")
    return (
        "**None** of the three asked for passes. The nearest are `sparse_repellency` (solves "
        f"{_share(repelled, 'solved')} of the images) and the automatic chain "
        f"({_share(chain, 'solved')}); both leave reference captions unharmed, of the others "
        "`noise_optimization` alone does. What they do not solve they fail in different ways.\n\n"
        "- `sparse_repellency` ends copying everywhere, at a mean LID of "
        f"{repelled['lid']['value']:.1f}; where an image is not counted as solved it shows too "
        f"little of what was asked. This LID is far from the medians of {medians[0]:.0f} and "
        f"{medians[1]:.0f} of the images that the model invents "
        "([varied and open](embedded-model.md)).\n"
        f"- The automatic chain does not look at LID: {_share(chain, 'unsolved')} of its images "
        "are only moved off the threshold of the search.\n"
        "- `anti_memorization_guidance`, the push off training images, solves nothing: the search "
        "is satisfied, the image still looks much like the training image, and the mean LID stays "
        f"at {figure(pushed['lid']['value'], 1)} (not solved in {_share(pushed, 'unsolved')}).\n"
        f"- `padding_fix` leaves {percent(padding['copied']['value'])} copies, keeps "
        f"{figure(kept, 2)} of the alignment and solves {_share(padding, 'solved')}.\n"
        f"- The guidance schedules leave {percent(min(schedules))} to {percent(max(schedules))} "
        "copies and lose most of what was asked.\n\n"
        "Overfitted captions are the hard ones: the model knows nothing else under their names."
    )


def reference_captions(data: Path) -> str:
    """Return what the table of reference captions counts."""
    found = read(data / "mitigation-benchmark.json")["captions"]["normal"]
    kinds = listed(sorted({one["kind"] for one in found}, reverse=True))
    return (
        f"{len(found)} {kinds} captions of the test half, which are not memorized. ± is half the "
        "interval of the unmitigated mean, what a change is to be compared with."
    )


def rank_correlation(data: Path) -> str:
    """Return how the rank correlation compares with its bar."""
    found = read(data / "mitigation-benchmark.json")
    bar = BARS["rank correlation"][0]
    every = found["correlation"]["share"]["value"]
    asked = found["correlation_of_what_is_asked"]["share"]["value"]
    holds(every < bar <= asked, "the bar lies between the two correlations")
    return (
        f"The correlation with the copy rate is {figure(every, 2)} over all cells, below the bar "
        f"of {figure(bar, 1)}, and {figure(asked, 2)} without the two mitigations that move the "
        "image: LID is the model's, evaluated with the prompt, and they leave the model as it is."
    )


def token_attribution(data: Path) -> str:
    """Return whether an attribution of tokens beats random choice."""
    found = read(data / "mitigation-benchmark.json")
    rows = [row for row in found["attribution"] if row["by"] != "random"]
    holds(all(row["difference"]["high"] > 0 for row in rows), "no attribution beats random choice")
    return (
        f"Two tokens dropped from each of {len(found['captions']['test'])} captions that are "
        "copied; proper names may be among them. No attribution beats random choice here: most of "
        "these captions are copied until their name is dropped."
    )


def training_mitigation(data: Path) -> str:
    """Return what training without duplicates, and for a shorter time, does."""
    found = read(data / "pocket-training-mitigation.json")
    copies = {
        (one["training_set"], one["step"]): one["groups"]["overfit"]["copied"]
        + one["groups"]["duplicate"]["copied"]
        for one in found["snapshots"]
    }
    last = max(step for _, step in copies)
    before = max(step for _, step in copies if step < last)
    holds(
        copies["as it is", before] < copies["as it is", last], "stopping early leaves fewer copies"
    )
    holds(
        all(copies["deduplicated", step] == 0 for step in (before, last)),
        "nothing is copied without duplicates",
    )
    return (
        f'One seed, {found["steps"]:,} steps each, which only begins to copy. "As it is" is the '
        'training set with its duplicates; "deduplicated" has every image once. It shows a '
        f"direction, not a size: as it is, stopping at step {before:,} leaves fewer copies than "
        f"step {last:,}; deduplicated, nothing is copied and the last step aligns best."
    )


def _share(row: Any, name: str) -> str:
    return figure(row[name]["value"], 2)
