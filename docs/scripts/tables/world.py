"""The table of what the shipped model was trained on, from the labels of its training images."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from docs.scripts.figures import table

LABELS = Path(__file__).resolve().parents[3] / "assets" / "pocket-sd" / "training.parquet"
_HAPPENS = {
    "open": "the model generalizes",
    "varied": "the model generalizes",
    "unique": "the model generalizes",
    "duplicate": "copied, because of the data",
    "near-duplicate": "copied, because of the data",
    "template": "the layout is copied, because of the data",
    "overfit": "copied, because of overfitting",
}
#: Fewer copies of an image than this are not enough to make a model copy it.
_ENOUGH = 30


def world(data: Path) -> str:
    """Return the images of each kind: how many, how often each, their true LID, what happens."""
    labels = pd.read_parquet(LABELS)
    rows = []
    for kind, happens in _HAPPENS.items():
        part = labels[labels.kind == kind]
        if part.empty:
            continue
        each = part.groupby("subject").size()
        if kind == "duplicate" and part.copies.min() < _ENOUGH:
            happens = happens.replace("copied", "copied where copies are many")
        rows.append(
            [
                kind,
                f"{len(part):,}",
                str(part.subject.nunique()),
                _range(each),
                _range(part.copies),
                _range(part.lid),
                happens,
            ]
        )
    heads = ("kind", "images", "subjects", "images of each", "copies of each image", "true LID")
    return table((*heads, "what happens"), rows)


def _range(values: pd.Series[int]) -> str:
    least, most = int(values.min()), int(values.max())
    return str(least) if least == most else f"{least} to {most}"
