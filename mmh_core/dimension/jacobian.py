"""The tangent projector: one forward pass and any number of backward passes.

At `y = alpha x` let `T(y) = alpha x0_hat(y) = y - sigma eps_hat(y)`. Its Jacobian `P = dT/dy` has
eigenvalues near 1 along the manifold that the model learned at this scale and near 0 across it
(`P = I - A` with `A = sigma d eps_hat / dy`; for an affine Gaussian they are
`l / (l + delta^2)`). Trace, count and every function of the spectrum read it through products
`v'P`: reverse mode works with every attention kernel and normalization, one forward pass serves
all products, and each costs 1.0-1.5 forward passes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel, expand
from mmh_core.dimension.scaled_points import ScaledPoints, check_network

# Numbers in flight per pass: below this a pass is bound by overhead, so copies of a point share
# it (3-5 times faster for a single point); above it one row at a time keeps the graph small.
_IN_FLIGHT = 2**14
_MATRIX_NUMBERS = 2**26


@contextlib.contextmanager
def _differentiable(device: torch.device) -> Iterator[None]:
    """Switch gradients on and autocast off: traces are sums of D numbers, taken in float32."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        yield


@dataclass(frozen=True, eq=False)
class Linearization:
    """`T(y)` and `eps_hat(y)` with the graph for products `v'P`, where `P = dT/dy`.

    `value` and `eps` are (B, *shape) without a graph. The graph lives as long as this record; it
    holds `copies` evaluations of each point. Only the gradient of the input is ever computed: the
    parameters of the network are neither differentiated nor touched. Rows of a batch are taken to
    be independent, so a BatchNorm in training mode gives wrong products, and a network that
    detaches its input gives the derivative of what is left (`P = I` for an eps-network).
    """

    value: Tensor
    eps: Tensor
    copies: int
    _sigma: Tensor
    _input: Tensor
    _output: Tensor

    def pullback(self, v: Tensor) -> Tensor:
        """Return `v'P` for one vector per point, (B, *shape)."""
        return self.pullbacks(v[:, None])[:, 0]

    def pullbacks(self, v: Tensor) -> Tensor:
        """Return `v'P` for K vectors per point, (B, K, *shape), by K backward passes each."""
        parts = [self._pull(part) for part in torch.split(v, self.copies, dim=1)]
        return torch.cat(parts, dim=1)

    def nfe(self, products: int, times: int = 1) -> float:
        """Return the NFE per point of `times` calls of `pullbacks`.

        The forward pass is included, each backward pass counts as one (measured: 1.0-1.5), and so
        does the padding of the last copies. A guided model counts as one network, and is two.
        """
        return float(self.copies * (1 + times * math.ceil(products / self.copies)))

    def _pull(self, v: Tensor) -> Tensor:
        points, rows = v.shape[:2]
        padded = v.new_zeros(points, self.copies, *v.shape[2:])
        padded[:, :rows] = v
        weights = padded.flatten(0, 1)
        # v'P = v' - sigma v' d eps: for v'v = D the trace then has no large terms to cancel.
        with _differentiable(v.device):
            (gradient,) = torch.autograd.grad(
                self._output, self._input, self._sigma * weights, retain_graph=True
            )
        return (weights - gradient).reshape(padded.shape)[:, :rows]


def linearize(
    model: ScoreModel, x: Tensor, t: Tensor, cond: Tensor | None = None, copies: int = 1
) -> Linearization:
    """Evaluate the model once at `alpha(t) x` and keep the graph for products with its Jacobian.

    `x` (B, *shape), `t` (B,) above 0. With `copies` > 1 each point is evaluated that many times in
    one pass and as many products run at once: more memory, less overhead. Works under `no_grad`
    and inside autocast.
    """
    if copies < 1:
        raise ValueError(f"copies must be at least 1, got {copies!r}.")
    dtype = torch.promote_types(x.dtype, torch.float32)
    with _differentiable(x.device):
        # Copies also turn tensors made in inference mode into ones that a graph may hold.
        x = x.detach().to(dtype).repeat_interleave(copies, 0)
        t = t.detach().to(dtype).repeat_interleave(copies, 0)
        cond = None if cond is None else cond.detach().repeat_interleave(copies, 0)
        sigma = expand(model.schedule.sigma(t), x)
        if not bool((sigma > 0).all()):
            raise ValueError(f"t must be above 0, where the score is defined, got {t.min()!r}.")
        y = (expand(model.schedule.alpha(t), x) * x).requires_grad_()
        eps = model.eps(y, t, cond)
    flat = eps.detach()
    check_network(flat, model.name)
    value = y.detach() - sigma * flat
    return Linearization(value[::copies], flat[::copies], copies, sigma, y, eps)


def linearize_for(model: ScoreModel, points: ScaledPoints, rows: int) -> Linearization:
    """Linearize at checked points with as many copies as make `rows` products fast."""
    most = min(rows, rows_at_once(points.x0.numel()))
    # As many passes as with the most copies, but with few rows of padding in the last one.
    copies = math.ceil(rows / math.ceil(rows / most))
    return linearize(model, points.x0, points.t, points.cond, copies)


def rows_at_once(numbers: int) -> int:
    """Return how many rows of so many numbers make one pass fast."""
    return max(1, _IN_FLIGHT // numbers)


def jacobian(model: ScoreModel, points: ScaledPoints) -> tuple[Tensor, Linearization]:
    """Return P in full, (B, D, D), and the linearization that it comes from.

    Cost per point: `copies` forward and D reverse passes. The caller limits D (`check_exact`) and
    B (`split` by `matrices_at_once`).
    """
    dim = model.ambient_dim
    at = linearize_for(model, points, dim)
    rows = torch.eye(dim, dtype=points.x0.dtype, device=points.x0.device)
    rows = rows.reshape(1, dim, *model.shape).expand(len(points.x0), dim, *model.shape)
    matrix = at.pullbacks(rows).flatten(2)
    check_network(matrix, model.name)
    return matrix, at


def matrices_at_once(dim: int) -> int:
    """Return how many D x D matrices are held at a time: at most 256 MiB of them."""
    return max(1, _MATRIX_NUMBERS // dim**2)
