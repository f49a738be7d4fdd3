"""Jacobian rank: LID of a generator that maps a latent to an image (GAN, decoder, flow).

The image of `G` near G(z) is spanned by the columns of its Jacobian J, and the directions wider
than delta are the eigenvalues l of J'J above delta^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class JacobianRank:
    """The rank of a generator's Jacobian at B latents: the dimension of what it generates.

    `singular_values` (B, min(L, D)) of J, falling, in data units per unit of latent; `soft` (B,)
    is `sum l / (l + delta^2)` with l their squares, `count` (B,) how many exceed delta. `nfe`
    is the cost per point.
    """

    singular_values: Tensor
    soft: Tensor
    count: Tensor
    nfe: float


def jacobian_rank(decode: Callable[[Tensor], Tensor], z: Tensor, delta: float) -> JacobianRank:
    """Compute the rank of `decode` (B, *latent) -> (B, *shape) at latents z, beyond scale delta.

    J is read column by column, by a reverse pass through a reverse pass (`J v` is the gradient of
    `u'J v` in u), or row by row where the output is the smaller side. Cost: one forward pass and
    two for each column, or one for each row. Fused attention kernels have no second derivative:
    run such a decoder with the math kernel. With a standard normal latent a singular value is the
    standard deviation of that direction, the same unit as delta.
    """
    if not (math.isfinite(delta) and delta > 0):
        raise ValueError(f"delta must be finite and above 0, got {delta!r}.")
    if not z.is_floating_point() or not bool(torch.isfinite(z).all()):
        raise ValueError(f"z must hold finite floating-point numbers, got dtype {z.dtype}.")
    with torch.inference_mode(False), torch.enable_grad():
        latent = z.detach().to(torch.promote_types(z.dtype, torch.float32), copy=True)
        latent.requires_grad_()
        out = decode(latent)
        columns, rows = latent[0].numel(), out[0].numel()
        if columns <= rows:
            matrix, cost = _columns(out, latent), 2.0 + 2 * columns
        else:
            matrix, cost = _rows(out, latent), 1.0 + rows
    singular = torch.linalg.svdvals(matrix.float() if matrix.dtype.itemsize < 4 else matrix)
    squares = singular.square()
    soft = (squares / (squares + delta**2)).sum(1)
    count = (singular > delta).sum(1).to(soft.dtype)
    return JacobianRank(singular, soft, count, cost)


def _basis(like: Tensor) -> Tensor:
    """Return the unit vectors (N, 1, *size) of one sample of `like`."""
    size = like[0].numel()
    return torch.eye(size, dtype=like.dtype, device=like.device).reshape(size, 1, *like.shape[1:])


def _columns(out: Tensor, latent: Tensor) -> Tensor:
    """Return J' (B, L, D), one column of J at a time."""
    dual = torch.zeros_like(out, requires_grad=True)
    (pulled,) = torch.autograd.grad(out, latent, dual, create_graph=True)
    columns = []
    for unit in _basis(latent):
        (column,) = torch.autograd.grad(pulled, dual, unit.expand_as(pulled), retain_graph=True)
        columns.append(column.flatten(1))
    return torch.stack(columns, dim=1)


def _rows(out: Tensor, latent: Tensor) -> Tensor:
    """Return J (B, D, L), one row at a time."""
    rows = []
    for unit in _basis(out):
        (row,) = torch.autograd.grad(out, latent, unit.expand_as(out), retain_graph=True)
        rows.append(row.flatten(1))
    return torch.stack(rows, dim=1)
