"""The training images of the second world for the copy search, and its calibrated thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.files import replacing
from mmh_core.pocket.augmentations import AUGMENTATIONS
from mmh_core.pocket.autoencoder import decode, encode
from mmh_core.pocket.batches import as_tensor, as_unit
from mmh_core.pocket.calibration import UNCALIBRATED
from mmh_core.pocket.descriptor import Descriptor, save_descriptor
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import held_out_scene, row_images
from mmh_core.pocket.second.kept import Record
from mmh_core.pocket.second.training import Workshop
from mmh_core.pocket.second.truth import COPY_RMS, wide_captions
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import COPIES, CopyEvidence, copy_evidence
from mmh_core.retrieval.copy_thresholds import VERSION_CORRELATION, CopyThresholds, calibrated
from mmh_core.retrieval.embedders import Embedder, embed_all, pocket_embedder
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.training_images import TrainingImages, nearest, pixel_rows, training_images

#: Rows rendered at once, and images compared at once.
_ROWS, _COMPARED = 1_024, 32
UNCHANGED = "unchanged"
#: What training images are recognized behind.
CHANGES = (UNCHANGED, *AUGMENTATIONS)
#: The evidence that sets thresholds, and how many captions' images are compared as one item.
_NEGATIVE, _PER_ITEM = ("similarity", "calibrated_l2", "agreeing"), 16
#: Thresholds before they are calibrated: near-duplicates are versions of one image.
MERGING = replace(UNCALIBRATED, version_correlation=VERSION_CORRELATION)
#: Noise of the calibration's changes.
_SEED = 60_000


@dataclass(frozen=True, eq=False)
class SearchedRows:
    """The distinct images of the training table, described for the search.

    Ids are row numbers of the table; `captions` (R,) is the caption's number of each. Open and
    fresh images are in no index: they come up once or never again, are drawn anew at every use,
    and copies of them cannot be detected.
    """

    embedder: Embedder
    training: TrainingImages
    captions: NDArray[np.int64]

    def own(self, evidence: CopyEvidence, caption: int) -> NDArray[np.bool_]:
        """Return which images (B,) copy an image of this caption, exactly or in layout."""
        kinds = np.asarray(evidence.kind)
        ids = np.where(kinds == "exact", evidence.pixel_nearest.numpy(), evidence.nearest.numpy())
        chosen: NDArray[np.bool_] = np.isin(kinds, COPIES) & (self.captions[ids] == caption)
        return chosen


def kind_of(role: str, copies: int) -> str:
    """Return what a training image is called by how it is in the training set."""
    if role == "exact":
        return "unique" if copies == 1 else "duplicate"
    return {"near": "near-duplicate"}.get(role, role)


def rendered_rows(shop: Workshop) -> NDArray[np.uint8]:
    """Return the images (R, 64, 64, 3) of all rows of the training table.

    They are kept beside the build, 12 KB each, since rendering takes half a minute.
    """
    path = shop.work / "check" / f"rows-{shop.stamp('')[:12]}.npy"
    if path.is_file():
        kept: NDArray[np.uint8] = np.load(path)
        return kept
    count = len(shop.tables.rows.iloc[: shop.config.rows])
    parts = [
        row_images(shop.tables, range(start, min(start + _ROWS, count)))
        for start in range(0, count, _ROWS)
    ]
    images = np.concatenate(parts)
    with replacing(path) as temporary:
        np.save(temporary, images)
    return images


def row_labels(shop: Workshop) -> pd.DataFrame:
    """Return the labels of the index: id, caption, file, kind and copies of every row."""
    rows = shop.tables.rows.iloc[: shop.config.rows]
    captions = shop.tables.captions.iloc[rows.caption.to_numpy()]
    kinds = [
        kind_of(role, copies) for role, copies in zip(captions.role, captions.copies, strict=True)
    ]
    return pd.DataFrame(
        {
            "id": np.arange(len(rows)),
            "caption": captions.text.to_numpy(),
            "file": "",
            "kind": kinds,
            "copies": rows.copies.to_numpy(),
        }
    )


def searched_rows(shop: Workshop) -> SearchedRows:
    """Return the training set as it is searched, once the descriptor is finished."""
    folder = shop.work / "check" / f"descriptor-{shop.stamp('descriptor')[:12]}"
    if not folder.is_dir():
        network = shop.model("descriptor")
        if not isinstance(network, Descriptor):
            raise ValueError("The stage descriptor trains a Descriptor.")
        save_descriptor(network, folder)
    embedder = pocket_embedder(folder)
    pixels = as_tensor(rendered_rows(shop))
    index = build_index(embed_all(embedder, pixels), row_labels(shop), embedder)
    captions = shop.tables.rows.caption.to_numpy()[: len(pixels)].astype(np.int64)
    return SearchedRows(embedder, training_images(pixels, index), captions)


def negative_captions(shop: Workshop) -> list[int]:
    """Return wide captions of the calibration half of whose images none should be a copy.

    Held out, or trained on many different images, each once or always drawn anew. Captions with
    duplicates are not among them, so that nothing is fitted on these.
    """
    captions = shop.tables.captions
    uncopied = (captions.group == "held-out") | captions.role.isin(("unique", "fresh"))
    wide = wide_captions(shop.truth())
    chosen = captions[uncopied & (captions.split == "calibration")].id
    return [int(number) for number in chosen if number in wide]


def negative_items(shop: Workshop) -> tuple[str, ...]:
    """Return the parts of the captions of `negative_captions`."""
    return tuple(map(str, range(math.ceil(len(negative_captions(shop)) / _PER_ITEM))))


def negative_records(
    shop: Workshop, vae: object, rows: SearchedRows, item: str, images: int
) -> list[Record]:
    """Return the evidence of `images` held-out images of each caption of a part.

    As the autoencoder gives them back, without those whose own rendering equals a training image
    to the eye: those are copies by chance.
    """
    start = _PER_ITEM * int(item)
    scenes = [
        held_out_scene(shop.tables, caption, number)
        for caption in negative_captions(shop)[start : start + _PER_ITEM]
        for number in range(images)
    ]
    pixels = as_tensor(draw_all(scenes))
    pixels = pixels[~chance_copies(rows.training, pixels)]
    records: list[Record] = []
    for part in torch.split(pixels, _COMPARED) if len(pixels) else ():
        evidence = copy_evidence(through(vae, part), rows.embedder, rows.training, MERGING)
        columns = (getattr(evidence, name).tolist() for name in _NEGATIVE)
        records += [dict(zip(_NEGATIVE, each, strict=True)) for each in zip(*columns, strict=True)]
    return records


def thresholds_from(negatives: pd.DataFrame) -> CopyThresholds:
    """Return thresholds that 1 % of held-out images pass, from all of `negative_records`.

    Errors: MMHError for too few negatives.
    """
    if negatives.empty:
        raise MMHError(
            "There are no held-out captions of measured LID*: run pocket build --world 2 "
            "--stage world first."
        )
    similarity, distance, agreeing = (
        torch.tensor(negatives[name].to_numpy(np.float64)) for name in _NEGATIVE
    )
    try:
        return calibrated(MERGING, similarity, distance, agreeing)
    except ValueError as error:
        raise MMHError(
            f"The copy thresholds cannot be calibrated ({error}): measure more held-out images."
        ) from error


def chance_copies(training: TrainingImages, pixels: Tensor) -> Tensor:
    """Return which images (B, 3, H, W) uint8 equal a training image to the eye."""
    root = np.sqrt(pixels[0].numel())
    neighbors = nearest(training, pixel_rows(pixels), 1)
    return torch.tensor([bool(far[0] / root < COPY_RMS) for _, far in neighbors])


def through(vae: object, pixels: Tensor) -> Tensor:
    """Return images uint8 in [0, 1] as an autoencoder gives them back."""
    return decode(vae, encode(vae, pixels))


def recognized_record(
    vae: object, rows: SearchedRows, thresholds: CopyThresholds, change: str, positives: int
) -> Record:
    """Return how many of `positives` training images are recognized behind a change.

    Through the autoencoder; changed ones by the descriptor alone, since no pixels agree.
    """
    count = len(rows.training)
    chosen = np.linspace(0, count - 1, min(positives, count)).round().astype(int)
    images = as_unit(rows.training.pixels[torch.from_numpy(chosen)], torch.device("cpu"))
    if change != UNCHANGED:
        generator = torch.Generator().manual_seed(_SEED + CHANGES.index(change))
        images = AUGMENTATIONS[change](images, generator)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    hits = 0
    for part in torch.split(through(vae, pixels), _COMPARED):
        evidence = copy_evidence(part, rows.embedder, rows.training, thresholds)
        if change == UNCHANGED:
            hits += sum(kind in COPIES for kind in evidence.kind)
        else:
            hits += int((evidence.similarity >= thresholds.descriptor).sum())
    return {"change": change, "hits": hits, "of": len(pixels)}
