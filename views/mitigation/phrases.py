"""Sentences on what mitigations cost and what the numbers of a comparison mean."""

from __future__ import annotations

import math

from mmh_core.mitigations.catalogue import mitigation, mitigation_words, strength_words
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.mitigation.run import Cell, Treatment
from views.widgets.words import duration_words

COPY_RATE = (
    "Share of copies among the images that the copy search decides: images that reproduce a "
    "training image, or a layout that many training images share."
)
ALIGNMENT = (
    "CLIP similarity of the image and the original prompt, by the model's own CLIP: higher is "
    "better, and only differences mean something."
)
SIMILARITY_TO_UNMITIGATED = (
    "Similarity to the unmitigated image of the same seed: 1 is the same image."
)
UNSOLVED = (
    "Below the copy threshold, LID unchanged: not solved. The search finds no copy any more, "
    "but LID has not risen beyond its error, so the model may still reproduce one image only. "
    "Compare it with the training image."
)
PASSES = (
    "A mitigation passes if (1) every image is solved: no copy by the search, LID risen beyond "
    "its error, alignment at least 0.9 of that without mitigation, and the subject of the prompt "
    "still shown; (2) reference prompts are unharmed, if they were generated; (3) copies do not "
    "come back, if that was tried."
)
WEAK = (
    "The alignment comes from a small CLIP, which need not notice a wrong subject: look at the "
    "images."
)
INTERVAL = (
    "Brackets hold a 95 % interval over seeds, each compared with its own unmitigated image. Few "
    "seeds leave it wide."
)


def named(chosen: Treatment) -> str:
    """Return the name of a mitigation with its strength."""
    return mitigation_words(chosen.mitigation, chosen.strength)


def strength(chosen: Treatment) -> str:
    """Return a strength with what it counts."""
    return strength_words(chosen.mitigation, chosen.strength)


def about(name: str, steps: int) -> str:
    """Return what a mitigation does, what its strength is, what it costs and where it is from."""
    record = mitigation(name)
    return (
        f"{record.summary} Strength: {record.strength_label}. {cost(name, steps)} "
        f"Source: {record.citation}."
    )


def cost(name: str, steps: int) -> str:
    """Return the expected cost beside plain generation."""
    more = mitigation(name).cost(steps)
    if more == 0:
        return "No extra cost."
    return f"Costs about {1 + more / (2 * steps):.1f} times as much as generation alone."


def change(figure: Interval, digits: int = 2) -> str:
    """Return a difference with its sign and the ends of its interval."""
    if math.isnan(figure.value):
        return ""
    text = f"{round(figure.value, digits) + 0.0:+.{digits}f}"
    if math.isnan(figure.low) or math.isnan(figure.high):
        return text
    low, high = (round(end, digits) + 0.0 for end in (figure.low, figure.high))
    return f"{text} [{low:+.{digits}f}, {high:+.{digits}f}]"


def seconds(value: float) -> str:
    """Return a time, in milliseconds below a second."""
    if math.isnan(value):
        return "n/a"
    return f"{1000 * value:.0f} ms" if value < 1 else duration_words(value)


_KINDS: dict[CopyKind, str] = {
    "exact": "an exact copy",
    "template": "a template copy",
    "none": "no copy",
    "likely": "likely a copy, compare by eye",
    "unknown": "unknown: no calibrated threshold",
    "flat": "one color: nothing to compare",
}


def kind(cell: Cell, seed: int) -> str:
    """Return whether an image of a cell is a copy."""
    if math.isnan(float(cell.similarity[seed])):
        return "unknown: no training images"
    return _KINDS[cell.kinds[seed]]
