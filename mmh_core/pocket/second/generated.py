"""Images that a denoiser of the second world generates, and what the copy search says of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmh_core.files import write_bytes
from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.second.kept import Record
from mmh_core.pocket.second.searched import SearchedRows
from mmh_core.pocket.second.tables import Tables
from mmh_core.pocket.second.truth import wide_captions
from mmh_core.pocket.trials import generate_trials
from mmh_core.retrieval.copy_evidence import COPIES, copy_evidence
from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.text_to_image.model import TextToImage

#: Seeds of a caption's images: this, a thousand for each caption, and the image's number.
_SEED = 800_000_000
#: What is kept of the evidence of an image.
_MEASURED = (
    "nearest", "similarity", "pixel_nearest", "distance", "calibrated_l2", "ratio", "agreeing",
    "family",
)  # fmt: skip


@dataclass(frozen=True)
class ImageCounts:
    """How many images a check measures; the defaults take a few hours on two cores.

    `seeds` images of every trained caption and network; `other_seeds` of at most `other_captions`
    captions of each group outside of the training set, by the first network; `negatives` held-out
    images of each caption that calibrates the copy thresholds, and `recognized` training images
    that these have to recognize; `scale_captions` whose LID chooses the noise scale; `held_out`
    held-out images of each caption whose LID is compared with LID*; `open_images` whose LID is
    compared with LID*; `bayes_images` of which the Bayes-optimal denoiser is sampled, at each
    scale. At most `captions` captions are generated for and compared: tests use fewer than there
    are.
    """

    seeds: int = 16
    other_seeds: int = 4
    other_captions: int = 60
    negatives: int = 3
    recognized: int = 200
    scale_captions: int = 200
    held_out: int = 1
    open_images: int = 200
    bayes_images: int = 16
    captions: int = 1_000_000


def trained_to_generate(tables: Tables, truth: pd.DataFrame) -> list[int]:
    """Return the wide trained captions whose copy rate is measured.

    Of captions with duplicates both halves, since no threshold and no scale is fitted on these; of
    the others the test half. In the order of a random permutation, so that a check that is
    stopped has measured some captions of every dose.
    """
    captions = tables.captions
    wide = wide_captions(truth)
    trained = captions[(captions.group == "trained") & captions.id.isin(wide)]
    dosed = trained.role.isin(("exact", "near", "template"))
    numbers = trained[dosed | (trained.split == "test")].id.to_numpy()
    order = np.random.default_rng([tables.seed, 30]).permutation(numbers)
    return [int(number) for number in order]


def others_to_generate(tables: Tables, most: int) -> list[int]:
    """Return captions of the test half that nothing was trained with, `most` of each group."""
    captions = tables.captions
    outside = ~captions.group.isin(("trained", "small"))
    chosen = captions[outside & (captions.split == "test")]
    rng = np.random.default_rng([tables.seed, 31])
    numbers: list[int] = []
    for _, part in chosen.groupby("group", sort=False):
        numbers += rng.permutation(part.id.to_numpy())[:most].tolist()
    return numbers


def generated_records(
    model: TextToImage,
    text: str,
    caption: int,
    seeds: int,
    rows: SearchedRows,
    thresholds: CopyThresholds,
    sheet: Path,
) -> list[Record]:
    """Generate images of a caption, write them as one sheet, and return a record of each.

    `copied`: whether it is a copy of any training image, exactly or in layout; `own`: of one that
    has this caption.
    """
    trials = generate_trials(
        model,
        pd.DataFrame([(text, "", "")], columns=["caption", "kind", "subject"]),
        [_SEED + 1_000 * caption + i for i in range(seeds)],
        guidance=model.guidance,
        steps=model.steps,
    )
    evidence = copy_evidence(trials.images, rows.embedder, rows.training, thresholds)
    own, measures = rows.own(evidence, caption), evidence.frame()
    images = (trials.images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    write_sheet(sheet, images)
    return [
        {"caption": caption, "image": i, "kind": measures.kind[i]}
        | {"copied": measures.kind[i] in COPIES, "own": bool(own[i])}
        | {name: measures[name][i].item() for name in _MEASURED}
        for i in range(seeds)
    ]


def write_sheet(path: Path, images: NDArray[np.uint8]) -> None:
    """Write images (N, 64, 64, 3) one below the other, lossless."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(images.reshape(-1, SIDE, 3)).save(written, "WEBP", lossless=True, exact=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, written.getvalue())


def read_sheet(path: Path, chosen: Sequence[int]) -> NDArray[np.uint8]:
    """Return some of the images (N, 64, 64, 3) that `write_sheet` wrote."""
    from PIL import Image

    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    images: NDArray[np.uint8] = pixels.reshape(-1, SIDE, SIDE, 3)[list(chosen)]
    return images
