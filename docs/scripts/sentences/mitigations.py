"""Sentences on the benchmark of mitigations and on mitigation in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs.scripts.figures import BARS, PERCENT, check_of_model, figure, listed, percent, read
from mmh_core.counting import plural
from mmh_core.studies.mitigation.benchmark import ENOUGH
from mmh_core.studies.mitigation.benchmark_rows import COPIES_BEFORE, SOLVED_SHARE


def counted(data: Path) -> str:
    """Return what the table of mitigations counts, and the bars."""
    found = read(data / "mitigation-benchmark.json")
    test, chosen = found["captions"]["test"], found["captions"]["calibration"]
    kinds = listed(sorted({one["kind"] for one in test}))
    return (
        f"{plural(len(test), 'memorized caption')} of the test half ({kinds}), "
        f"{plural(len(found['seeds']), 'seed')} "
        f"each, {found['steps']} steps, guidance {found['guidance']:g}; {PERCENT} intervals over "
        "captions ([which ones](../explanation/statistics.md)). Each strength is the smallest "
        "that left at most "
        f"{percent(ENOUGH)} of the images a copy or not solved on "
        f"{plural(len(chosen), 'caption')} of the other half, else the strongest. **Solved**: no "
        "copy by the search, LID risen beyond its error, alignment at least nine tenths of that "
        "without mitigation, the kind of image asked for. **Not solved**: moved off the threshold "
        "of the search, LID unchanged. "
        "Costs are for each image. Each mitigation is explained in the "
        "[reference](../reference/mitigations.md).\n\n"
        f"Bars: three mitigations that solve {figure(SOLVED_SHARE, 1)} of the images where "
        f"{figure(COPIES_BEFORE, 1)} are copies and leave reference captions unharmed; "
        f"rank correlation {figure(BARS['rank correlation'][0], 1)}."
    )


#: How many of the mitigations are named that solve most.
_NEAREST = 2
#: The sentence on the mitigations that fail a criterion.
_CRITERIA = {
    "no copy": "Copies remain",
    "LID risen": "Images are only moved off the threshold of the search, LID unchanged",
    "subject kept": "The subject of the prompt is lost",
    "reference prompts unharmed": "Reference captions are harmed",
    "robust": "Copies come back",
}


def outcome(data: Path) -> str:
    """Return what the benchmark of mitigations found: what passes, what is nearest, what fails."""
    found = read(data / "mitigation-benchmark.json")
    rows = [row for row in found["rows"] if _name(row) != "none"]
    failed, harmed = failures(found), _harmed(found)
    passing = [_code(row) for row in rows if row["meets"]]
    head = (
        f"**{len(passing)}** of {plural(len(rows), 'mitigation')} pass: {listed(passing)}."
        if passing
        else f"**None** of {plural(len(rows), 'mitigation')} passes."
    )
    nearest = sorted(rows, key=lambda row: -_solved(row))[:_NEAREST]
    names = [
        f"{_code(row)} ({_share(row, 'solved')} of the images, reference captions "
        f"{'harmed' if _name(row) in harmed else 'unharmed'})"
        for row in nearest
    ]
    lines = [f"{head} Most images are solved by {listed(names)}.", ""]
    for criterion, sentence in _CRITERIA.items():
        failing = [_code(row) for row in rows if criterion in failed[_name(row)]]
        if failing:
            lines.append(f"- {sentence}: {listed(failing)}.")
    unfailed = [_code(row) for row in rows if not failed[_name(row)]]
    if unfailed:
        lines.append(f"- No criterion that was judged defeats {listed(unfailed)}.")
    return "\n".join([*lines, "", _robust(found), "", _invented(data, nearest[0])]).rstrip()


def failures(found: Any) -> dict[str, tuple[str, ...]]:
    """Return by mitigation the criteria that it fails.

    An earlier file does not have them: they are then those by which more than the share allowed of
    the images fail, and the harm to reference captions; of robustness nothing is known.
    """
    if "criteria" in found:
        return {_name(row): tuple(row["failed"]) for row in found["criteria"]}
    harmed, failed = _harmed(found), {}
    for row in found["rows"]:
        copied, unsolved = row["copied"]["value"], (row["unsolved"]["value"] or 0)
        shares = {
            "no copy": copied,
            "LID risen": unsolved,
            "subject kept": max(0, 1 - _solved(row) - copied - unsolved),
        }
        names = [name for name, share in shares.items() if share > 1 - SOLVED_SHARE]
        if _name(row) in harmed:
            names.append("reference prompts unharmed")
        failed[_name(row)] = tuple(names)
    return failed


def _robust(found: Any) -> str:
    """Return what is known of the robustness."""
    if not found.get("robustness"):
        return "Robustness (paraphrases, other seeds, the re-trigger attack) was not measured."
    rows = [row for row in found["robustness"] if _name(row) != "none"]
    robust = [_code(row) for row in rows if row["robust"]]
    unknown = [_code(row) for row in rows if row["robust"] is None]
    text = f"Robust against all three ways: {listed(robust) if robust else 'none'}."
    return f"{text} Not to be judged: {listed(unknown)}." if unknown else text


def _invented(data: Path, row: Any) -> str:
    """Return the LID under a mitigation beside that of images that the model invents, if known."""
    medians = [
        one.value
        for one in check_of_model(data).rows
        if one.figure in (f"median conditional LID, {kind}" for kind in ("varied", "open"))
    ]
    if not medians or row["lid"]["value"] is None:
        return ""
    invented = listed([f"{median:.0f}" for median in medians])
    return (
        f"Under {_code(row)} the mean LID is {figure(row['lid']['value'], 1)}; images that the "
        f"model invents have medians of {invented} ([shipped model](embedded-model.md))."
    )


def _name(row: Any) -> str:
    return str(row["treatment"]["mitigation"])


def _code(row: Any) -> str:
    return f"`{_name(row)}`"


def _solved(row: Any) -> float:
    return float(row["solved"]["value"] or 0)


def _harmed(found: Any) -> set[str]:
    """Return the mitigations that harm reference captions."""
    return {_name(row) for row in found["reference"] if row["harmed"]}


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
    asked = found["correlation_without_image_space"]["share"]["value"]
    return (
        f"The correlation with the copy rate is {figure(every, 2)} over all cells, "
        f"{_beside(every, bar)} the bar of {figure(bar, 1)}, and {figure(asked, 2)} without the "
        f"two mitigations that move the image, {_beside(asked, bar)} it: LID is the model's, "
        "evaluated with the prompt, and they leave the model as it is."
    )


def _beside(value: float, bar: float) -> str:
    return "below" if value < bar else "at or above"


def token_attribution(data: Path) -> str:
    """Return which attributions of tokens beat random choice."""
    found = read(data / "mitigation-benchmark.json")
    rows = [row for row in found["attribution"] if row["by"] != "random"]
    better = [row["by"] for row in rows if row["difference"]["high"] < 0]
    verdict = (
        f"Better than random choice, beyond the interval: {listed(better)}."
        if better
        else "No attribution beats random choice here: no interval lies below it."
    )
    captions = plural(len(found["captions"]["test"]), "caption")
    return (
        f"Two tokens dropped from each of {captions} that are "
        f"copied; proper names may be among them. {verdict}"
    )


def training_mitigation(data: Path) -> str:
    """Return what training without duplicates, and for a shorter time, does."""
    found = read(data / "pocket-training-mitigation.json")
    copies = {
        (one["training_set"], one["step"]): _copied(one["groups"]) for one in found["snapshots"]
    }
    steps = sorted({step for _, step in copies})
    last, before = steps[-1], steps[-2] if len(steps) > 1 else steps[-1]
    shares = {
        (arm, step): percent(copies[arm, step])
        for arm in ("as it is", "deduplicated")
        for step in (before, last)
    }
    return (
        f'One seed, {found["steps"]:,} steps each. "As it is" is the training set with its '
        'duplicates; "deduplicated" has every image once. It shows a direction, not a size: of '
        f"the images of memorized captions {shares['as it is', before]} are copies at step "
        f"{before:,} and {shares['as it is', last]} at step {last:,} as it is, "
        f"{shares['deduplicated', before]} and {shares['deduplicated', last]} deduplicated. "
        f"{_training_robustness(found)}"
    )


def _copied(groups: Any) -> float:
    """Return the mean share of copies over the groups of memorized captions."""
    shares = [part["copied"] for name, part in groups.items() if name != "normal"]
    return float(sum(shares) / len(shares))


def _training_robustness(found: Any) -> str:
    """Return how many copies come back in each training, "not measured" in an earlier file."""
    tried = [one for one in found["snapshots"] if one.get("robustness")]
    if not tried:
        return "Robustness was not measured."
    ways = (
        ("paraphrases", "of paraphrases"),
        ("seeds", "of other seeds"),
        ("attack", "after the re-trigger attack"),
        ("control", "after that on reference captions"),
    )
    parts = []
    for one in tried:
        counts = [
            f"{one['robustness'][way]['copies']} of {one['robustness'][way]['images']} {words}"
            for way, words in ways
        ]
        parts.append(f"{one['training_set']}, step {one['step']:,}: {', '.join(counts)}")
    return f"Copies that come back: {'; '.join(parts)}."


def _share(row: Any, name: str) -> str:
    return figure(row[name]["value"], 2)
