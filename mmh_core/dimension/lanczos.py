"""Stochastic Lanczos quadrature: `v' f(M) v` from a few products with M.

Ubaru, Chen & Saad 2017. The Krylov basis Q of v is kept orthonormal by full re-orthogonalization,
M is compressed to `Q' M Q`, and `v' f(M) v = |v|^2 sum_i u_i^2 f(theta_i)` over the eigenvalues
theta_i of the compression, with u_i the first entries of its eigenvectors (Gauss quadrature).

From m products the mean of two rules is taken, that of m - 1 nodes and Laurie's anti-Gauss rule
of m nodes, whose compression has its last off-diagonal entry times sqrt(2) (Laurie 1996,
"Anti-Gaussian quadrature formulas"). Their errors are nearly opposite: the soft spectral count of
26 estimates of the shipped model, LID 12 to 59, is 1 % low on average with four products and at
most 6 % off, where Gauss quadrature is 10 % too high with four and 6 % too low with five.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.dimension.probes import check_count
from mmh_core.dimension.scaled_points import check_network

# Below this share of a product's length the remainder is rounding: the basis is complete.
_COMPLETE = 1e-5


@dataclass(frozen=True)
class Effort:
    """The cost of a quadrature: `probes` random vectors with `steps` products each."""

    probes: int
    steps: int

    def __post_init__(self) -> None:
        """Refuse counts below 1."""
        check_count("probes", self.probes)
        check_count("steps", self.steps)


@dataclass(frozen=True, eq=False)
class Measure:
    """The spectral measures of K vectors at B points: weights on nodes, both (B, K, N).

    `basis` (B, K, m, D) is that of the Krylov space, `small` (B, K, m, m) the compression of M to
    it, symmetrized, and `norm` (B, K) the vectors' length.
    """

    nodes: Tensor
    weights: Tensor
    basis: Tensor
    small: Tensor
    norm: Tensor

    def integral(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `v' f(M) v` (B, K), with f acting on eigenvalues elementwise."""
        total: Tensor = (f(self.nodes).to(self.weights) * self.weights).sum(-1)
        return total

    def applied(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `f(M) v` (B, K, D), `|v| Q f(Q' M Q) e_1`, exact where the basis is complete."""
        values, vectors = torch.linalg.eigh(self.small)
        heights = f(values) * vectors[..., 0, :] * self.norm[..., None]
        parts = (vectors @ heights[..., None]).squeeze(-1).to(self.basis)
        return torch.einsum("bkm,bkmd->bkd", parts, self.basis)


def spectral_measure(pullbacks: Callable[[Tensor], Tensor], probes: Tensor, steps: int) -> Measure:
    """Return the measure of each probe, whose integral of f is `v' f(M) v`, from `steps` products.

    `pullbacks` maps (B, K, D) to the products with M from one side, `probes` is (B, K, D). M is
    taken as symmetric: its compression is symmetrized, so for an asymmetric M and `steps` = D the
    result is that of `(M + M') / 2`. Exact for polynomials of degree `2 steps - 1`, and for every
    f where the basis is complete; a step that is sharp beside the spectrum is smeared.
    """
    check_count("steps", steps)
    points, count, dim = probes.shape
    steps = min(steps, dim)
    norm: Tensor = probes.norm(dim=-1, keepdim=True)
    basis = probes.new_zeros(points, count, steps, dim)
    small = probes.new_zeros(points, count, steps, steps)
    vector = probes / norm
    complete = torch.zeros(points, count, dtype=torch.bool, device=probes.device)
    for j in range(steps):
        basis[:, :, j] = vector
        product = pullbacks(vector)
        weights, rest = _orthogonalized(product, basis)
        remainder = rest.norm(dim=-1, keepdim=True)
        # A zero vector ends the chain: its rows of the compression decouple from the first.
        more = remainder > _COMPLETE * product.norm(dim=-1, keepdim=True)
        complete |= ~more.squeeze(-1)
        vector = torch.where(more, rest / remainder.where(more, torch.ones_like(remainder)), 0.0)
        small[:, :, :, j] = weights
        if j + 1 < steps:
            small[:, :, j + 1, j] = (remainder * more).squeeze(-1)
    check_network(small)
    symmetric = (small + small.mT).double() / 2
    length = norm.squeeze(-1).double()
    nodes, weights = _averaged(symmetric, complete, length.square())
    return Measure(nodes, weights, basis, symmetric, length)


def _averaged(small: Tensor, complete: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the mean of the two rules of a compression (B, K, m, m).

    Where the basis is complete Gauss quadrature is exact, and is taken alone.
    """
    steps = small.shape[-1]
    if steps == 1:
        return _rule(small, square)
    scale = torch.ones_like(small)
    scale[..., -1, :-1] = scale[..., :-1, -1] = math.sqrt(2)
    full = complete[..., None, None]
    last = _rule(torch.where(full, small, small * scale), square)
    first = _rule(small[..., :-1, :-1], square)
    share = torch.where(complete, 1.0, 0.5).to(square)[..., None]
    return (
        torch.cat([first[0], last[0]], dim=-1),
        torch.cat([(1 - share) * first[1], share * last[1]], dim=-1),
    )


def _rule(small: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the first unit vector's measure under symmetric matrices."""
    values, vectors = torch.linalg.eigh(small)
    return values, vectors[..., 0, :].square() * square[..., None]


def _orthogonalized(product: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coefficients of a product in the basis and its remainder; twice is enough."""
    total = torch.zeros_like(basis[..., 0])
    for _ in range(2):
        weights = torch.einsum("bkmd,bkd->bkm", basis, product)
        product = product - torch.einsum("bkmd,bkm->bkd", basis, weights)
        total = total + weights
    return total, product
