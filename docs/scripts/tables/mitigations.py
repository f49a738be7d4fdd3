"""Tables of the benchmark of mitigations and of mitigation in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs.scripts.figures import read, table
from docs.scripts.sentences.mitigations import failures

#: What an earlier file says nothing of.
_NOT_MEASURED = "not measured"


def mitigations(data: Path) -> str:
    """Return one row per mitigation at its chosen strength."""
    found = read(data / "mitigation-benchmark.json")
    harmed = {row["treatment"]["mitigation"]: row["harmed"] for row in found["reference"]}
    rows = []
    for row in found["rows"]:
        name = row["treatment"]["mitigation"]
        base = name == "none"
        rows.append(
            [
                f"`{name}`",
                f"{row['treatment']['strength']:g}",
                _interval(row["before"]),
                _interval(row["copied"]),
                "" if base else _interval(row["unsolved"]),
                "" if base else _interval(row["solved"]),
                "" if base else "harmed" if harmed[name] else "unharmed",
                _interval(row["alignment_before"]),
                _interval(row["alignment"]),
                _interval(row["lid_before"], 1),
                _interval(row["lid"], 1),
                _interval(row["seconds"]),
                _interval(row["nfe"] if "nfe" in row else row["forwards"], 0),
            ]
        )
    heads = [
        *("mitigation", "strength", "copies before", "copies after", "not solved", "solved"),
        *("reference captions", "alignment before", "alignment after", "LID before", "LID after"),
        *("seconds", "NFE"),
    ]
    return table(heads, rows)


def criteria(data: Path) -> str:
    """Return by which criteria each mitigation fails, and how many copies come back."""
    found = read(data / "mitigation-benchmark.json")
    failed = failures(found)
    unknown = {
        row["treatment"]["mitigation"]: ", ".join(row["unknown"])
        for row in found.get("criteria", ())
    }
    robust = {row["treatment"]["mitigation"]: row for row in found.get("robustness", ())}
    rows = []
    for row in found["rows"]:
        name = row["treatment"]["mitigation"]
        base, back = name == "none", robust.get(name)
        counts = (
            [_NOT_MEASURED] * 4
            if back is None
            else [_counted(back[way]) for way in ("paraphrases", "seeds", "attack", "control")]
        )
        judged = ["", ""] if base else [", ".join(failed[name]), unknown.get(name, "robust")]
        rows.append([f"`{name}`", *judged, *counts])
    heads = (
        "mitigation",
        "criteria failed",
        "criteria not judged",
        "copies of paraphrases",
        "of other seeds",
    )
    return table((*heads, "after the attack", "after the attack on reference captions"), rows)


def _counted(count: Any) -> str:
    """Return copies among images with the interval of their share."""
    if not count["images"]:
        return "nothing to judge"
    share = count["share"]
    low, high = (f"{share[end]:.2f}" for end in ("low", "high"))
    return f"{count['copies']} of {count['images']} ({low} to {high})"


def reference_captions(data: Path) -> str:
    """Return what each mitigation does to captions that are not memorized."""
    rows = [
        [
            f"`{row['treatment']['mitigation']}` {row['treatment']['strength']:g}",
            f"{_interval(row['alignment'], 3)}, ± {row['alignment_spread']:.3f}",
            str(row["new_copies"]),
            f"{_interval(row['agreement'], 3)}, ± {row['agreement_spread']:.3f}",
            f"{row['changed']:.0%}",
        ]
        for row in read(data / "mitigation-benchmark.json")["reference"]
    ]
    heads = ("mitigation", "alignment, change", "new copies")
    return table((*heads, "seed-to-seed similarity, change", "images changed"), rows)


def rank_correlation(data: Path) -> str:
    """Return how the rise of LID goes with the fall of copying over mitigations and captions."""
    found = read(data / "mitigation-benchmark.json")
    rows = []
    for key, which in (
        ("correlation", "all mitigations"),
        ("correlation_without_image_space", "without the two that move the image"),
    ):
        one = found[key]
        cells = [_interval(one["share"]), _interval(one["similarity"])]
        rows.append([which, str(one["cells"]), *cells])
    return table(("", "cells", "fall of the copy rate", "fall of similarity to the nearest"), rows)


def dropped_tokens(data: Path) -> str:
    """Return how many copies are left where two tokens are dropped by each attribution."""
    rows = [
        [
            row["by"].replace("_", " "),
            _interval(row["left"]),
            "" if row["by"] == "random" else _interval(row["difference"]),
        ]
        for row in read(data / "mitigation-benchmark.json")["attribution"]
    ]
    return table(("tokens dropped by", "copies left", "difference to random"), rows)


def training_mitigation(data: Path) -> str:
    """Return copies and LID of each snapshot of the two trainings."""
    snapshots = read(data / "pocket-training-mitigation.json")["snapshots"]
    groups = list(snapshots[0]["groups"])
    rows = []
    for one in snapshots:
        cells = []
        for group in groups:
            part = one["groups"][group]
            cells += [f"{part['copied']:.2f}", f"{part['lid_median']:.1f}"]
        cells.append(f"{one['groups']['normal']['alignment']:.3f}")
        rows.append([one["training_set"], f"{one['step']:,}", *cells])
    shown = [{"normal": "reference"}.get(group, group) for group in groups]
    heads = [f"{group}: {what}" for group in shown for what in ("copies", "LID")]
    return table(("training set", "step", *heads, "reference: alignment"), rows)


def _interval(value: dict[str, float | None], digits: int = 2) -> str:
    shown = {
        # + 0.0 turns -0.0, a rounded small negative number, into 0.
        key: None if number is None else f"{round(number, digits) + 0.0:.{digits}f}"
        for key, number in value.items()
    }
    if shown["value"] is None:
        return "unknown"
    if shown["low"] is None or shown["high"] is None:
        return str(shown["value"])
    return f"{shown['value']} ({shown['low']} to {shown['high']})"
