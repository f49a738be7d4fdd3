"""Bayes error and denoising error with known answers, and the ratio of given errors."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import truncnorm
from torch import nn

from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import open_images
from mmh_core.pocket.second.perfect import (
    NOISE_DRAWS,
    SCALES,
    START,
    bayes_figures,
    bayes_records,
    denoising_records,
    fit_rows,
    items,
    ratio_interval,
)
from mmh_core.pocket.second.plan import TINY
from mmh_core.pocket.second.tables import Tables, build_tables
from tests.detectors.worlds import BROAD, SHAPE, world

#: Widths of the directions of a linear map of uniform numbers.
WIDTHS = np.array([3.0, 1.0, 0.5, 0.2, 0.05])


class Pooling(nn.Module):
    """Encode images as their brightness in 4 x 4 cells, `scale` times, twice over."""

    def __init__(self, scale: float) -> None:
        """Hold the scale, and a parameter by which the device is known."""
        super().__init__()
        self.scale = scale
        self.anchor = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(scaling_factor=1.0)

    def encode(self, images: torch.Tensor) -> Any:
        """Return the distribution whose mean are latents (N, 2, 4, 4)."""
        cells = nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 4)
        return SimpleNamespace(
            latent_dist=SimpleNamespace(mean=self.scale * cells.repeat(1, 2, 1, 1))
        )


@pytest.fixture(scope="module")
def tables() -> Tables:
    return build_tables(0, TINY.sizes)


@pytest.mark.parametrize("delta", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_bayes_error_of_a_linear_map_has_the_closed_form(delta: float, seed: int) -> None:
    """Orthogonal directions are apart: each is a normal distribution cut off at its range."""
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(20, 5)))[0].T * WIDTHS[:, None]
    theta = rng.random(5)
    noisy = theta @ matrix + delta * rng.normal(size=20)
    found = bayes_figures(lambda points: points @ matrix, theta, noisy, delta, rng, 800)
    at, spread = matrix @ noisy / WIDTHS**2, delta / WIDTHS
    cut = [
        truncnorm((0 - m) / s, (1 - m) / s, m, s).var() for m, s in zip(at, spread, strict=True)
    ]
    expected = float((WIDTHS**2 * np.array(cut)).sum() / delta**2)
    assert found["bayes"] == pytest.approx(expected, rel=5 / np.sqrt(found["effective"]))
    assert found["wider"] == int((WIDTHS / np.sqrt(12) > delta).sum())


def test_noise_far_below_every_width_leaves_each_direction_and_nothing_free_leaves_none() -> None:
    rng = np.random.default_rng(0)
    matrix = np.linalg.qr(rng.normal(size=(20, 4)))[0].T * 10
    theta = np.full(4, 0.5)
    noisy = theta @ matrix + 0.01 * rng.normal(size=20)
    found = bayes_figures(lambda points: points @ matrix, theta, noisy, 0.01, rng, 800)
    assert found["wider"] == 4
    assert found["bayes"] == pytest.approx(4, rel=5 / np.sqrt(found["effective"]))
    point = bayes_figures(
        lambda points: np.ones((len(points), 20)), np.zeros(0), noisy, 1, rng, 80
    )
    assert point["wider"] == 0 and point["bayes"] == pytest.approx(0)


@pytest.mark.parametrize("item", ["0.34-0", "1.1-1"])
def test_an_encoder_that_sees_nothing_leaves_no_bayes_error(tables: Tables, item: str) -> None:
    [found] = bayes_records(tables, Pooling(0.0), item, draws=80)
    assert (found["delta"], found["image"]) == tuple(
        kind(part) for kind, part in zip((float, int), item.split("-"), strict=True)
    )
    assert found["wider"] == 0 and found["bayes"] == pytest.approx(0, abs=1e-9)
    assert isinstance(found["lid_star"], int) and found["lid_star"] > 0


@pytest.mark.parametrize("item", ["0.34-0", "1.1-0", "0.5-2"])
def test_the_denoising_error_of_a_gaussian_has_the_closed_form(tables: Tables, item: str) -> None:
    """D(z) = l / (l + delta^2) z for N(0, l), which the analytic model is for any other text."""
    delta, number = float(item.split("-")[0]), int(item.split("-")[1])
    vae = Pooling(2.0)
    [found] = denoising_records(world(), tables, vae, item)
    [image] = open_images(tables, START + number, 1)
    pixels = torch.from_numpy(draw_all([image.scene])).permute(0, 3, 1, 2).float() / 255
    clean = vae.encode(2 * pixels - 1).latent_dist.mean.flatten().double().numpy()
    rng = np.random.default_rng([tables.seed, 21, number, round(1_000 * delta)])
    noise = rng.standard_normal((NOISE_DRAWS, math.prod(SHAPE)))
    keep = BROAD / (BROAD + delta**2)
    errors = (((keep - 1) * clean + keep * delta * noise) ** 2).sum(1) / delta**2
    assert found["error"] == pytest.approx(errors.mean(), rel=1e-3)
    assert (found["delta"], found["image"]) == (delta, number)


def tables_of(ratio: float, networks: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return Bayes errors and errors of networks that are so many times as large on average."""
    rng = np.random.default_rng(0)
    bayes, errors = [], []
    for delta in SCALES:
        for image in range(16):
            own = float(rng.uniform(5, 20))
            bayes.append((delta, image, 12, 11, own, 500.0))
            errors += [(n, delta, image, own * ratio * (1 + n / 10)) for n in range(networks)]
    return (
        pd.DataFrame(bayes, columns=["delta", "image", "lid_star", "wider", "bayes", "effective"]),
        pd.DataFrame(errors, columns=["network", "delta", "image", "error"]),
    )


@pytest.mark.parametrize(("ratio", "short"), [(1.0, False), (1.9, False), (2.1, True)])
def test_the_ratio_at_the_calibrated_scale_has_the_bar(ratio: float, short: bool) -> None:
    bayes, errors = tables_of(ratio)
    rows = fit_rows(bayes, errors, math.log(0.5), True)
    assert rows[0].value == pytest.approx(ratio)
    assert rows[0].short is short
    assert sum(row.bound == "most" for row in rows) == 1
    by_figure = {row.figure: row for row in rows}
    for delta in SCALES:
        row = by_figure[f"ratio of denoising to Bayes error at delta = {delta:g}"]
        assert row.value == pytest.approx(ratio)


def test_images_with_too_few_effective_draws_are_left_out_and_counted() -> None:
    bayes, errors = tables_of(1.0)
    bayes.loc[(bayes.delta == 0.5) & (bayes.image < 3), ["effective", "bayes"]] = [10.0, 900.0]
    rows = fit_rows(bayes, errors, math.log(0.5), True)
    assert rows[0].value == pytest.approx(1.0)
    assert rows[0].count == 13
    assert any("(3 images with fewer than 50 effective draws" in row.figure for row in rows)


def test_networks_are_averaged_and_have_rows_of_their_own() -> None:
    rows = fit_rows(*tables_of(1.0, networks=3), math.log(0.34), True)
    assert rows[0].value == pytest.approx(1.1)
    own = [row.value for row in rows if row.figure == "of these, network 2"]
    assert own == pytest.approx([1.2] * len(SCALES))


def test_without_networks_or_scale_the_bar_is_not_met() -> None:
    bayes, errors = tables_of(1.0)
    assert fit_rows(bayes, errors.iloc[:0], math.nan, False)[0].short
    assert len(fit_rows(bayes, errors.iloc[:0], math.nan, False)) == 2 + 2 * len(SCALES)
    assert fit_rows(bayes, errors, math.nan, False)[0].short
    unfinished = fit_rows(bayes, errors, math.log(0.34), False)[0]
    assert math.isnan(unfinished.value)
    assert unfinished.count == 16
    assert [row.short for row in fit_rows(pd.DataFrame(), pd.DataFrame(), math.nan, False)] == [
        True
    ]


def test_the_interval_of_a_ratio_holds_the_true_one_often_enough() -> None:
    rng = np.random.default_rng(0)
    held, trials = 0, 400
    for _ in range(trials):
        under = rng.gamma(4, 3, 16)
        over = 1.5 * under * rng.gamma(8, 1 / 8, 16)
        interval = ratio_interval(over, under)
        held += interval.low <= 1.5 <= interval.high
    assert held / trials >= 0.93


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pairs_have_no_interval(count: int) -> None:
    interval = ratio_interval(np.full(count, 3.0), np.full(count, 2.0))
    assert math.isnan(interval.low)
    assert math.isnan(interval.value) is (count == 0)


def test_images_of_a_scale_come_first() -> None:
    assert items(2)[:3] == ("0.23-0", "0.23-1", "0.34-0")
    assert len(set(items(3))) == 3 * len(SCALES)
