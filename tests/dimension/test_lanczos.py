"""Lanczos quadrature reproduces `v' f(M) v`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from mmh_core.dimension.lanczos import Effort, spectral_measure
from mmh_core.records import MMHError
from tests.dimension.closed_forms import rotation, seeded

DIM = 12


def quadrature(
    pullbacks: Callable[[Tensor], Tensor],
    probes: Tensor,
    steps: int,
    f: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return `v' f(M) v` for each probe, (B, K)."""
    return spectral_measure(pullbacks, probes, steps).integral(f).to(probes.dtype)


def symmetric(seed: int = 0) -> Tensor:
    """Return a random symmetric matrix with eigenvalues about within [-3, 3]."""
    square = torch.randn(DIM, DIM, generator=seeded(seed), dtype=torch.float64)
    return (square + square.T) / 2


def products(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """Return `v -> v'M` for v of shape (B, K, D)."""
    return lambda v: v @ matrix


def apply(matrix: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """Return f(M) by its eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    result: Tensor = vectors @ torch.diag(f(values)) @ vectors.T
    return result


def test_all_unit_vectors_and_all_steps_give_the_trace() -> None:
    """Sum to `tr f(M)` for a smooth f, to the precision of the numbers."""
    matrix = symmetric()
    units = torch.eye(DIM, dtype=torch.float64)[None]
    found = quadrature(products(matrix), units, DIM, torch.exp)
    # Full re-orthogonalization: nothing but double rounding is left.
    torch.testing.assert_close(found[0], apply(matrix, torch.exp).diagonal(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_few_steps_are_exact_for_polynomials(steps: int) -> None:
    """Be exact up to degree 2 m - 1, and not beyond: Gauss quadrature."""
    matrix = symmetric()
    v = torch.randn(2, 3, DIM, generator=seeded(1), dtype=torch.float64)
    for degree, exact in ((2 * steps - 1, True), (2 * steps, False)):
        power = torch.linalg.matrix_power(matrix, degree)
        expected = torch.einsum("bki,ij,bkj->bk", v, power, v)
        found = quadrature(products(matrix), v, steps, partial(torch.pow, exponent=degree))
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9) is exact


def test_an_asymmetric_matrix_counts_as_its_symmetric_part() -> None:
    """Equal `f((M + M') / 2)` when the basis is complete."""
    matrix = symmetric() + 0.5 * torch.triu(symmetric(2))
    v = torch.randn(1, 4, DIM, generator=seeded(1), dtype=torch.float64)
    target = apply((matrix + matrix.T) / 2, torch.sigmoid)
    found = quadrature(products(matrix), v, DIM, torch.sigmoid)
    expected = torch.einsum("bki,ij,bkj->bk", v, target, v)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_complete_basis_ends_the_chain(dtype: torch.dtype) -> None:
    """Survive more steps than there are distinct eigenvalues, as in any exact projector."""
    frame = rotation(DIM)[:, :4]
    matrix = (frame @ frame.T).to(dtype)
    v = torch.randn(2, 3, DIM, generator=seeded(1), dtype=torch.float64).to(dtype)
    found = quadrature(products(matrix), v, DIM, lambda e: e.clamp(0, 1) ** 0.5 + 2)
    # f is 2 at 0 and 3 at 1. The root magnifies rounding near 0: 1e-7 becomes 3e-4.
    expected = 2 * v.square().sum(2) + (v @ frame.to(dtype)).square().sum(2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    same = quadrature(products(torch.eye(DIM, dtype=dtype) * 0.3), v, DIM, torch.exp)
    torch.testing.assert_close(same, math.exp(0.3) * v.square().sum(2), rtol=1e-5, atol=0)
    empty = quadrature(products(torch.zeros_like(matrix)), v, 5, lambda e: e + 2)
    torch.testing.assert_close(empty, 2 * v.square().sum(2))


def test_long_chains_stay_orthogonal_in_single_precision() -> None:
    """Hold the trace of a step with 60 steps over clustered eigenvalues."""
    frame = rotation(80)
    values = torch.cat([torch.linspace(0, 0.05, 60), torch.linspace(0.9, 1, 20)]).double()
    matrix = (frame @ torch.diag(values) @ frame.T).float()
    v = torch.randn(1, 6, 80, generator=seeded(1))
    found = quadrature(products(matrix), v, 60, lambda e: torch.sigmoid((e - 0.5) / 0.07))
    target = apply(matrix.double(), lambda e: torch.sigmoid((e - 0.5) / 0.07))
    expected = torch.einsum("bki,ij,bkj->bk", v.double(), target, v.double()).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("free", [6, 12, 30, 50])
def test_few_steps_count_a_smooth_spectrum_nearly_without_bias(free: int) -> None:
    """Stay within 7 % of a step's trace with four products, where Gauss is 9 % off or more.

    A tenth of the free directions beyond 1, the others from .3 to 1, the rest spread around 0: the
    spectrum of a trained network.
    """
    dim = 256
    frame = rotation(dim)
    values = torch.cat(
        [
            torch.linspace(-0.25, 0.1, dim - 2 * free, dtype=torch.float64),
            torch.linspace(0.1, 0.45, free, dtype=torch.float64),
            torch.linspace(0.55, 1.2, free, dtype=torch.float64),
        ]
    )
    matrix = frame @ torch.diag(values) @ frame.T
    v = torch.randn(1, 400, dim, generator=seeded(1), dtype=torch.float64).sign()

    def step(e: Tensor) -> Tensor:
        return torch.sigmoid((e - 0.5) / 0.07)

    expected = torch.einsum("bki,ij,bkj->bk", v, apply(matrix, step), v)
    found = quadrature(products(matrix), v, 4, step)
    assert abs(float((found - expected).mean())) < 0.07 * float(expected.mean())


def test_bad_input_is_refused() -> None:
    """Refuse counts below one and products that are not finite."""
    with pytest.raises(ValueError, match="probes must be at least 1, got 0"):
        Effort(0, 3)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Effort(3, 0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        quadrature(lambda v: v, torch.ones(1, 1, 3), 0, torch.exp)
    with pytest.raises(MMHError, match="not finite"):
        quadrature(lambda v: v / 0, torch.ones(1, 1, 3), 2, torch.exp)
