"""Steps, weights, draws and losses of the denoiser against direct computations."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmh_core.pocket.clip import captioned
from mmh_core.pocket.denoiser import (
    DenoiserConfig,
    LatentSet,
    _loss,
    draw_steps,
    step_shares,
    train_denoiser,
)
from mmh_core.pocket.fit import Fitting
from mmh_core.pocket.folder import Place

CPU = torch.device("cpu")
CONFIG = DenoiserConfig(Fitting(3, 8, 1e-3), channels=(8, 16), heads=2, groups=8)


def table() -> list[float]:
    """Return the cumulative products of Stable Diffusion's schedule, from its definition."""
    found, product = [], 1.0
    for i in range(1000):
        root = math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 999
        product *= 1 - root**2
        found.append(product)
    return found


def latent_set(latents: Tensor, copies: list[int] | None = None) -> LatentSet:
    """Return latents with one caption each, whose embedding is its number plus one."""
    count = len(latents)
    names = [str(i) for i in range(count)]
    texts = captioned([(n,) for n in names], names, lambda c: torch.zeros(len(c), 1))
    contexts = (torch.arange(count) + 1.0)[:, None, None].expand(-1, 2, 8)
    many = torch.tensor(copies if copies is not None else [1] * count)
    return LatentSet(latents, many, texts, contexts, torch.zeros(1, 2, 8))


def noise(count: int, seed: int = 0) -> Tensor:
    """Return latents of unit spread."""
    return torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


class Knowing(nn.Module):
    """Predict exactly the noise that stands in a noisy latent of a known image, or its part."""

    def __init__(self, x0: Tensor, share: float = 1.0) -> None:
        """Keep the image (4, h, w), and record what is asked."""
        super().__init__()
        self.where = nn.Parameter(torch.zeros(1))
        self.x0, self.share = x0, share
        self.alpha2 = torch.tensor(table(), dtype=torch.float64)
        self.steps: list[int] = []
        self.contexts: list[float] = []

    def forward(self, x_t: Tensor, t: Any, context: Tensor) -> Any:
        """Return (x_t - alpha x0) / sigma, times the share."""
        steps = torch.as_tensor(t).expand(len(x_t))
        self.steps += steps.tolist()
        self.contexts += context[:, 0, 0].tolist()
        square = self.alpha2[steps][:, None, None, None]
        eps = (x_t - square.sqrt() * self.x0) / (1 - square).sqrt()
        return SimpleNamespace(sample=(self.share * eps).float())


def test_shares_equal_a_direct_computation_and_sum_to_one() -> None:
    config = DenoiserConfig(noise=0.5, noise_spread=0.8)
    log_delta = [0.5 * math.log((1 - a) / a) for a in table()]
    bell = []
    for i, value in enumerate(log_delta):
        low, high = max(i - 1, 0), min(i + 1, 999)
        width = (log_delta[high] - log_delta[low]) / (high - low)
        bell.append(math.exp(-(((value - math.log(0.5)) / 0.8) ** 2) / 2) * width)
    wanted = [0.5 * b / sum(bell) + 0.0005 for b in bell]
    shares = step_shares(config)
    # The schedule's own table is float32: relative errors of 1 - a up to 1e-4 at a near 1.
    torch.testing.assert_close(shares, torch.tensor(wanted).double(), rtol=2e-3, atol=0)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-12)


def test_one_step_is_drawn_in_each_part_of_equal_probability() -> None:
    shares = step_shares(CONFIG)
    edges = shares.cumsum(0)
    drawn = draw_steps(shares, 400, torch.Generator().manual_seed(0))
    for i, step in enumerate(drawn.tolist()):
        assert edges[step] >= i / 400
        assert (edges[step - 1] if step else 0.0) <= (i + 1) / 400
    # Frequencies of ranges differ from their probability by two parts at most.
    for low, high in ((0, 100), (100, 500), (500, 1000)):
        inside = ((drawn >= low) & (drawn < high)).double().mean()
        assert float(inside) == pytest.approx(float(shares[low:high].sum()), abs=2 / 400)


def test_each_step_is_drawn_as_often_as_its_share() -> None:
    shares = torch.tensor([0.5, 0.125, 0.375], dtype=torch.float64)
    drawn = draw_steps(shares, 8000, torch.Generator().manual_seed(0))
    assert drawn.bincount().tolist() == [4000, 1000, 3000]


def test_the_trained_loss_is_zero_for_the_noise_and_one_for_nothing() -> None:
    x0 = noise(1)
    data = latent_set(x0.expand(5, -1, -1, -1))
    config = replace(CONFIG, fitting=Fitting(3, 512, 1e-3))
    for share, wanted in ((1.0, 0.0), (0.0, 1.0)):
        loss = _loss(Knowing(x0[0], share), data, config, CPU, "float32")
        # 512 * 64 squares: a spread of .0078, four of them; see above for the table's rounding.
        found = float(loss(torch.Generator().manual_seed(0)))
        assert found == pytest.approx(wanted, abs=0.032 if share < 1 else 1e-4)


def test_the_velocitys_error_is_minimized_where_it_is_chosen() -> None:
    x0 = noise(1)
    config = replace(CONFIG, fitting=Fitting(3, 4096, 1e-3), weighting="velocity")
    loss = _loss(Knowing(x0[0], 0.5), latent_set(x0.expand(5, -1, -1, -1)), config, CPU, "float32")
    # v = alpha eps - sigma x0 and x0 = (x_t - sigma eps) / alpha: an error e of the noise is one
    # of (alpha + sigma^2 / alpha) e = e / alpha of the velocity.
    errors = [(math.sqrt(a) + (1 - a) / math.sqrt(a)) ** 2 / 4 for a in table()]
    wanted = float((step_shares(CONFIG) * torch.tensor(errors)).sum())
    assert float(loss(torch.Generator().manual_seed(0))) == pytest.approx(wanted, rel=0.02)


def test_images_are_drawn_by_their_copies_and_a_tenth_of_captions_left_out() -> None:
    x0 = noise(1)
    copies = [1, 30, 9, 60]
    data = latent_set(x0.expand(4, -1, -1, -1), copies)
    net = Knowing(x0[0])
    loss = _loss(net, data, replace(CONFIG, fitting=Fitting(3, 8000, 1e-3)), CPU, "float32")
    loss(torch.Generator().manual_seed(0))
    counts = torch.tensor(net.contexts).long().bincount(minlength=5).double()
    wanted = torch.tensor([0.1, *(0.9 * c / 100 for c in copies)]).double() * 8000
    # Chi-square of four degrees of freedom: 18.5 is its .999 quantile.
    assert float(((counts - wanted) ** 2 / wanted).sum()) < 18.5
    shares = step_shares(CONFIG).cumsum(0)
    middle = float((torch.tensor(net.steps) < 200).double().mean())
    assert middle == pytest.approx(float(shares[199]), abs=2 / 8000)


def test_latents_of_another_spread_are_refused() -> None:
    with pytest.raises(ValueError, match="spread near 1, got 2"):
        latent_set(2 * noise(9))


def test_training_is_its_seeds() -> None:
    data = latent_set(noise(9))

    def weights(seed: int) -> list[Tensor]:
        steps = list(train_denoiser(data, CONFIG, Place(CPU, seed), "float32"))
        return [value.clone() for value in steps[-1].model.parameters()]

    one, two, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
