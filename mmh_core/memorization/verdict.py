"""The one table of verdicts: severity, sign, color and sentence of each, for whoever shows one.

Four vocabularies speak of memorization: that of an image (`ImageVerdict`), that of a reviewer
(`REVIEW_ROWS`, None for no verdict yet), that of an image after a mitigation (`OutcomeKind`) and
that of a point of a manifold (`VerdictLabel`). A sign means the same in all of them. Pages,
charts, reports, queues and scans read the rows here; none has an order, a sign, a color or a
sentence of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
#: What a mitigation made of an image. "no copy": nothing was to be solved, nothing was spoiled.
OutcomeKind = Literal["solved", "no copy", "copy", "not solved", "subject lost", "unknown"]
#: Names of the colors in the style sheet of the reports.
Tone = Literal["copy", "template", "suspicious", "free", "unknown"]


@dataclass(frozen=True)
class VerdictTableRow:
    """The severity and the style of one verdict.

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
class OutcomeRow:
    """How the outcome of a mitigation is ordered and shown.

    `good` says whether a mitigation may have it and pass. `frame` names the class of the image's
    frame in pages and reports, "" for none, `line` and `color` are how the frame is drawn.
    `sentence` stands under an image.
    """

    severity: int
    good: bool
    color: str
    frame: str
    line: str
    sentence: str

    @property
    def outline(self) -> str:
        """Return the frame of an image as CSS, "" for none."""
        return f"outline: {self.line} {self.color}; outline-offset: 1px;" if self.line else ""


@dataclass(frozen=True)
class PointVerdictRow:
    """The severity and the style of the verdict on a point of a manifold.

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
_SUSPICIOUS, _MEMORIZED = "#c08400", "#c973a4"
_FREE, _UNKNOWN = "#2b8f86", "#87939a"
_NOT_SOLVED = "#6f7b82"
#: The color of harm by a mitigation: unharmed before, and not any more.
HARM_COLOR = "#c62828"

IMAGE_ROWS: dict[ImageVerdict, VerdictTableRow] = {
    "exact copy": VerdictTableRow(
        *(8, True, _EXACT, "★", "star", "copy"),
        "It is a training image, except for noise or compression.",
    ),
    "template copy": VerdictTableRow(
        *(7, True, _TEMPLATE, "■", "square", "template"),
        "It has the layout that several training images share.",
    ),
    "likely copy, compare by eye": VerdictTableRow(
        *(6, None, _LIKELY, "▼", "triangle-down", "suspicious"),
        "A training image is so near that a person has to compare the two.",
    ),
    "memorized, cause not identifiable": VerdictTableRow(
        *(5, True, _MEMORIZED, "▲", "triangle-up", "suspicious"),
        "Its LID is below that of nearly all reference prompts; the cause is not identifiable.",
    ),
    "suspicious, no copy found": VerdictTableRow(
        *(4, None, _SUSPICIOUS, "◆", "diamond", "suspicious"),
        "Its LID is below that of nearly all reference prompts, yet the search found no copy.",
    ),
    "cannot be judged": VerdictTableRow(
        *(3, None, _UNKNOWN, "○", "circle-open", "unknown"),
        "What a verdict needs is missing; the reason says what.",
    ),
    "no copy found, LID not calibrated": VerdictTableRow(
        *(2, None, _UNKNOWN, "□", "square-open", "unknown"),
        "The search found no copy; at these settings there is no LID to compare with.",
    ),
    "not read yet": VerdictTableRow(
        *(1, None, _UNKNOWN, "…", "circle-open-dot", "unknown"), "It has not been examined yet."
    ),
    "not memorized": VerdictTableRow(
        *(0, False, _FREE, "●", "circle", "free"),
        "A calibrated search found no copy, and its LID is within the reference distribution.",
    ),
}

#: What reviewers say of an item; None is no judgement yet.
REVIEW_ROWS: dict[str | None, VerdictTableRow] = {
    "exact copy": IMAGE_ROWS["exact copy"],
    "template copy": IMAGE_ROWS["template copy"],
    "unsure": VerdictTableRow(
        *(4, None, _SUSPICIOUS, "?", "diamond-open", "suspicious"),
        "The reviewer cannot decide; somebody else should look.",
    ),
    None: VerdictTableRow(
        *(3, None, _UNKNOWN, "…", "circle-open-dot", "unknown"), "Nobody has judged it yet."
    ),
    "skip": VerdictTableRow(
        *(2, None, _UNKNOWN, "-", "line-ew-open", "unknown"),
        "No judgement; skipped items do not count for the agreement.",
    ),
    "not memorized": replace(
        IMAGE_ROWS["not memorized"],
        sentence="It resembles no training image more than two images of one subject do.",
    ),
}

OUTCOME_ROWS: dict[OutcomeKind, OutcomeRow] = {
    "copy": OutcomeRow(5, False, _EXACT, "copied", "2px solid", "copy"),
    "not solved": OutcomeRow(4, False, _NOT_SOLVED, "not-solved", "3px dashed", "not solved"),
    "subject lost": OutcomeRow(3, False, HARM_COLOR, "lost", "2px dotted", "other subject"),
    "unknown": OutcomeRow(2, False, _UNKNOWN, "", "", "cannot be judged"),
    "no copy": OutcomeRow(1, True, _FREE, "", "", "no copy"),
    "solved": OutcomeRow(0, True, _FREE, "", "", "solved"),
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
        *(1, _UNKNOWN, "circle-open", "x-thin-open", "circle", 6)
    ),
    "not memorized": PointVerdictRow(0, _FREE, "circle", "x", "circle", 6.5),
}


#: Verdicts that call an image a copy, of the app and of reviewers alike.
COPY_VERDICTS: tuple[ImageVerdict, ...] = tuple(
    verdict for verdict, row in IMAGE_ROWS.items() if row.tone in ("copy", "template")
)


def most_severe(verdicts: Iterable[ImageVerdict]) -> ImageVerdict:
    """Return the most severe of some verdicts on images. Errors: ValueError for none."""
    return max(verdicts, key=lambda verdict: IMAGE_ROWS[verdict].severity)


#: Verdicts whose terms are spelled out where they are shown; the others stand as they are kept.
_WORDS = {
    "OD-Mem": "overfitting-driven (OD-Mem)",
    "OD-Mem, exact": "overfitting-driven (OD-Mem), exact copy",
    "DD-Mem": "data-driven (DD-Mem)",
    "DD-Mem, exact": "data-driven (DD-Mem), exact copy",
    "fit too poor to say": "no verdict: poor fit",
    "not read yet": "not examined yet",
}


def verdict_words(name: str) -> str:
    """Return a verdict as it is shown, with the terms of the literature spelled out."""
    return _WORDS.get(name, name)
