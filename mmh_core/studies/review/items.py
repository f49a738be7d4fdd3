"""Items for a person to judge, from the results of a scan or a study."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mmh_core.formats.untrusted import parse_json, typed_value
from mmh_core.memorization.cause import UNIDENTIFIED
from mmh_core.memorization.verdict import IMAGE_ROWS
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.store.archive import load_record
from mmh_core.store.prompt_table import RepeatedRow
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.run_files import file_sha256
from mmh_core.store.shards import ScanManifest, ScanRow, read_manifest, read_rows
from mmh_core.store.table_preview import repeats_text
from mmh_core.studies.images.run import ImageResult, ImageRun, most_severe_image
from mmh_core.studies.review.scan_rows import RUNS, run_figures

#: Side of the thumbnails, which are reduced to it where they are larger.
THUMBNAIL = 128
#: Tags of prompts of which the text encoder read a part only.
CUT, UNREAD = "not read to the end", "letters unknown to the model"
#: Names of what an item keeps of its place in the table, beside the table's own columns.
ROW, REPEATS = "row of the table", "rows with the same prompt"
#: Kinds of copy in the words of the filters.
KINDS: dict[CopyKind | None, str] = {
    None: "not searched",
    "none": "no copy found",
    "exact": "exact copy",
    "template": "template copy",
    "likely": "likely copy",
    "unknown": "cannot be judged",
    "flat": "one color",
}


def scan_items(
    folder: Path, *, flagged: bool, repeats: Mapping[int, Sequence[RepeatedRow]] | None = None
) -> Iterator[ReviewItem]:
    """Yield the prompts of a scan as items, in the order of its table; or the flagged ones alone.

    Every column of the table comes along, and so do the `repeats` of a row. The runs of flagged
    prompts are read one at a time for their images. Errors: MMHError for a folder without a scan
    and for a damaged file.
    """
    manifest = read_manifest(folder)
    rows = [
        row
        for batch in read_rows(folder)
        for row in batch
        if bool(row.values["flagged"]) or not flagged
    ]
    rows.sort(key=lambda row: _figure(row.values["row"]))
    for row in rows:
        item = _scanned(row, manifest, folder)
        yield replace(item, more=_more(row, repeats or {}))


def run_item(run: ImageRun, prompt: int = 0, *, file: str = "", sha256: str = "") -> ReviewItem:
    """Return one prompt of a run as an item; `file` is the run's file, `sha256` its digest.

    Figures are those of `run_figures`; the score is unknown. Errors: ValueError for a prompt
    that has no image yet.
    """
    text = run.config.prompts[prompt]
    images = tuple(image for image in run.images if image.prompt == text)
    if not images:
        raise ValueError(f"Prompt {prompt} has no image yet.")
    figures = run_figures(replace(run, images=images))
    worst = most_severe_image(images)
    seeds = tuple(image.seed for image in images)
    item = ReviewItem(
        text, seeds, run.model, run.sha256, run=file, run_sha256=sha256, **kinds(worst)
    )
    return replace(
        item,
        lid=_figure(figures["lid"]),
        lid_percentile=_figure(figures["lid_percentile"]),
        similarity=_figure(figures["similarity"]),
        nearest=int(str(figures["nearest"])),
        scores=tuple(_scores(images, _figure(figures["copy_rate"]))),
        thumbnail=thumbnail(worst.image),
    )


def kinds(image: ImageResult) -> dict[str, Any]:
    """Return kind of copy and cause of an image, in the words of the filters."""
    least = IMAGE_ROWS["cannot be judged"].severity
    suspected = IMAGE_ROWS[image.verdict].severity > least
    cause: str = UNIDENTIFIED if suspected else ""
    if image.cause is not None:
        cause = image.cause.label
    kind = KINDS[None if image.copy is None else image.copy.kind]
    return {"kind": kind, "cause": cause}


#: Names of further scores as queues keep them -> their labels.
_SCORE_LABELS = {
    "share of images copied": "copy rate",
    "times in training": "occurrences in the training set",
    "similarity from which a copy is possible": "copy threshold (similarity)",
}


#: Further scores that are of one image, that of the most severe verdict; others are of the prompt.
IMAGE_SCORES = frozenset(
    ("times in training", "calibrated L2", "similarity from which a copy is possible")
)


def score_label(name: str) -> str:
    """Return the label of a further score of an item."""
    label = _SCORE_LABELS.get(name, name)
    return label[:1].upper() + label[1:]


def score_words(name: str, value: float) -> str:
    """Return a further figure of an item as a person reads it: shares in per cent."""
    return f"{value:.0%}" if score_label(name) == "Copy rate" else f"{value:.3g}"


def thumbnail(image: Tensor) -> bytes:
    """Return an image, uint8 (3, H, W), as a small PNG file."""
    from PIL import Image

    small = Image.fromarray(image.permute(1, 2, 0).numpy(force=True))
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def _scanned(row: ScanRow, manifest: ScanManifest, folder: Path) -> ReviewItem:
    values = row.values
    name = str(values["run"] or "")
    item = ReviewItem(row.prompt, row.seeds, manifest.model, manifest.model_sha256)
    if name:
        path = folder / RUNS / name
        if not path.is_file():
            raise MMHError(f"The run {name} of {folder} is gone: restore it, or scan again.")
        item = run_item(load_record(path, ImageRun), file=name, sha256=file_sha256(path))
    early = tuple((key, _figure(values[key])) for key in ("guidance_norm", "cosine", "percentile"))
    return replace(
        item,
        score=_figure(values["score"]),
        scores=(*early, *item.scores),
        label=str(values["label"] or ""),
        name=str(values["name"] or ""),
        tags=(
            *(tag for tag in str(values["tags"] or "").split("; ") if tag),
            *_unread_tags(row),
        ),
    )


def _more(
    row: ScanRow, repeats: Mapping[int, Sequence[RepeatedRow]]
) -> tuple[tuple[str, str], ...]:
    """Return the further columns of a row, its place in the table and the rows that repeat it."""
    try:
        kept = typed_value(parse_json(str(row.values.get("more") or "{}")), dict[str, str])
    except ValueError:
        kept = {}  # What a scan of another version wrote there is no column.
    cells = [(name.strip(), text.strip()) for name, text in kept.items()]
    place = _figure(row.values["row"])
    if not math.isnan(place):
        cells.append((ROW, f"{place:.0f}"))
        if same := repeats.get(int(place)):
            cells.append((REPEATS, repeats_text(same)))
    return tuple((name, text) for name, text in cells if name and text)


def _unread_tags(row: ScanRow) -> Iterator[str]:
    """Yield a tag for each part of a prompt that the text encoder did not read."""
    # A scan of an earlier version has no such columns.
    if row.values.get("cut"):
        yield CUT
    if row.values.get("unread"):
        yield UNREAD


def _scores(images: tuple[ImageResult, ...], copy_rate: float) -> Iterator[tuple[str, float]]:
    """Yield further figures of a prompt by name."""
    yield "share of images copied", copy_rate
    first = [float(image.guidance_norm[0]) for image in images if len(image.guidance_norm)]
    if first:
        yield "guidance norm, first step", sum(first) / len(first)
    worst = most_severe_image(images)
    if worst.copy is not None:
        yield "times in training", float(worst.copy.multiplicity)
        yield "calibrated L2", worst.copy.calibrated_l2
        if not math.isnan(worst.copy.threshold):
            yield "similarity from which a copy is possible", worst.copy.threshold


def _figure(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
