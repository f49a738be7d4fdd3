"""Figures of the second world's networks, from what an inspection has measured so far."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch

from mmh_core.pocket.augmentations import AUGMENTATIONS
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.clip import embed_captions, embed_images, recall_at_1
from mmh_core.pocket.descriptor import describe
from mmh_core.pocket.figures import Row, share
from mmh_core.pocket.second.copy_rates import copy_rate_rows
from mmh_core.pocket.second.dimensions import bias_rows, within_rows
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import open_images
from mmh_core.pocket.second.inspection import FurtherFigures, Inspection
from mmh_core.pocket.second.pairs import disagreement_row
from mmh_core.pocket.second.perfect import fit_rows
from mmh_core.pocket.second.plan import NETWORKS
from mmh_core.pocket.second.training import Workshop
from mmh_core.pocket.tokenizer import load_tokenizer, token_ids
from mmh_core.statistics.intervals import mean_share_interval, share_interval

_NONE = math.nan
#: Open images and captions of the tiny CLIP, by number.
_CLIP_START, _CLIP_IMAGES, _AMONG = 930_000_000, 400, 50
_SEED = 700_000


def part_rows(shop: Workshop, held_out: np.ndarray) -> list[Row]:
    """Return the figures of descriptor and CLIP, NaN for what is not built."""
    return [*descriptor_rows(shop, held_out), clip_row(shop)]


def descriptor_rows(shop: Workshop, held_out: np.ndarray) -> list[Row]:
    """Return the least AUC of the descriptor over its changes, and each of them.

    The AUC is the mean over images of the share of other images that are less similar to the
    original than the image's own changed copy, with Gaffke's interval over images.
    """
    least = "copy descriptor: least AUC"
    if not shop.finished("descriptor"):
        return [Row(least, _NONE, _NONE, _NONE, 0.98, "least", 0)]
    network = shop.model("descriptor")
    images = as_tensor(held_out).float() / 255
    originals = describe(network, images)
    generator = torch.Generator().manual_seed(_SEED)
    rows = []
    for name, change in AUGMENTATIONS.items():
        shares = own_shares(describe(network, change(images, generator)), originals)
        interval = mean_share_interval(shares)
        figure = f"copy descriptor under {name}: AUC"
        ends = (interval.value, interval.low, interval.high)
        rows.append(Row(figure, *ends, 0.0, "none", len(shares)))
    worst = min(rows, key=lambda row: row.value)
    ends = (worst.value, worst.low, worst.high)
    return [Row(least, *ends, 0.98, "least", worst.count), *rows]


def own_shares(copies: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """Return for each copy (N, width) the share of other originals that it is less similar to.

    Ties count one half.
    """
    similarity = (copies @ originals.T).double()
    own = similarity.diagonal()[:, None]
    others = ~torch.eye(len(copies), dtype=torch.bool)
    less = (similarity < own).double() + (similarity == own).double() / 2
    return less[others].reshape(len(copies), -1).mean(1)


def clip_row(shop: Workshop) -> Row:
    """Return how often an open image's caption is recognized among 50 of other content."""
    figure = "tiny CLIP: held-out caption among 50, recall at 1"
    if not shop.finished("clip"):
        return Row(figure, _NONE, _NONE, _NONE, 0.8, "least", 0)
    clip = shop.model("clip")
    opened = list(open_images(shop.tables, _CLIP_START, _CLIP_IMAGES))
    ids = token_ids(
        load_tokenizer(shop.work / "tokenizer"), [each.caption.text for each in opened]
    )
    contents = [f"{c.painter}/{c.subject}/{sorted(c.fixed)}" for c in (o.caption for o in opened)]
    keys = torch.from_numpy(pd.factorize(np.array(contents))[0])
    value = recall_at_1(
        embed_images(clip, as_tensor(draw_all([each.scene for each in opened]))),
        embed_captions(clip, ids),
        keys,
        among=_AMONG,
        generator=torch.Generator().manual_seed(_SEED),
    )
    hits = np.arange(len(opened)) < round(value * len(opened))
    return share(figure, hits, 0.8, "least")


def network_rows(inspection: Inspection, cause: FurtherFigures | None = None) -> list[Row]:
    """Return every demand on the denoisers; what is not all measured has no value at its bar.

    That of the cause is short where nobody measures it.
    """
    built = len(inspection.networks)
    rows = [
        Row("denoisers trained on the whole set", float(built), _NONE, _NONE, NETWORKS, "least",
            built)
    ]  # fmt: skip
    rows += threshold_rows(inspection)
    captions = inspection.shop.tables.captions
    images, complete = inspection.over_networks("generated")
    rows += copy_rate_rows(images, captions, complete)
    rows.append(disagreement_row(inspection))
    figure = "cause from the training set and the model, balanced accuracy"
    unmeasured = [Row(figure, _NONE, _NONE, _NONE, 0.9, "least", 0)]
    rows += unmeasured if cause is None else cause.rows()
    rows += scale_rows(inspection)
    if math.isnan(inspection.log_delta):
        nothing = pd.DataFrame()
        rows += [*within_rows(nothing, captions, False), *bias_rows(nothing, False)]
    else:
        lids, complete = inspection.over_networks("held_out")
        rows += within_rows(lids, captions, complete)
        rows += bias_rows(*inspection.over_networks("opened"))
    errors, complete = inspection.over_networks("denoising")
    complete = complete and inspection.bayes.complete
    rows += fit_rows(inspection.bayes.table(), errors, inspection.log_delta, complete)
    return rows


def threshold_rows(inspection: Inspection) -> list[Row]:
    """Return how many training images the calibrated search recognizes, by change."""
    rows = []
    for record in inspection.recognized.table().to_dict("records"):
        hits, among = int(record["hits"]), int(record["of"])
        interval = share_interval(hits, among)
        figure = f"search: training images recognized through the autoencoder, {record['change']}"
        ends = (interval.value, interval.low, interval.high)
        rows.append(Row(figure, *ends, 0.0, "none", among))
    return rows


def scale_rows(inspection: Inspection) -> list[Row]:
    """Return the calibrated noise scale, once there is one."""
    if math.isnan(inspection.log_delta):
        return []
    scale = math.exp(inspection.log_delta)
    return [Row("calibrated noise scale of LID", scale, _NONE, _NONE, 0.0, "none", 1)]
