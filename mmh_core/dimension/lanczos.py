"""Stochastic Lanczos quadrature: `v' f(M) v` from a few products with M.

Ubaru, Chen & Saad 2017. The Krylov basis Q of v is kept orthonormal by full re-orthogonalization,
M is compressed to `Q' M Q`, and `v' f(M) v = |v|^2 sum_i u_i^2 f(theta_i)` over the eigenvalues
theta_i of the compression, with u_i the first entries of its eigenvectors (Gauss quadrature).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.dimension.probes import check_count
from mmh_core.dimension.scale import check_network

# Below this share of a product's length the remainder is rounding: the basis is complete.
_COMPLETE = 1e-5


@dataclass(frozen=True)
class Effort:
    """Say how much to spend: `probes` random vectors with `steps` products each."""

    probes: int
    steps: int

    def __post_init__(self) -> None:
        """Refuse counts below 1."""
        check_count("probes", self.probes)
        check_count("steps", self.steps)


def quadrature(
    pullbacks: Callable[[Tensor], Tensor],
    probes: Tensor,
    steps: int,
    f: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return `v' f(M) v` for each probe, (B, K), from `steps` products.

    `pullbacks` maps (B, K, D) to the products with M from one side, `probes` is (B, K, D), `f`
    acts on eigenvalues elementwise. M is taken as symmetric: its compression is symmetrized, so
    for an asymmetric M and `steps` = D the result is that of `(M + M') / 2`. Exact for
    polynomials f of degree `2 steps - 1`; a step that is sharp beside the spectrum is smeared.
    """
    check_count("steps", steps)
    points, count, dim = probes.shape
    steps = min(steps, dim)
    norm: Tensor = probes.norm(dim=-1, keepdim=True)
    basis = probes.new_zeros(points, count, steps, dim)
    small = probes.new_zeros(points, count, steps, steps)
    vector = probes / norm
    for j in range(steps):
        basis[:, :, j] = vector
        product = pullbacks(vector)
        weights, rest = _orthogonalized(product, basis)
        length = rest.norm(dim=-1, keepdim=True)
        # A zero vector ends the chain: its rows of the compression decouple from the first.
        more = length > _COMPLETE * product.norm(dim=-1, keepdim=True)
        vector = torch.where(more, rest / length.where(more, torch.ones_like(length)), 0.0)
        small[:, :, :, j] = weights
        if j + 1 < steps:
            small[:, :, j + 1, j] = (length * more).squeeze(-1)
    check_network(small)
    symmetric = (small + small.mT).double() / 2
    values, vectors = torch.linalg.eigh(symmetric)
    samples: Tensor = (f(values) * vectors[..., 0, :].square()).sum(-1)
    return samples.to(probes.dtype) * norm.squeeze(-1).square()


def _orthogonalized(product: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coefficients of a product in the basis and its remainder; twice is enough."""
    total = torch.zeros_like(basis[..., 0])
    for _ in range(2):
        weights = torch.einsum("bkmd,bkd->bkm", basis, product)
        product = product - torch.einsum("bkmd,bkm->bkd", basis, weights)
        total = total + weights
    return total, product
