"""Prompts whose truth is known: those of the shipped world, or a person's own table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path

from mmh_core.formats.columns import folded
from mmh_core.memorization.cause import DATA
from mmh_core.pocket.assets import read_prompts, world_number
from mmh_core.pocket.second.embedded import second_labelled, second_references
from mmh_core.pocket.trials import MEMORIZED, open_captions
from mmh_core.records import LabelledPrompt, MMHError, Split
from mmh_core.store.prompt_table import prompt_batches

#: Captions of unnamed scenes in each half; those of the halves come from different seeds.
OPEN_CAPTIONS = {"calibration": 40, "test": 100}
_OPEN_SEEDS = {"calibration": 10_000, "test": 20_000, "scan": 30_000}
_REFERENCES = 200
#: What a label may say, in lower case and without signs; the last of each are published types.
_YES = {"1", "10", "true", "yes", "y", "memorized", "memorised", "copy", "copied", "verbatim"}
_YES |= {"mem", "mv", "rv", "tv", "vm", "tm"}
_NO = {"0", "00", "false", "no", "normal", "notmemorized", "notmemorised", "unmemorized"}
_NO |= {"nonmemorized", "nonmemorised", "nonmem", "none", "reference", "n"}
#: Types of extraction in published lists: MV, RV, TV and N of Webster (2023, arXiv 2305.08694), VM
#: and TM of Hintersdorf et al. (2024, arXiv 2406.02366); and the column of the first.
TYPES = {
    "MV": "matching verbatim",
    "RV": "retrieval verbatim",
    "TV": "template verbatim",
    "N": "none",
    "VM": "verbatim memorized",
    "TM": "template memorized",
}
_TYPE = "overfittype"
#: More digits than these are no number of copies.
_MOST_DIGITS = 9
_SPLITS: tuple[Split, ...] = ("calibration", "test")


def pocket_labelled(folder: Path, seed: int = 0) -> tuple[LabelledPrompt, ...]:
    """Return the labelled prompts of the shipped world, split by subject.

    Of each named subject one caption that was trained with, of each memorized one a paraphrase
    that was not (kind "paraphrase"), and captions of unnamed scenes. Whether a caption is
    memorized is what the world was built for, not what the model does with it. Those of the second
    world are in its table (`second_labelled`).
    """
    if world_number(folder) == 2:
        return second_labelled(folder)
    table = read_prompts(folder)
    rows = []
    for split in _SPLITS:
        part = table[table.split == split]
        for kind in (*MEMORIZED, "varied"):
            first = part[(part.kind == kind) & part.trained].groupby("subject", sort=False).head(1)
            memorized = kind in MEMORIZED
            rows += [
                # Images of captions called overfit stand there many times too: duplicates.
                LabelledPrompt(str(text), memorized, kind, split, cause=DATA if memorized else "")
                for text in first.caption
            ]
        if split == "test":
            # Nothing is fitted on paraphrases, so the calibration half does without.
            others = part[part.kind.isin(MEMORIZED) & ~part.trained]
            others = others.groupby("subject", sort=False).head(1)
            rows += [LabelledPrompt(str(t), True, "paraphrase", split) for t in others.caption]
        count = OPEN_CAPTIONS[split]
        captions = open_captions(2 * count, _OPEN_SEEDS[split] + seed).caption.drop_duplicates()
        listed = {row.prompt for row in rows}
        rows += [
            LabelledPrompt(str(text), False, "open", split)
            for text in [text for text in captions if text not in listed][:count]
        ]
    return tuple(rows)


def pocket_reference_captions(folder: Path, seed: int = 0) -> tuple[str, ...]:
    """Return 200 reference captions of the shipped world, none of them of the test half.

    Varied ones of the calibration half, and captions of unnamed scenes; of the second world those
    of its reference kinds.
    """
    if world_number(folder) == 2:
        return second_references(folder, _REFERENCES)
    from mmh_core.pocket.calibration import captions_of

    varied = captions_of(seed, "calibration")
    texts = [str(text) for text in varied[varied.kind == "varied"].caption]
    tested = set(_open(OPEN_CAPTIONS["test"], _OPEN_SEEDS["test"] + seed))
    others = _open(_REFERENCES, _OPEN_SEEDS["scan"] + seed)
    return tuple([*texts, *(text for text in others if text not in tested)][:_REFERENCES])


def _open(count: int, seed: int) -> list[str]:
    """Return so many different captions of unnamed scenes."""
    captions = open_captions(2 * count, seed).caption.drop_duplicates()
    return [str(text) for text in captions][:count]


#: A row of a table: prompt, whether it is memorized, its kind, its group and its dose.
_Row = tuple[str, bool, str, str, int | None]


def split_labelled(
    rows: Iterable[tuple[str, bool, str] | tuple[str, bool, str, str] | _Row],
) -> tuple[LabelledPrompt, ...]:
    """Return (prompt, memorized, kind, group, copies) rows as labelled prompts, halved by group.

    Group and copies may be left out. Equal prompts are kept once, in the group of the first.
    Errors: MMHError for a prompt with both labels.
    """
    labels: dict[str, tuple[bool, str, str]] = {}
    doses: dict[str, int | None] = {}
    for row in rows:
        (prompt, memorized, kind), group = row[:3], row[3] if len(row) > 3 else ""
        doses.setdefault(prompt, row[4] if len(row) > 4 else None)
        before = labels.setdefault(prompt, (memorized, kind, group))
        if before[0] != memorized:
            raise MMHError(
                f"The prompt {prompt[:80]!r} is labelled memorized and reference: keep one label."
            )
    counts: dict[tuple[bool, str, str], int] = {}
    labelled = []
    for prompt, label in labels.items():
        counts[label] = counts.get(label, -1) + 1
        memorized, kind, group = label
        split = _SPLITS[counts[label] % 2]
        dose = doses[prompt]
        labelled.append(
            LabelledPrompt(prompt, memorized, kind, split, group=group, multiplicity=dose)
        )
    return tuple(labelled)


def read_labelled(
    path: Path, column: str = "", reference: Path | None = None
) -> tuple[LabelledPrompt, ...]:
    """Return the prompts of a table with the columns prompt and label, halved.

    A column group, such as the dose of duplication, is kept; without one the published types of
    extraction (`TYPES`) are the groups. A column copies is the dose, how often each image
    of the prompt stands in the training set. Rows that cannot be read are left out; `summarize`
    counts them. Errors: MMHError naming the first row whose label says neither memorized nor
    reference, or another than an equal prompt's. Where a second table `reference` holds the
    reference prompts, as some published lists do, rows without a label are memorized in the first
    and reference in the second.
    """
    if reference is None:
        return split_labelled(_rows(path, column))
    others = _rows(reference, column, blank="reference")
    return split_labelled(chain(_rows(path, column, blank="memorized"), others))


def read_calibrating(path: Path, fewest: int = 20, column: str = "") -> tuple[LabelledPrompt, ...]:
    """Return the prompts of a table to calibrate on, all of them in the calibration half.

    A row without a label is a reference prompt. Errors: MMHError as for `read_labelled`, and for
    fewer reference prompts than `fewest`, which say nothing of rare scores.
    """
    rows = tuple(
        LabelledPrompt(prompt, memorized, kind, "calibration", group=group, multiplicity=copies)
        for prompt, memorized, kind, group, copies in _rows(path, column, blank="reference")
    )
    references = sum(not row.memorized for row in rows)
    if references < fewest:
        raise MMHError(
            f"{references} different reference prompts are too few to calibrate: give at least "
            f"{fewest}."
        )
    return rows


def _rows(path: Path, column: str, blank: str = "") -> Iterator[_Row]:
    """Yield the rows of a table; `blank` is what an empty label says."""
    labels = dict[int, bool]()
    for batch in prompt_batches(path, column=column):
        for row in batch.rows:
            more = {folded(name): cell for name, cell in row.more}
            memorized = _memorized(row.label or blank, row.row, path.name)
            labels[row.row] = memorized
            kind = "memorized" if memorized else "reference"
            group = more.get("group") or _type_of(row.label, more)
            yield (
                row.prompt,
                memorized,
                kind,
                group,
                _copies(more.get("copies", ""), row.row, path),
            )
        for repeat in batch.repeats:
            if _memorized(repeat.label or blank, repeat.row, path.name) != labels[repeat.first]:
                raise MMHError(
                    f"Rows {repeat.first} and {repeat.row} of {path.name} have the same prompt, "
                    "labelled memorized in one and reference in the other: keep one label."
                )


def _copies(cell: str, row: int, path: Path) -> int | None:
    """Return the dose in a cell, None for an empty one. Errors: MMHError for no whole number."""
    text = cell.strip().removesuffix(".0")
    if not text:
        return None
    if text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)
    raise MMHError(
        f"Row {row} of {path.name} has {cell[:40]!r} in the column copies: write how often each "
        "image of the prompt stands in the training set, or leave the cell empty."
    )


def _type_of(label: str, more: Mapping[str, str]) -> str:
    """Return a published type of extraction in its own spelling, "" for any other label."""
    kind = (more.get(_TYPE) or label).strip().upper()
    return kind if kind in TYPES else ""


def _memorized(label: str, row: int, source: str) -> bool:
    """Return what a label says. Errors: MMHError for one that says neither."""
    plain = "".join(letter for letter in label.casefold() if letter.isalnum())
    if plain in _YES or plain in _NO:
        return plain in _YES
    if not plain:
        raise MMHError(
            f"Row {row} of {source} has no label: write memorized or reference into a column "
            "label."
        )
    raise MMHError(
        f"Row {row} of {source} has the label {label[:40]!r}: write memorized or reference."
    )


def thinned(labelled: Sequence[LabelledPrompt], most: int) -> tuple[LabelledPrompt, ...]:
    """Return at most `most` prompts of each half and kind, its groups in turn, in their order."""
    groups: dict[tuple[str, str], dict[str, list[LabelledPrompt]]] = {}
    for row in labelled:
        kind = groups.setdefault((row.split, row.kind), {})
        kind.setdefault(row.group, []).append(row)
    chosen: set[tuple[str, str]] = set()
    for kind in groups.values():
        turns = [row for rank in zip_longest(*kind.values()) for row in rank if row is not None]
        chosen |= {(row.split, row.prompt) for row in turns[:most]}
    return tuple(row for row in labelled if (row.split, row.prompt) in chosen)
