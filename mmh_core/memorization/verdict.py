"""The one table of verdicts: severity, sign, color and sentence of each, for whoever shows one.

Three vocabularies speak of memorization: that of an image (`ImageVerdict`), that of a reviewer
(`REVIEW_ROWS`, None for no verdict yet) and that of a point of a manifold (`VerdictLabel`). A sign
means the same in all of them. Pages, charts, reports, queues and scans read the rows here; none
has an order or a sign of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from mmh_core.memorization.hypothesis import VerdictLabel

#: What can be said of an image. Without a training set to search nobody can call it a copy.
ImageVerdict = Literal[
    "exact copy",
    "template copy",
    "suspicious, no copy found",
    "not memorized",
    "memorized, cause not identifiable",
    "cannot be judged",
    "not read yet",
    "likely copy, compare by eye",
    "no copy found, LID not calibrated",
]
IMAGE_VERDICTS: tuple[ImageVerdict, ...] = get_args(ImageVerdict)
#: Names of the colors in the style sheet of the reports.
Tone = Literal["copy", "template", "suspicious", "free", "unknown"]


@dataclass(frozen=True)
class VerdictRow:
    """The severity and the looks of one verdict.

    `severity`: of two verdicts the higher counts for a prompt. `memorized` is what the verdict
    says, None where it says neither. `color` and `symbol` serve the charts, `sign` any text,
    `tone` the reports. `sentence` is what the verdict says, for a tooltip.
    """

    severity: int
    memorized: bool | None
    color: str
    sign: str
    symbol: str
    tone: Tone
    sentence: str


@dataclass(frozen=True)
class PointVerdictRow:
    """The severity and the looks of the verdict on a point of a manifold.

    `symbol` stands at generated samples, `training` at training points, `spatial` in space, where
    Plotly has only three that every machine can draw. `size` is in pixels.
    """

    severity: int
    color: str
    symbol: str
    training: str
    spatial: str
    size: float


_EXACT, _TEMPLATE, _LIKELY = "#d55e00", "#9486e0", "#c9743a"
_SUSPICIOUS, _MEMORIZED = "#e69f00", "#d17fae"
_FREE, _UNKNOWN = "#2b8f86", "#8a969c"

IMAGE_ROWS: dict[ImageVerdict, VerdictRow] = {
    "exact copy": VerdictRow(
        *(8, True, _EXACT, "★", "star", "copy"),
        "It is a training image, but for noise or compression.",
    ),
    "template copy": VerdictRow(
        *(7, True, _TEMPLATE, "■", "square", "template"),
        "It repeats the layout that several training images share.",
    ),
    "likely copy, compare by eye": VerdictRow(
        *(6, None, _LIKELY, "▼", "triangle-down", "suspicious"),
        "A training image is so near that a person has to compare the two.",
    ),
    "memorized, cause not identifiable": VerdictRow(
        *(5, True, _MEMORIZED, "▲", "triangle-up", "suspicious"),
        "Its LID is below that of nearly all reference prompts; nothing tells why.",
    ),
    "suspicious, no copy found": VerdictRow(
        *(4, None, _SUSPICIOUS, "◆", "diamond", "suspicious"),
        "Its LID is below that of nearly all reference prompts, yet the search found no copy.",
    ),
    "cannot be judged": VerdictRow(
        *(3, None, _UNKNOWN, "○", "circle-open", "unknown"),
        "What a verdict needs is missing; the reason says what.",
    ),
    "no copy found, LID not calibrated": VerdictRow(
        *(2, None, _UNKNOWN, "□", "square-open", "unknown"),
        "The search found no copy; at these settings there is no LID to compare with.",
    ),
    "not read yet": VerdictRow(
        *(1, None, _UNKNOWN, "…", "circle-open-dot", "unknown"), "It has not been examined yet."
    ),
    "not memorized": VerdictRow(
        *(0, False, _FREE, "●", "circle", "free"),
        "A search that finds copies found none, and its LID is among those of reference images.",
    ),
}

#: Verdicts of reviewers; None is no verdict yet.
REVIEW_ROWS: dict[str | None, VerdictRow] = {
    "exact copy": IMAGE_ROWS["exact copy"],
    "template copy": IMAGE_ROWS["template copy"],
    "unsure": VerdictRow(
        *(4, None, _SUSPICIOUS, "?", "diamond-open", "suspicious"), "The reviewer cannot tell."
    ),
    None: VerdictRow(
        *(3, None, _UNKNOWN, "…", "circle-open-dot", "unknown"), "Nobody has judged it yet."
    ),
    "skip": VerdictRow(
        *(2, None, _UNKNOWN, "-", "line-ew-open", "unknown"), "The reviewer passed over it."
    ),
    "not memorized": IMAGE_ROWS["not memorized"],
}

POINT_ROWS: dict[VerdictLabel, PointVerdictRow] = {
    "OD-Mem, exact": PointVerdictRow(6, _EXACT, "star", "star-open", "diamond", 13),
    "DD-Mem, exact": PointVerdictRow(5, "#6552cf", "hexagram", "hexagram-open", "square", 13),
    "OD-Mem": PointVerdictRow(4, _SUSPICIOUS, "diamond", "diamond-x-open", "diamond", 9),
    "DD-Mem": PointVerdictRow(3, _TEMPLATE, "square", "square-x-open", "square", 9),
    "memorized, cause not identifiable": PointVerdictRow(
        *(2, _MEMORIZED, "triangle-up", "triangle-up-open", "square", 9)
    ),
    "fit too poor to say": PointVerdictRow(
        *(1, "#a3adb3", "circle-open", "x-thin-open", "circle", 6)
    ),
    "not memorized": PointVerdictRow(0, _FREE, "circle", "x", "circle", 6.5),
}


def most_severe(verdicts: Iterable[ImageVerdict]) -> ImageVerdict:
    """Return the most severe of some verdicts on images. Errors: ValueError for none."""
    return max(verdicts, key=lambda verdict: IMAGE_ROWS[verdict].severity)
