"""Doses of duplication, assigned to captions at random after these were generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmh_core.pocket.second.drawing import CELLS
from mmh_core.pocket.second.families import GrammarCaption

Role = Literal["exact", "near", "template", "unique", "fresh"]

#: Exact copies of each image of a caption.
COPIES = (1, 2, 4, 8, 16, 32, 64, 128)
#: Distinct images of such a caption, and the share of captions with so many.
IMAGES = {1: 0.5, 3: 0.3, 10: 0.15, 40: 0.05}
TRANSFORMS = ("crop", "shift", "flip", "color", "noise", "JPEG")
NEAR_COPIES = (16, 64)
TEMPLATE_IMAGES, TEMPLATE_COPIES = 40, (2, 4)
UNIQUE_IMAGES = (10, 40, 120)
#: Exact copies from which a caption counts as duplicated for what is told from text alone; with
#: more than one copy and fewer it counts as neither.
DUPLICATED = 8
#: Captions in which a phrase or a name stands before it has to stand on both sides.
COMMON = 2
_SHUFFLES = 500


@dataclass(frozen=True)
class Dose:
    """How the images of one caption are in the training set.

    `exact`: `images` distinct ones, each `copies` times. `near`: one, `copies` times, each time
    changed by `transform`. `template`: `images` that differ in one attribute alone. `unique`:
    `images`, each once. `fresh`: `copies` times an image drawn anew.
    """

    role: Role
    copies: int
    images: int
    transform: str = ""


@dataclass(frozen=True)
class Sizes:
    """How many captions there are of each kind.

    Counts of roles are captions of one level in each of the ten cells (painters x named or not).
    """

    exact: int = 4
    near: int = 2
    template: int = 4
    unique: int = 16
    fresh: int = 16
    small: int = 160
    held_out: int = 24
    other: int = 12

    @property
    def in_cell(self) -> int:
        """Return how many captions of a cell have a dose."""
        levels = self.exact * len(COPIES) + self.near * len(TRANSFORMS)
        return levels + self.template + self.unique + self.fresh


def slots(sizes: Sizes, rng: np.random.Generator) -> list[list[Dose]]:
    """Return the doses of each cell, in random order.

    The numbers of distinct images are divided among all cells together, so that every level of
    copies has the same shares of them.
    """
    cells: list[list[Dose]] = [[] for _ in CELLS]
    for copies in COPIES:
        images = _image_counts(sizes.exact * len(CELLS), rng)
        for i, count in enumerate(images):
            cells[i % len(CELLS)].append(Dose("exact", copies, count))
    for number, doses in enumerate(cells):
        for i in range(sizes.near):
            copies = NEAR_COPIES[(i + number) % 2]
            doses += [Dose("near", copies, 1, transform) for transform in TRANSFORMS]
        for i in range(sizes.template):
            doses.append(Dose("template", TEMPLATE_COPIES[(i + number) % 2], TEMPLATE_IMAGES))
        for i in range(sizes.unique):
            doses.append(Dose("unique", 1, UNIQUE_IMAGES[(i + number) % 3]))
        for i in range(sizes.fresh):
            doses.append(Dose("fresh", COPIES[(i + number) % len(COPIES)], 0))
    return [[doses[i] for i in rng.permutation(len(doses))] for doses in cells]


def _image_counts(count: int, rng: np.random.Generator) -> list[int]:
    """Return numbers of distinct images, in the shares of `IMAGES`, in random order."""
    doses: list[int] = []
    for images, share in IMAGES.items():
        doses += [images] * round(share * count)
    doses = (doses + [1] * count)[:count]
    return [doses[i] for i in rng.permutation(count)]


def assigned(
    captions: Sequence[Sequence[GrammarCaption]], sizes: Sizes, rng: np.random.Generator
) -> list[list[Dose]]:
    """Return a dose for each caption of each cell, independent of what the captions say.

    Each cell's doses are shuffled again until every phrase and name of its painter stands in
    duplicated captions and in others: a rule that treats both alike. Of a world too small for
    that, the assignment with the fewest on one side only is taken.
    """
    doses = slots(sizes, rng)
    for first in range(0, len(captions), 2):
        pair = slice(first, first + 2)
        cells = doses[pair]
        texts = [caption for cell in captions[pair] for caption in cell]
        fewest = len(texts)
        for _ in range(_SHUFFLES):
            shuffled = [[cell[i] for i in rng.permutation(len(cell))] for cell in cells]
            left = len(one_sided(texts, [dose for cell in shuffled for dose in cell]))
            if left < fewest:
                fewest, doses[pair] = left, shuffled
            if not left:
                break
    return doses


def duplicated(dose: Dose) -> bool | None:
    """Return whether a caption counts as duplicated, None for the doses between."""
    if dose.role in ("near", "template"):
        return True
    if dose.role != "exact" or dose.copies == 1:
        return False
    return True if dose.copies >= DUPLICATED else None


def one_sided(captions: Sequence[GrammarCaption], doses: Sequence[Dose]) -> tuple[str, ...]:
    """Return the openings, subjects and phrases of one side only, among the common ones."""
    sides: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for caption, dose in zip(captions, doses, strict=True):
        side = duplicated(dose)
        if side is not None:
            sides[side].update(caption.parts)
    both = sides[True] + sides[False]
    return tuple(
        part
        for part, times in both.items()
        if times >= COMMON and not (sides[True][part] and sides[False][part])
    )
