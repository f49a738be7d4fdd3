"""The Bayes-optimal denoiser, against closed forms and against grids over real families."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import truncnorm

from mmh_core.pocket.second.bayes import Array, Renderer, posterior, slopes_of, wider_than
from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption, family_of
from mmh_core.pocket.second.finish import parameters, render

WIDTHS = np.array([2.0, 1.0, 0.5, 0.3, 0.1, 0.02])


def orthogonal(widths: Array, side: int, seed: int) -> Array:
    """Return a matrix (P, side) with orthogonal rows of these lengths."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(side, len(widths))))[0].T
    rows: Array = turned * widths[:, None]
    return rows


@pytest.mark.parametrize("delta", [0.1, 0.3, 1.0])
def test_a_linear_map_of_normal_numbers_has_the_closed_form(delta: float) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(6, 30)) * WIDTHS[:, None]

    def renderer(theta: Array) -> Array:
        found: Array = ndtri(theta) @ matrix
        return found

    inverse = np.linalg.inv(matrix @ matrix.T / delta**2 + np.eye(6))
    trace = np.trace(matrix.T @ inverse @ matrix) / delta**2
    for seed in range(3):
        rng = np.random.default_rng(seed)
        u = rng.normal(size=6)
        observed = u @ matrix + delta * rng.normal(size=30)
        found = posterior(renderer, observed, delta, ndtr(u), rng)
        assert found.enough
        # The relative error of a variance from n effective draws, summed over directions.
        assert found.trace == pytest.approx(trace, rel=5 / np.sqrt(found.effective))
        denoised = inverse @ (matrix @ observed) / delta**2 @ matrix
        error = np.sqrt(((found.denoised - denoised) ** 2).sum())
        assert error < 5 * delta * np.sqrt(trace / found.effective)


@pytest.mark.parametrize("delta", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_uniform_numbers_are_cut_off_at_the_ends_of_their_range(delta: float, seed: int) -> None:
    widths = np.array([3.0, 1.0, 0.5, 0.2, 0.05])
    matrix = orthogonal(widths, 20, seed)
    rng = np.random.default_rng(seed)
    theta = rng.random(5)
    observed = theta @ matrix + delta * rng.normal(size=20)
    at, spread = matrix @ observed / widths**2, delta / widths
    cut = [
        truncnorm((0 - m) / s, (1 - m) / s, loc=m, scale=s).var()
        for m, s in zip(at, spread, strict=True)
    ]
    expected = float((widths**2 * np.array(cut)).sum() / delta**2)
    found = posterior(lambda points: points @ matrix, observed, delta, theta, rng)
    assert found.trace == pytest.approx(expected, rel=5 / np.sqrt(found.effective))


def pooled(painter: str, free: tuple[str, ...], seed: int) -> tuple[Renderer, Array]:
    """Return a renderer of a family averaged over 16 x 16 pixels, and true parameters."""
    grammar = GRAMMARS[painter]
    said = tuple((each.name, 0) for each in grammar.details if each.parameters != free)
    caption = GrammarCaption(painter, 0, grammar.subject.choices[0].phrase, False, said)
    family = family_of(caption, 0)
    assert family.free == free
    scene = family.scene(np.random.default_rng(seed))
    places = [parameters(painter).index(name) for name in free]

    def renderer(theta: Array) -> Array:
        values = np.repeat(np.array(scene.values)[None], len(theta), axis=0)
        values[:, places] = theta
        images = render(painter, dict(scene.style), values).reshape(-1, 4, 16, 4, 16, 3)
        found: Array = images.mean((2, 4)).reshape(len(theta), -1)
        return found

    return renderer, np.array(scene.values)[places]


@pytest.mark.parametrize(
    ("painter", "free", "delta"),
    [
        ("emblem", ("line_y", "line_width"), 0.02),
        ("product", ("table", "table_light"), 0.04),
    ],
)
def test_a_family_of_two_numbers_agrees_with_a_grid(
    painter: str, free: tuple[str, ...], delta: float
) -> None:
    renderer, theta = pooled(painter, free, seed=2)
    rng = np.random.default_rng(1)
    observed = renderer(theta[None])[0]
    observed = observed + delta * rng.normal(size=observed.shape)
    found = posterior(renderer, observed, delta, theta, rng, draws=600)
    side = (np.arange(32) + 0.5) / 32
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    images = renderer(grid)
    log = -((images - observed) ** 2).sum(1) / (2 * delta**2)
    weights = np.exp(log - log.max())
    weights = weights / weights.sum()
    # Otherwise the grid is too coarse to be the truth.
    assert 1 / (weights**2).sum() > 12
    mean = weights @ images
    trace = float(weights @ ((images - mean) ** 2).sum(1)) / delta**2
    assert 0.3 < trace < 2.2
    assert found.trace == pytest.approx(trace, rel=0.25)
    np.testing.assert_allclose(found.denoised, mean, atol=0.3 * delta)


def test_directions_wider_than_the_noise_are_counted() -> None:
    matrix = orthogonal(WIDTHS, 20, 0)
    slopes = slopes_of(lambda points: points @ matrix, np.array([0, 0.2, 0.5, 0.7, 1, 0.9]))
    np.testing.assert_allclose(slopes, matrix, atol=1e-9)
    for delta, count in ((0.001, 6), (0.02, 5), (0.1, 3), (0.2, 2), (1.0, 0)):
        # Uniform numbers have a standard deviation of 1 / sqrt(12) of their range.
        assert wider_than(slopes, delta) == count
    assert wider_than(np.zeros((0, 20)), 0.1) == 0


def test_an_image_without_free_parameters_is_known() -> None:
    image = np.arange(4.0)
    found = posterior(
        lambda points: np.repeat(image[None], len(points), axis=0),
        image + 1,
        0.5,
        np.zeros(0),
        np.random.default_rng(0),
    )
    np.testing.assert_array_equal(found.denoised, image)
    assert (found.trace, found.enough) == (0.0, True)


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="delta must be above 0"):
        posterior(lambda p: p, np.zeros(1), 0.0, np.array([0.5]), np.random.default_rng(0))
