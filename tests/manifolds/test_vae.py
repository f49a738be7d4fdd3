"""A small VAE on data whose best model is known: probabilistic principal components."""

from __future__ import annotations

import math
from collections.abc import Generator

import pytest
import torch
from torch import Tensor

from mmh_core.dimension.jacobian_rank import jacobian_rank
from mmh_core.manifolds.vae import SmallVAE, VAEStep, train_vae

WIDTHS = torch.tensor([1.0, 0.6])
NOISE = 0.1


def seeded(seed: int) -> torch.Generator:
    """Return a generator with a constant seed."""
    return torch.Generator().manual_seed(seed)


def linear_gaussian(count: int, seed: int) -> Tensor:
    """Draw from a plane in R^6 with standard deviations 1 and .6, noise .1 in all directions."""
    generator = seeded(seed)
    frame = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q[:, :2]
    latent = torch.randn(count, 2, generator=generator) * WIDTHS
    noise = torch.randn(count, 6, generator=generator)
    points: Tensor = 5 + latent @ frame.T + NOISE * noise
    return points


def small(points: Tensor, latent_dim: int = 2, width: int = 32) -> SmallVAE:
    """Return a VAE with constant initial weights, leaving the global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallVAE(points, latent_dim=latent_dim, width=width)


def trained(vae: SmallVAE, points: Tensor, steps: int, seed: int = 0) -> list[VAEStep]:
    """Train and return all steps."""
    return list(train_vae(vae, points, steps=steps, rate=4e-3, generator=seeded(seed)))


@pytest.fixture(scope="module")
def points() -> Tensor:
    """Return the training points, one draw for all tests."""
    return linear_gaussian(4_000, 1)


@pytest.fixture(scope="module")
def history(points: Tensor) -> tuple[SmallVAE, list[VAEStep]]:
    """Return one trained VAE and its steps."""
    vae = small(points)
    return vae, trained(vae, points, 1_000)


def test_the_noise_is_that_of_probabilistic_principal_components(
    history: tuple[SmallVAE, list[VAEStep]], points: Tensor
) -> None:
    """Its square is the mean of the four smallest eigenvalues (Tipping & Bishop 1999, Eq. 8).

    Within 8 %: it comes from below and is 6 % short after 1,000 steps (1 % after 1,500).
    """
    spectrum = torch.linalg.eigvalsh(torch.cov(points.T))
    expected = math.sqrt(float(spectrum[:4].mean()))
    assert history[0].noise == pytest.approx(expected, rel=0.08)


def test_the_loss_comes_down_to_the_entropy_of_the_gaussian(
    history: tuple[SmallVAE, list[VAEStep]], points: Tensor
) -> None:
    """For a linear decoder the bound is tight: D / 2 + log det C / 2 in units of the scale.

    A little above it, because the posterior is only nearly what it should be; the mean over the
    last 100 batches of 256 has a standard error of .02.
    """
    vae, steps = history
    spectrum = torch.linalg.eigvalsh(torch.cov(points.T)) / vae.scale**2
    entropy = 3 + float(spectrum.log().sum()) / 2
    last = sum(step.loss for step in steps[-100:]) / 100
    assert entropy - 0.05 < last < entropy + 0.2


def test_the_rank_is_the_dimension_of_the_plane(
    history: tuple[SmallVAE, list[VAEStep]], points: Tensor
) -> None:
    """Everywhere, and the singular values are the widths of the data.

    The best decoder of a Gaussian has W^2 = eigenvalue - noise^2, which is width^2; the tolerance
    is for the sample's own widths, off by 1 %, and for what the network bends.
    """
    vae = history[0]
    rank = jacobian_rank(vae.decode, vae.encode(points[:200])[0].detach(), vae.noise)
    assert rank.count.tolist() == [2.0] * 200
    torch.testing.assert_close(rank.singular_values.median(0).values, WIDTHS, atol=0.06, rtol=0)


def test_latents_that_the_data_does_not_use_are_not_counted(points: Tensor) -> None:
    """Five latents for two directions: three are narrower than the noise."""
    vae = small(points, latent_dim=5)
    trained(vae, points, 300)
    rank = jacobian_rank(vae.decode, vae.encode(points[:200])[0].detach(), vae.noise)
    assert float(rank.count.mean()) == pytest.approx(2.0, abs=0.05)


def test_center_and_scale_are_those_of_the_points(points: Tensor) -> None:
    vae = small(points)
    torch.testing.assert_close(vae.center, points.mean(0))
    spread = math.sqrt(float(torch.cov(points.T, correction=0).trace()) / 6)
    assert vae.scale == pytest.approx(spread, rel=1e-5)
    # The initial noise is e^-2 of the scale.
    assert vae.noise == pytest.approx(math.exp(-2) * spread, rel=1e-5)
    # Encoding does not see where the data lie or how wide they are.
    moved = small(100 + 3 * points)
    torch.testing.assert_close(
        moved.encode(100 + 3 * points[:5])[0], vae.encode(points[:5])[0], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        moved.decode(torch.ones(1, 2)), 100 + 3 * vae.decode(torch.ones(1, 2)), atol=1e-3, rtol=0
    )


def test_points_of_one_place_are_no_division_by_zero() -> None:
    vae = small(torch.ones(10, 3))
    steps = trained(vae, torch.ones(10, 3), 20)
    assert all(math.isfinite(step.loss) for step in steps)
    assert vae.scale == pytest.approx(1e-3)


def test_the_same_seed_trains_the_same_and_the_global_generator_is_untouched(
    points: Tensor,
) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, second, other = small(points), small(points), small(points)
    steps = trained(first, points, 5)
    assert steps == trained(second, points, 5)
    assert steps != trained(other, points, 5, seed=1)
    assert torch.equal(first.decode(torch.ones(3, 2)), second.decode(torch.ones(3, 2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_steps_are_counted_and_training_can_be_left(points: Tensor) -> None:
    vae = small(points)
    run = train_vae(vae, points, steps=7, generator=seeded(0))
    assert [(step.step, step.steps) for step in run] == [(i, 7) for i in range(1, 8)]
    left = train_vae(vae, points, steps=1_000_000, generator=seeded(0))
    assert isinstance(left, Generator)
    assert next(left).step == 1
    before = vae.noise
    left.close()
    assert next(left, None) is None
    assert vae.noise == before


@pytest.mark.parametrize(("steps", "batch"), [(0, 1), (-1, 1), (1, 0)])
def test_no_steps_and_no_batch_are_refused(points: Tensor, steps: int, batch: int) -> None:
    run = train_vae(small(points), points, steps=steps, batch=batch, generator=seeded(0))
    with pytest.raises(ValueError, match=f"at least 1, got {steps} and {batch}"):
        next(run)
