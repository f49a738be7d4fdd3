"""The tables of the second world: its captions in groups, and the rows of its training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmh_core.pocket.second.doses import Dose, Sizes, assigned, duplicated
from mmh_core.pocket.second.drawing import (
    CELLS,
    CaptionWriter,
    DesignCell,
    held_out_pairs,
    random_caption,
)
from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption, family_of, unseen_names

#: Groups of captions. Only `trained` is in the training set of the first denoiser, and only
#: `small` in those of the denoisers of few images.
GROUPS = (
    "trained",
    "small",
    "held-out",
    "unseen names",
    "unseen combinations",
    "paraphrases",
    "outside",
)
SPLITS = ("calibration", "test")
#: Sizes of the small sets, in the order of `small_rank`; "all" takes every distinct image.
SMALL_SETS = (100, 400, 1_600)
#: The third cell: within the small set of 400, this share has so many exact copies.
SMALL_DUPLICATES, SMALL_COPIES = 0.25, 32
#: Prompts that no word of the world answers.
OUTSIDE = (
    "a steam train crossing an iron bridge", "two cats asleep on a sofa", "a bowl of ramen",
    "an astronaut riding a horse", "the skyline of a city at rush hour", "a coral reef",
    "a football match in the rain", "handwritten sheet music", "a wedding cake with candles",
    "an elephant crossing a river", "a circuit board under a microscope", "a crowded market",
    "an old map with sea monsters", "a sleeping dragon", "a chess game in a park",
    "a helicopter over a forest fire", "a plate of fresh oysters", "a robot painting a fence",
    "the ruins of a temple", "a child flying a kite", "a row of garden gnomes", "a wolf howling",
    "an x-ray of a hand", "a cathedral window", "a hot air balloon", "a spider web with dew",
    "a surfer inside a wave", "a library with spiral stairs", "a snowman wearing sunglasses",
    "a satellite photo of a delta", "a violin in an open case", "a beehive in summer",
    "a subway platform", "a basket of kittens", "a pirate ship", "a field of tulips from above",
    "an owl in a hollow tree", "a lighthouse in a storm", "a jar of marbles", "a desert caravan",
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """The second world before anything is rendered.

    `captions` has one row per caption: text, painter ("" outside of the world), named, subject,
    opening, fixed, free (number of free parameters), group, split, paraphrase_of (the id of the
    trained caption, else -1), small_rank and small_copies (-1 and 0 outside of the small sets),
    and for trained captions role, copies, images, transform, varied and repeated ("yes", "no",
    or "between"). Ids are row numbers.

    `rows` has one row per distinct image of the training set: caption, image, copies, transform
    and transform_seed. Fresh captions have no rows: their images are drawn anew.
    """

    seed: int
    sizes: Sizes
    captions: pd.DataFrame
    rows: pd.DataFrame
    grammar: tuple[GrammarCaption | None, ...]


def build_tables(seed: int = 0, sizes: Sizes | None = None) -> Tables:
    """Return the tables of a seed: captions first, then doses by a generator of their own."""
    sizes = Sizes() if sizes is None else sizes
    writer, caption_rng = CaptionWriter(seed), np.random.default_rng([seed, 2])
    group_rng = np.random.default_rng([seed, 3, 0])
    cells, small, held_out = _grouped(writer, sizes, caption_rng, group_rng)
    doses = assigned(cells, sizes, np.random.default_rng([seed, 3]))
    trained = [caption for cell in cells for caption in cell]
    rows = [
        _described(caption, seed, "trained") | _dosed(caption, dose, seed, number)
        for number, (caption, dose) in enumerate(
            zip(trained, (dose for cell in doses for dose in cell), strict=True)
        )
    ]
    grammar: list[GrammarCaption | None] = [*trained]
    rows += _small(small, seed)
    grammar += small
    others: dict[str, list[GrammarCaption]] = {
        "held-out": held_out,
        "unseen names": _unseen_names(writer, sizes, caption_rng),
        "unseen combinations": _unseen_pairs(writer, sizes, caption_rng),
    }
    for group, made in others.items():
        rows += [_described(caption, seed, group) for caption in made]
        grammar += made
    for number, caption in enumerate(trained):
        other = _paraphrase(caption, writer, caption_rng)
        rows.append(_described(other, seed, "paraphrases") | {"paraphrase_of": number})
        grammar.append(other)
    rows += [_blank(text) for text in OUTSIDE]
    grammar += [None] * len(OUTSIDE)
    table = pd.DataFrame(rows)
    table.insert(0, "id", np.arange(len(table)))
    table["split"] = _split(table, np.random.default_rng([seed, 4]))
    return Tables(seed, sizes, table, training_rows(table), tuple(grammar))


def _grouped(
    writer: CaptionWriter,
    sizes: Sizes,
    caption_rng: np.random.Generator,
    group_rng: np.random.Generator,
) -> tuple[list[list[GrammarCaption]], list[GrammarCaption], list[GrammarCaption]]:
    """Return the captions to train with, by cell, those of the small sets, and the held out.

    All captions of a cell are written by `caption_rng` before `group_rng` divides them at random,
    so that the wording of a caption says nothing about its group.
    """
    cells: list[list[GrammarCaption]] = []
    small: list[GrammarCaption] = []
    held_out: list[GrammarCaption] = []
    for cell in CELLS:
        made = writer.spread(cell, sizes.in_cell + sizes.small + sizes.held_out, caption_rng)
        made = [made[i] for i in group_rng.permutation(len(made))]
        cells.append(made[: sizes.in_cell])
        small += made[sizes.in_cell : sizes.in_cell + sizes.small]
        held_out += made[sizes.in_cell + sizes.small :]
    return cells, small, held_out


def training_rows(captions: pd.DataFrame) -> pd.DataFrame:
    """Return the distinct training images of the trained captions."""
    rows: list[tuple[int, int, int, str, int]] = []
    for each in captions[captions.group == "trained"].to_dict("records"):
        caption, copies, images = (int(each[key]) for key in ("id", "copies", "images"))
        if each["role"] == "near":
            rows += [(caption, 0, 1, str(each["transform"]), j) for j in range(copies)]
        elif each["role"] != "fresh":
            rows += [(caption, i, copies, "", 0) for i in range(images)]
    columns = ["caption", "image", "copies", "transform", "transform_seed"]
    return pd.DataFrame(rows, columns=columns)


def _described(caption: GrammarCaption, seed: int, group: str) -> dict[str, object]:
    fixed = ";".join(f"{name}={number}" for name, number in caption.fixed)
    return _blank(caption.text) | {
        "painter": caption.painter,
        "named": caption.named,
        "subject": caption.subject or "",
        "opening": caption.opening,
        "fixed": fixed,
        "free": len(family_of(caption, seed).free),
        "group": group,
    }


def _blank(text: str) -> dict[str, object]:
    """Return a row of the caption table with nothing but its words."""
    return {
        "text": text,
        "painter": "",
        "named": False,
        "subject": "",
        "opening": -1,
        "fixed": "",
        "free": -1,
        "group": "outside",
        "paraphrase_of": -1,
        "small_rank": -1,
        "small_copies": 0,
        "role": "",
        "copies": 0,
        "images": 0,
        "transform": "",
        "varied": "",
        "repeated": "",
    }


def _dosed(caption: GrammarCaption, dose: Dose, seed: int, number: int) -> dict[str, object]:
    side = duplicated(dose)
    varied = ""
    if dose.role == "template":
        # Attributes of up to three parameters: what the images of a template differ in.
        fixed_names = {name for name, _ in caption.fixed}
        details = GRAMMARS[caption.painter].details
        free = [e.name for e in details if e.name not in fixed_names and len(e.parameters) <= 3]
        rng = np.random.default_rng([seed, 9, number])
        varied = free[int(rng.integers(len(free)))] if free else ""
    return {
        "role": dose.role,
        "copies": dose.copies,
        "images": dose.images,
        "transform": dose.transform,
        "varied": varied,
        "repeated": "between" if side is None else "yes" if side else "no",
    }


def _small(captions: Sequence[GrammarCaption], seed: int) -> list[dict[str, object]]:
    """Return the captions of the small sets: their order, and which are copied, at random."""
    rng = np.random.default_rng([seed, 3, 1])
    ranks = rng.permutation(len(captions))
    among = min(SMALL_SETS[1], len(captions))
    copied = set(rng.permutation(among)[: round(SMALL_DUPLICATES * among)].tolist())
    return [
        _described(caption, seed, "small")
        | {"small_rank": int(rank), "small_copies": SMALL_COPIES if int(rank) in copied else 1}
        for caption, rank in zip(captions, ranks, strict=True)
    ]


def _unseen_names(
    writer: CaptionWriter, sizes: Sizes, rng: np.random.Generator
) -> list[GrammarCaption]:
    """Return captions with names that nothing was trained with, their words all known."""
    captions_made = []
    for painter in GRAMMARS:
        cell, names = DesignCell(painter, True), unseen_names(painter)
        for i in range(2 * sizes.other):
            name = names[i % len(names)]
            captions_made.append(writer.fresh(cell, float(rng.random()), rng, name=name))
    return captions_made


def _unseen_pairs(
    writer: CaptionWriter, sizes: Sizes, rng: np.random.Generator
) -> list[GrammarCaption]:
    """Return captions with one of the pairs of phrases that are kept out of training."""
    captions_made: list[GrammarCaption] = []
    for cell in CELLS:
        pairs = sorted(sorted(pair) for pair in held_out_pairs(cell.painter, writer.seed))
        kept = 0
        while kept < sizes.other:
            pair = pairs[kept % len(pairs)]
            caption = random_caption(cell, float(rng.random()), rng, start=pair)
            if caption.text not in writer.used:
                writer.used.add(caption.text)
                captions_made.append(caption)
                kept += 1
    return captions_made


def _paraphrase(
    caption: GrammarCaption, writer: CaptionWriter, rng: np.random.Generator
) -> GrammarCaption:
    """Return the same content in words that no caption has: another opening and order."""
    openings = len(GRAMMARS[caption.painter].openings)
    for _ in range(1_000):
        order = rng.permutation(len(caption.fixed))
        fixed = tuple(caption.fixed[i] for i in order)
        opening = int(rng.integers(openings))
        other = GrammarCaption(caption.painter, opening, caption.subject, caption.named, fixed)
        if other.text not in writer.used:
            writer.used.add(other.text)
            return other
    # Captions of two or three words have no further paraphrase: the same words stand again.
    return caption


def _split(captions: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    """Halve every group, and the trained captions within each dose, at random."""
    splits = np.full(len(captions), SPLITS[0], dtype=object)
    keys = ["group", "role", "copies", "transform"]
    for _, part in captions.groupby(keys, sort=True):
        order = rng.permutation(part["id"].to_numpy())
        splits[order[int(rng.integers(2)) :: 2]] = SPLITS[1]
    return splits.tolist()
