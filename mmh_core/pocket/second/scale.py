"""The choice of the noise scale of LID, in items that are kept one by one.

On the calibration half: images of held-out captions' families, and images that a network generates
of duplicated captions and of others. LID is estimated of them at each scale, and the scale is
chosen from what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.pocket.batches import as_tensor, as_unit
from mmh_core.pocket.calibration import DELTAS, LidNoiseScale
from mmh_core.pocket.second.dimensions import cells_of, lid_captions
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import family, held_out_scene
from mmh_core.pocket.second.kept import Record
from mmh_core.pocket.second.searched import SearchedRows, negative_captions
from mmh_core.pocket.second.tables import Tables
from mmh_core.pocket.second.training import Workshop
from mmh_core.pocket.second.truth import lid_star, wide_captions
from mmh_core.pocket.trials import generate_trials, lid_at
from mmh_core.retrieval.copy_evidence import copy_evidence
from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.statistics.agreement import partial_rank_correlation
from mmh_core.statistics.areas import area_under_curve
from mmh_core.text_to_image.model import TextToImage

Floats = NDArray[np.float64]

#: Where images come from: held-out ones, and generated ones of duplicated and of other captions.
HELD_OUT, DUPLICATED, OTHERS = "held-out", "duplicated", "others"
#: Says of kept results how their probes are drawn: older ones drew them from a seed.
PROBES = "probes of each image"
#: Seed of the generated images; the check has others. The held-out image of a caption by number.
_SEED, _IMAGE = 700_000_000, 1_000
#: Resamples of captions by which the sums of two scales are compared, and their seed.
_RESAMPLES, _RESAMPLED = 400, 33
#: Images of one item, a minute's work at each step.
_PER_ITEM = 20


@dataclass(frozen=True)
class ScalePart:
    """One item of images: where they come from, the number of the part, and their captions."""

    side: str
    number: int
    captions: tuple[int, ...]


@dataclass(frozen=True)
class ScaleCaptions:
    """The captions by which a scale is chosen, one image of each, by where it comes from."""

    captions: Mapping[str, tuple[int, ...]]

    @property
    def image_items(self) -> tuple[str, ...]:
        """Return the items of images: `others-2` is the third part of those."""
        return tuple(
            f"{side}-{number}"
            for side, captions in self.captions.items()
            for number in range(math.ceil(len(captions) / _PER_ITEM))
        )

    @property
    def lid_items(self) -> tuple[str, ...]:
        """Return the items of LID: `0.34-others-2` is that part at the scale .34."""
        return tuple(f"{delta:g}-{item}" for delta in DELTAS for item in self.image_items)

    def part(self, item: str) -> ScalePart:
        """Return an item of images by its name."""
        side, _, number = item.rpartition("-")
        start = _PER_ITEM * int(number)
        return ScalePart(side, int(number), self.captions[side][start : start + _PER_ITEM])


def scale_captions(shop: Workshop, most: int) -> ScaleCaptions:
    """Return captions of the calibration half, at most so many held out and half of the others."""
    captions, truth = shop.tables.captions, shop.truth()
    wide = captions.id.isin(wide_captions(truth))
    duplicated = (captions.repeated == "yes") & (captions.split == "calibration") & wide
    return ScaleCaptions(
        {
            HELD_OUT: tuple(lid_captions(shop.tables, "calibration")[:most]),
            DUPLICATED: tuple(int(each) for each in captions[duplicated].id[: most // 2]),
            OTHERS: tuple(negative_captions(shop)[: most // 2]),
        }
    )


def image_records(
    model: TextToImage,
    tables: Tables,
    part: ScalePart,
    rows: SearchedRows,
    thresholds: CopyThresholds,
) -> list[Record]:
    """Return the latent of each caption's image, with LID* held out, and whether it is a copy."""
    captions = part.captions
    if part.side == HELD_OUT:
        latents = model.encode(as_unit(_held_out(tables, captions), torch.device("cpu"))).cpu()
        true = [
            lid_star(held_out_scene(tables, caption, _IMAGE), family(tables, caption).free)
            for caption in captions
        ]
        return list(_records(captions, latents, true, [False] * len(captions)))
    texts = tables.captions.text.iloc[list(captions)]
    table = pd.DataFrame({"caption": texts, "kind": "", "subject": ""})
    seed = _SEED + 1_000 * _PER_ITEM * part.number
    trials = generate_trials(model, table, [seed], guidance=model.guidance, steps=model.steps)
    evidence = copy_evidence(trials.images, rows.embedder, rows.training, thresholds)
    copied = [kind == "exact" for kind in evidence.kind]
    return list(_records(captions, trials.latents, [math.nan] * len(captions), copied))


def lid_records(
    model: TextToImage, tables: Tables, side: str, images: pd.DataFrame, delta: float
) -> list[Record]:
    """Return the LID of images at one scale, those that are compared.

    `images` has caption, latent and copied, as of `image_records`; of duplicated captions the
    copies are compared.
    """
    if side == DUPLICATED:
        images = images[images.copied]
    if images.empty:
        return []
    captions = [int(caption) for caption in images.caption]
    latents = torch.tensor(images.latent.tolist()).reshape(-1, *model.score_model.shape)
    pixels = _held_out(tables, captions) if side == HELD_OUT else model.decode(latents).cpu()
    prompts = [str(tables.captions.text[caption]) for caption in captions]
    lids = lid_at(model, latents, math.log(delta), prompts=prompts, images=pixels)
    return [
        {"delta": delta, "side": side, "caption": caption, "lid": lid}
        for caption, lid in zip(captions, lids.tolist(), strict=True)
    ]


def scale_of(tables: Tables, images: pd.DataFrame, lids: pd.DataFrame) -> LidNoiseScale:
    """Return the noise scale of the least bias among those of the best figures, from what is kept.

    Two figures are summed: the area under the ROC curve of conditional LID, generated copies of
    duplicated captions against generated images of others (one half where either is missing), and
    the partial rank correlation of LID with LID* on held-out images within cells of role and
    painter. Scales often differ in the sum by less than its error. So of all whose sum is not
    clearly below the largest, by the 95 % interval of the difference over resampled captions, the
    one is taken at which LID is nearest to LID* on average over the held-out images.
    """
    held_out = images[images.lid_star.notna()].set_index("caption").lid_star
    by_side = {
        side: lids[lids.side == side].pivot(index="caption", columns="delta", values="lid")
        for side in (HELD_OUT, DUPLICATED, OTHERS)
    }
    held = by_side[HELD_OUT]
    true = held_out.loc[held.index].to_numpy().copy()
    cells = cells_of(tables.captions.iloc[held.index])
    own, copies, others = (_of_scales(table) for table in by_side.values())
    auc, rank = _aucs(copies, others), _ranks(own, true, cells)
    bias = own.mean(1) - true.mean() if len(true) else np.zeros(len(DELTAS))
    total = auc + rank
    best = int(np.argmax(total))
    rng = np.random.default_rng(_RESAMPLED)
    draws = []
    for _ in range(_RESAMPLES):
        of_held, of_copies, of_others = (
            rng.integers(0, side.shape[1], side.shape[1]) for side in (own, copies, others)
        )
        resampled = _aucs(copies[:, of_copies], others[:, of_others])
        draws.append(resampled + _ranks(own[:, of_held], true[of_held], cells[of_held]))
    sums = np.array(draws)
    as_good = np.quantile(sums[:, [best]] - sums, 0.025, axis=0) <= 0
    chosen = min(np.flatnonzero(as_good).tolist(), key=lambda k: (abs(bias[k]), -total[k]))
    return LidNoiseScale(
        math.log(DELTAS[chosen]),
        DELTAS,
        tuple(auc.tolist()),
        tuple(rank.tolist()),
        tuple(others[chosen].tolist()),
        tuple(bias.tolist()),
    )


def _of_scales(table: pd.DataFrame) -> Floats:
    """Return LID (K, N) of a table with a column for each scale; N is 0 where there is none."""
    return np.zeros((len(DELTAS), 0)) if table.empty else table[list(DELTAS)].to_numpy().T


def _aucs(copies: Floats, others: Floats) -> Floats:
    """Return the area under the ROC curve (K,) of low LID, copies (K, N) against others (K, M)."""
    if not (copies.size and others.size):
        return np.full(len(DELTAS), 0.5)
    pairs = zip(torch.from_numpy(-copies), torch.from_numpy(-others), strict=True)
    return np.array([float(area_under_curve(*pair)) for pair in pairs])


def _ranks(lids: Floats, true: Floats, cells: NDArray[np.int64]) -> Floats:
    """Return the partial rank correlation (K,) of LID (K, N) with LID* (N,), 0 where undefined."""
    rows, places = torch.from_numpy(lids.copy()), torch.from_numpy(cells)
    values = [partial_rank_correlation(row, torch.from_numpy(true), places) for row in rows]
    return np.nan_to_num(np.array(values, np.float64))


def _held_out(tables: Tables, captions: Sequence[int]) -> Tensor:
    """Return the held-out images (B, 3, H, W) uint8 of captions."""
    return as_tensor(draw_all([held_out_scene(tables, each, _IMAGE) for each in captions]))


def _records(
    captions: Sequence[int], latents: Tensor, true: Sequence[float], copied: Sequence[bool]
) -> Iterator[Record]:
    for caption, latent, lid, copy in zip(captions, latents, true, copied, strict=True):
        values = latent.float().flatten().tolist()
        yield {"caption": caption, "latent": values, "lid_star": lid, "copied": copy}
