"""Tables of the benchmark of detectors."""

from __future__ import annotations

from pathlib import Path

from docs.scripts.figures import read, table
from mmh_core.detectors.catalogue import DETECTORS


def detectors(data: Path) -> str:
    """Return one row per detector, the best first."""
    rows = read(data / "benchmark.json")
    found = [*rows["detectors"], *([rows["combined"]["row"]] if "row" in rows["combined"] else [])]
    kinds = [kind for kind, _ in found[0]["kinds"]]
    cells = []
    for row in sorted(found, key=lambda row: (-row["all"]["auc"], -row["all"]["tpr"])):
        nfe = f"{row['nfe']:.1f}".removesuffix(".0")
        cells.append(
            [
                _label(row),
                f"{nfe} (+{row['generation']:.0f})" if row["generation"] else nfe,
                _bounds(row["all"], "auc"),
                _bounds(row["all"], "tpr"),
                *(f"{part['auc']:.3f}" for _, part in row["kinds"]),
            ]
        )
    heads = ("detector", "NFE", "AUC", "TPR at 1 % FPR")
    return table((*heads, *(f"AUC {kind}" for kind in kinds)), cells)


def cause(data: Path) -> str:
    """Return the confusion matrix of the cause."""
    found = read(data / "benchmark.json")["cause"]
    pairs = list(zip(found["true"], found["said"], strict=True))
    causes = [
        cause
        for cause in ("OD-Mem", "DD-Mem", "both")
        if cause in found["true"] or cause in found["said"]
    ]
    answers = (*causes, "not identifiable")
    rows = [[true, *(str(pairs.count((true, answer))) for answer in answers)] for true in causes]
    accuracy = f"{found['accuracy']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    heads = ("true cause", *(f"answer {answer}" for answer in answers))
    return f"{table(heads, rows)}\n\nBalanced accuracy {accuracy}."


def _label(row: dict[str, str]) -> str:
    """Return the label of a detector as it is called today, whatever the file calls it."""
    detector = DETECTORS.get(row["name"])
    return row["label"] if detector is None else detector.label


def _bounds(part: dict[str, float], name: str) -> str:
    return f"{part[name]:.3f} ({part[f'{name}_low']:.3f} to {part[f'{name}_high']:.3f})"
