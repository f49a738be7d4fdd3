"""LID of held-out images by the denoisers of the second world, beside LID*."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmh_core.dimension.spectral import soft_step, spectrum
from mmh_core.pocket.batches import as_tensor, as_unit
from mmh_core.pocket.figures import Row
from mmh_core.pocket.second.families import family_of
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import family, held_out_scene, open_images
from mmh_core.pocket.second.kept import Record
from mmh_core.pocket.second.tables import Tables
from mmh_core.pocket.second.truth import lid_star
from mmh_core.statistics.agreement import (
    correlation_interval,
    partial_rank_correlation,
    rank_correlation,
)
from mmh_core.statistics.intervals import Interval, mean_interval
from mmh_core.text_to_image.model import TextToImage

_NONE = math.nan
#: The number of a caption's first image; those that choose the scale have others.
_CHECK_IMAGE = 2_000
#: The first open image whose LID is compared: none that a network is trained on, and none of
#: those of the Bayes-optimal denoiser.
OPEN_START = 920_000_000
#: Least correlation within cells, and largest mean error of LID.
WITHIN, BIAS = 0.7, 5.0


def lid_captions(tables: Tables, split: str) -> list[int]:
    """Return the captions of a half whose LID is compared: trained ones, and those held out."""
    captions = tables.captions
    chosen = captions[captions.group.isin(("trained", "held-out")) & (captions.split == split)]
    order = np.random.default_rng([tables.seed, 32]).permutation(chosen.id.to_numpy())
    return [int(number) for number in order]


def spectral_records(
    model: TextToImage, pixels: Tensor, text: str, log_delta: float
) -> list[dict[str, float]]:
    """Return for images uint8 of one caption the figures of the denoiser's whole spectrum.

    `lid` counts eigenvalues above one half, `soft` is the soft count, and `trace` their sum.
    """
    latents = model.encode(as_unit(pixels, torch.device("cpu")))
    cond = model.encode_text([text]).expand(len(latents), -1, -1)
    full = spectrum(model.score_model, latents.to(model.device), log_delta, cond=cond)
    values = full.eigenvalues.double().cpu()
    columns = {
        "lid": (values > 0.5).double().sum(1),
        "soft": soft_step(values).sum(1),
        "trace": values.sum(1),
    }
    return [{name: float(each[i]) for name, each in columns.items()} for i in range(len(values))]


def caption_lids(
    model: TextToImage, tables: Tables, caption: int, images: int, log_delta: float
) -> list[Record]:
    """Return LID and LID* of held-out images of a caption's family, given the caption."""
    free = family(tables, caption).free
    scenes = [held_out_scene(tables, caption, _CHECK_IMAGE + i) for i in range(images)]
    text = str(tables.captions.text[caption])
    measured = spectral_records(model, as_tensor(draw_all(scenes)), text, log_delta)
    return [
        {"caption": caption, "image": i, "lid_star": lid_star(scene, free), **record}
        for i, (scene, record) in enumerate(zip(scenes, measured, strict=True))
    ]


def open_lids(model: TextToImage, tables: Tables, number: int, log_delta: float) -> list[Record]:
    """Return LID and LID* of an open image that no network is trained with."""
    [image] = open_images(tables, OPEN_START + number, 1)
    free = family_of(image.caption, tables.seed).free
    pixels = as_tensor(draw_all([image.scene]))
    [record] = spectral_records(model, pixels, image.caption.text, log_delta)
    return [{"image": number, "lid_star": lid_star(image.scene, free), **record}]


def cells_of(captions: pd.DataFrame) -> np.ndarray:
    """Return the number of each caption's cell: role, or group where it has none, and painter."""
    roles = captions.role.where(captions.role != "", captions.group)
    numbers: np.ndarray = pd.factorize(roles + "/" + captions.painter)[0]
    return numbers


def within_rows(lids: pd.DataFrame, captions: pd.DataFrame, complete: bool) -> list[Row]:
    """Return how LID ranks held-out images as LID* does, within cells and over all.

    `lids` has network, caption, lid and lid_star; images of a caption are averaged. Beside the
    figure over all cells stands that of the best constant for each cell, which explains nothing
    within them.
    """
    figure = "partial rank correlation of LID with LID* within kind and painter"
    if lids.empty:
        return [Row(figure, _NONE, _NONE, _NONE, WITHIN, "least", 0)]
    table = lids.groupby(["network", "caption"])[["lid", "lid_star"]].mean().reset_index()
    cells = dict(zip(captions.id, cells_of(captions), strict=True))
    table["cell"] = table.caption.map(cells)
    mean = table.groupby("caption")[["lid", "lid_star", "cell"]].mean().reset_index()
    interval = _partial(mean)
    count = len(mean)
    rows = [
        Row(figure, *_ends(interval, complete), WITHIN, "least", count),
        *(
            Row(f"of these, network {name}", *_ends(_partial(part)), 0.0, "none", len(part))
            for name, part in _networks(table)
        ),
    ]
    constant = mean.groupby("cell").lid_star.transform("mean")
    for name, predictor in (("LID", mean.lid), ("the best constant of each cell", constant)):
        value = rank_correlation(_tensor(predictor), _tensor(mean.lid_star))
        ranks = f"rank correlation of {name} with LID* over all cells"
        rows.append(Row(ranks, value, _NONE, _NONE, 0.0, "none", count))
    return rows


def _partial(table: pd.DataFrame) -> Interval:
    """Return the partial rank correlation, its interval by leaving out each caption."""
    lid, true = _tensor(table.lid), _tensor(table.lid_star)
    cells = _tensor(table.cell)
    every = torch.arange(len(table))
    without = [
        partial_rank_correlation(lid[kept], true[kept], cells[kept])
        for kept in (every[every != left] for left in every)
    ]
    value = partial_rank_correlation(lid, true, cells)
    return correlation_interval(value, torch.tensor(without, dtype=torch.float64))


def bias_rows(lids: pd.DataFrame, complete: bool) -> list[Row]:
    """Return the mean error of LID on open held-out images.

    `lids` has network, image, lid, soft, trace and lid_star.
    """
    figure = "mean error of LID on open held-out images, absolute"
    if lids.empty:
        return [Row(figure, _NONE, _NONE, _NONE, BIAS, "most", 0)]
    table = lids.assign(bias=lids.lid - lids.lid_star)
    mean = table.groupby("image")[["bias", "lid_star", "soft", "trace"]].mean()
    bias, count = mean_interval(_tensor(mean.bias)), len(mean)
    rows = [Row(figure, *_ends(_absolute(bias), complete), BIAS, "most", count)]
    signed = [("mean error of LID on open held-out images", mean.bias)]
    signed += [
        (f"of these, network {name}", part.groupby("image").bias.mean())
        for name, part in _networks(table)
    ]
    signed += [
        ("mean LID* of these images", mean.lid_star),
        ("mean soft spectral count of these images", mean.soft),
        ("mean trace of the denoiser's Jacobian at these images", mean["trace"]),
    ]
    for name, values in signed:
        interval = mean_interval(_tensor(values))
        rows.append(Row(name, *_ends(interval), 0.0, "none", len(values)))
    return rows


def _absolute(interval: Interval) -> Interval:
    """Return the interval of the absolute value of a figure."""
    ends = (abs(interval.low), abs(interval.high))
    crossing = interval.low <= 0 <= interval.high
    return Interval(abs(interval.value), 0.0 if crossing else min(ends), max(ends))


def _networks(table: pd.DataFrame) -> list[tuple[object, pd.DataFrame]]:
    """Return the rows of each network, none where there is one alone."""
    numbers = sorted(set(table.network.tolist()))
    parts: list[tuple[object, pd.DataFrame]] = [(n, table[table.network == n]) for n in numbers]
    return parts if len(parts) > 1 else []


def _ends(interval: Interval, complete: bool = True) -> tuple[float, float, float]:
    """Return the figure with its ends, NaN where not all is measured."""
    if not complete:
        return _NONE, _NONE, _NONE
    return interval.value, interval.low, interval.high


def _tensor(values: pd.Series) -> Tensor:
    return torch.tensor(values.to_numpy(), dtype=torch.float64)
