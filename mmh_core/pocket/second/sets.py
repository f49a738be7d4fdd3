"""The training sets of the denoisers, as lists of images with their captions and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmh_core.pocket.scenes import Scene
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import fresh_scene, open_images, row_images, trained_scene
from mmh_core.pocket.second.plan import SecondConfig
from mmh_core.pocket.second.tables import SMALL_SETS, Tables

#: What an entry is: a row of the training table, an image of a fresh caption, an open image, or
#: the image of a caption of the small sets.
ROW, FRESH, OPEN, SMALL = range(4)


@dataclass(frozen=True)
class Entries:
    """Images with their captions, before they are rendered.

    `kind` (N,) is one of the four; `caption` (N,) the caption's id, -1 for open ones; `number`
    (N,) the row, the number of the image, or of the open image; `weight` (N,) how often the image
    comes up in one pass; `rank` (N,) the place in the small sets, else -1, and `small_copies`
    how often it is in the third cell; `near` (N,) whether it is a near-duplicate.
    """

    kind: NDArray[np.int64]
    caption: NDArray[np.int64]
    number: NDArray[np.int64]
    weight: NDArray[np.float64]
    rank: NDArray[np.int64]
    small_copies: NDArray[np.int64]
    near: NDArray[np.bool_]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.texts)

    def part(self, start: int, stop: int) -> Entries:
        """Return a range of the entries."""
        return self.chosen(np.arange(start, min(stop, len(self))))

    def chosen(self, numbers: NDArray[np.int64]) -> Entries:
        """Return some of the entries, in the order of their numbers."""
        columns = {name: column[numbers] for name, column in self._columns().items()}
        return Entries(**columns, texts=tuple(self.texts[i] for i in numbers.tolist()))

    @staticmethod
    def joined(one: Entries, other: Entries) -> Entries:
        """Return the entries of both, in order."""
        below = other._columns()
        columns = {
            name: np.concatenate([column, below[name]]) for name, column in one._columns().items()
        }
        return Entries(**columns, texts=one.texts + other.texts)

    def _columns(self) -> dict[str, Any]:
        names = (column.name for column in fields(self) if column.name != "texts")
        return {name: getattr(self, name) for name in names}

    def of(self, stage: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return which entries a denoiser is trained on, and how often each is in its set.

        `denoiser-N`: everything but the small sets. `small-N`: the first N of them, each once.
        `small-all`: those, and every distinct image of the training table that is no
        near-duplicate, each once. `small-duplicates`: the first 400, a quarter of them copied.
        """
        small, name = self.kind == SMALL, stage.removeprefix("small-")
        if stage.startswith("denoiser"):
            chosen = np.flatnonzero(~small)
            return chosen, self.weight[chosen]
        if name == "all":
            chosen = np.flatnonzero(small | ((self.kind == ROW) & ~self.near))
            return chosen, np.ones(len(chosen))
        count = SMALL_SETS[1] if name == "duplicates" else int(name)
        chosen = np.flatnonzero(small & (self.rank < count))
        copies = self.small_copies[chosen] if name == "duplicates" else np.ones(len(chosen))
        return chosen, copies.astype(np.float64)


class _OneEntry(NamedTuple):
    """One image, as a row of `Entries`."""

    kind: int
    caption: int
    number: int
    weight: float
    text: str
    rank: int = -1
    small_copies: int = 0
    near: bool = False


def denoiser_entries(tables: Tables, config: SecondConfig) -> Entries:
    """Return the training set of the first denoisers: rows, fresh captions, open images."""
    texts = tables.captions.text.tolist()
    entries = _row_entries(tables, config)
    fresh = tables.captions[tables.captions.role == "fresh"]
    for caption, copies in zip(fresh.id.tolist(), fresh.copies.tolist(), strict=True):
        images = min(config.most_fresh, config.refresh * copies)
        entries += [
            _OneEntry(FRESH, caption, i, copies / images, texts[caption]) for i in range(images)
        ]
    weight = config.open_rows / config.open
    for number, each in enumerate(open_images(tables, 0, config.open)):
        entries.append(_OneEntry(OPEN, -1, number, weight, each.caption.text))
    return _in_columns(entries)


def searched_entries(
    tables: Tables, config: SecondConfig, stage: str
) -> tuple[Entries, NDArray[np.float64]]:
    """Return the images of a denoiser's training set that an index can hold, and their copies.

    Fresh and open images are left out: they are drawn anew without end.
    """
    rows = _in_columns(_row_entries(tables, config))
    both = Entries.joined(rows, small_entries(tables))
    chosen, copies = both.of(stage)
    return both.chosen(chosen), copies


def _row_entries(tables: Tables, config: SecondConfig) -> list[_OneEntry]:
    """Return the rows of the training table."""
    rows, texts = tables.rows.iloc[: config.rows], tables.captions.text.tolist()
    near = (tables.captions.role == "near").tolist()
    return [
        _OneEntry(ROW, caption, row, float(copies), texts[caption], near=near[caption])
        for row, (caption, copies) in enumerate(
            zip(rows.caption.tolist(), rows.copies.tolist(), strict=True)
        )
    ]


def small_entries(tables: Tables) -> Entries:
    """Return the images of the small sets, in the order of their rank."""
    small = tables.captions[tables.captions.group == "small"].sort_values("small_rank")
    columns = (small.id, small.text, small.small_rank, small.small_copies)
    return _in_columns(
        [
            _OneEntry(SMALL, int(caption), 0, 1.0, str(text), int(rank), int(copies))
            for caption, text, rank, copies in zip(*columns, strict=True)
        ]
    )


def _in_columns(entries: list[_OneEntry]) -> Entries:
    columns = dict(zip(_OneEntry._fields, zip(*entries, strict=True), strict=True))
    texts = columns.pop("text")
    return Entries(**{name: np.array(column) for name, column in columns.items()}, texts=texts)


def draw_entries(tables: Tables, entries: Entries) -> NDArray[np.uint8]:
    """Return the images of entries (N, 64, 64, 3)."""
    rows = np.flatnonzero(entries.kind == ROW)
    others = np.flatnonzero(entries.kind != ROW)
    images = np.empty((len(entries), 64, 64, 3), np.uint8)
    if len(rows):
        images[rows] = row_images(tables, entries.number[rows].tolist())
    if len(others):
        images[others] = draw_all(list(_scenes(tables, entries, others.tolist())))
    return images


def _scenes(tables: Tables, entries: Entries, numbers: list[int]) -> Iterator[Scene]:
    open_ones = [n for n in numbers if entries.kind[n] == OPEN]
    scenes: dict[int, Scene] = {}
    if open_ones:
        first = int(entries.number[open_ones[0]])
        made = open_images(tables, first, len(open_ones))
        scenes = {n: each.scene for n, each in zip(open_ones, made, strict=True)}
    for n in numbers:
        caption, number = int(entries.caption[n]), int(entries.number[n])
        if entries.kind[n] == OPEN:
            yield scenes[n]
        elif entries.kind[n] == FRESH:
            yield fresh_scene(tables, caption, number)
        else:
            yield trained_scene(tables, caption, number)
