"""Copy rates against the dose of duplication, from the copies counted by the search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmh_core.counting import plural
from mmh_core.pocket.figures import Row
from mmh_core.pocket.second.doses import COPIES, IMAGES
from mmh_core.statistics.intervals import mean_share_interval, percentile_interval

_NONE = math.nan
#: The bars of the copy rate by the copies of a caption.
BARS: Mapping[int, tuple[float, Literal["least", "most", "none"]]] = {
    COPIES[0]: (0.05, "most"),
    COPIES[-1]: (0.95, "least"),
}
_NO_BAR: tuple[float, Literal["least", "most", "none"]] = (0.0, "none")
_RESAMPLINGS, _SEED = 400, 7
Floats = NDArray[np.float64]


def caption_rates(images: pd.DataFrame, column: str = "own") -> pd.DataFrame:
    """Return the share of copies of each caption and network: network, caption, rate, images.

    `images` has one row per generated image: network, caption and the column.
    """
    groups = images.groupby(["network", "caption"])[column]
    return groups.agg(rate="mean", count="size").reset_index()


def copy_rate_rows(images: pd.DataFrame, captions: pd.DataFrame, complete: bool) -> list[Row]:
    """Return copy rates by dose, and where the transition lies.

    `images` as of `caption_rates`, with `own` and `copied`; `captions` is the table of the world.
    A rate is the mean over captions of the share of their images that copy a training image of the
    caption, averaged over networks, with Gaffke's interval over captions (the clusters). What is
    not `complete` has no value where there is a bar.
    """
    if images.empty:
        images = pd.DataFrame({"network": [], "caption": [], "own": [], "copied": []})
        images = images.astype({"own": bool, "copied": bool})
    rates = _joined(images, captions, "own")
    exact = rates[rates.role == "exact"]
    rows: list[Row] = []
    for copies in COPIES:
        bar, bound = BARS.get(copies, _NO_BAR)
        level = exact[exact.copies == copies]
        row = rate_row(f"copies of training images, captions with {_copies(copies)}", level)
        rows.append(_barred(row, bar, bound, complete))
        rows += _by_network(level)
        for number in IMAGES:
            part = level[level.images == number]
            if len(part):
                rows.append(rate_row(f"of these, with {number} distinct images", part))
    rows += transition_rows(exact)
    near = rates[rates.role == "near"]
    levels = dict.fromkeys(zip(near["transform"], near.copies, strict=True))
    for transform, times in sorted(levels):
        part = near[(near["transform"] == transform) & (near.copies == times)]
        rows.append(rate_row(f"near-duplicates by {transform}, {times} of them", part))
    for role, title in (
        ("template", "templates of 40 images"),
        ("unique", "captions with many images, each once"),
        ("fresh", "captions whose images are always drawn anew"),
    ):
        rows.append(rate_row(f"copies of training images, {title}", rates[rates.role == role]))
    elsewhere = images.assign(elsewhere=images.copied & ~images.own)
    others = _joined(elsewhere, captions, "elsewhere")
    figure = "trained captions: copies of another caption's image"
    rows.append(rate_row(figure, others[others.group == "trained"]))
    outside = _joined(images, captions, "copied")
    for group, part in outside[outside.group != "trained"].groupby("group", sort=False):
        rows.append(rate_row(f"{group}: copies of any training image", part))
    return [row for row in rows if row.count or row.bound != "none"]


def rate_row(figure: str, rates: pd.DataFrame) -> Row:
    """Return the mean rate over captions, networks averaged, with Gaffke's interval.

    `rates` has caption and rate; the count is of captions.
    """
    means = torch.tensor(rates.groupby("caption").rate.mean().to_numpy(np.float64))
    interval = mean_share_interval(means)
    return Row(figure, interval.value, interval.low, interval.high, 0.0, "none", len(means))


def _copies(copies: int) -> str:
    return plural(copies, "copy")


def _barred(row: Row, bar: float, bound: Literal["least", "most", "none"], complete: bool) -> Row:
    """Return a row with its bar; one with a bar has no value before all is measured."""
    if bound == "none" or (complete and row.count):
        return Row(row.figure, row.value, row.low, row.high, bar, bound, row.count)
    return Row(row.figure, _NONE, _NONE, _NONE, bar, bound, row.count)


def _by_network(rates: pd.DataFrame) -> list[Row]:
    """Return the rate of each network, where there are several."""
    parts = list(rates.groupby("network"))
    if len(parts) < 2:
        return []
    return [rate_row(f"of these, network {name}", part) for name, part in parts]


def _joined(images: pd.DataFrame, captions: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rates of captions beside their rows of the caption table."""
    columns = ["id", "group", "role", "copies", "images", "transform"]
    return caption_rates(images, column).merge(
        captions[columns], left_on="caption", right_on="id", how="left"
    )


def transition_rows(exact: pd.DataFrame) -> list[Row]:
    """Return the copies at which half of the images are copies, of each network and their mean.

    `exact` has network, caption, copies and rate. The interval of the mean is a percentile
    bootstrap over the captions of each level.
    """
    if exact.empty:
        return []
    figure = "copies at which half of the images are copies"
    means = exact.groupby(["copies", "caption"]).rate.mean().reset_index()
    levels = [
        (float(k), means[means.copies == k].rate.to_numpy(np.float64))
        for k in sorted(set(means.copies.tolist()))
    ]
    rng = np.random.default_rng(_SEED)
    value = transition([(k, float(rates.mean()), len(rates)) for k, rates in levels])
    resampled = [
        transition([(k, float(rng.choice(r, len(r)).mean()), len(r)) for k, r in levels])
        for _ in range(_RESAMPLINGS)
    ]
    low, high = percentile_interval(resampled)
    rows = [Row(figure, value, low, high, 0.0, "none", len(means))]
    networks = list(exact.groupby("network"))
    for name, part in networks if len(networks) > 1 else []:
        by_level = part.groupby("copies").rate.agg(["mean", "size"]).reset_index()
        own = transition(list(by_level.itertuples(index=False, name=None)))
        rows.append(Row(f"of these, network {name}", own, _NONE, _NONE, 0.0, "none", len(part)))
    return rows


def transition(levels: list[tuple[float, float, int]]) -> float:
    """Return the k at which a rate that rises with log k passes one half; its ends beyond.

    `levels` are (k, rate, captions), k rising. Rates are made monotone (isotonic regression), and
    the line between the two levels around one half is taken in log2 k.
    """
    from scipy.optimize import isotonic_regression

    doses = np.log2([k for k, _, _ in levels])
    weights = [float(count) for _, _, count in levels]
    rates = np.array([rate for _, rate, _ in levels])
    fitted: Floats = isotonic_regression(rates, weights=weights).x
    above = np.flatnonzero(fitted >= 0.5)
    if not len(above):
        return float(2 ** doses[-1])
    place = int(above[0])
    if not place:
        return float(2 ** doses[0])
    share = (0.5 - fitted[place - 1]) / (fitted[place] - fitted[place - 1])
    return float(2 ** (doses[place - 1] + share * (doses[place] - doses[place - 1])))
