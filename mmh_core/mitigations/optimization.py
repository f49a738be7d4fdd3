"""Optimization of a network input until a loss reaches its target, each image on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.interface import Work


@dataclass(frozen=True, eq=False)
class Optimized:
    """The outcome of an optimization of B rows.

    `values` (B, ...), `before` and `after` (B,) the losses there, `steps` the number of steps that
    were taken, and `evaluations` how often the loss was evaluated, the last time without a
    backward pass.
    """

    values: Tensor
    before: Tensor
    after: Tensor
    steps: int
    evaluations: int


def descend(
    loss: Callable[[Tensor], Tensor], start: Tensor, target: float, *, rate: float, steps: int
) -> Work[Optimized]:
    """Lower `loss(values)` (B,) by AdamW until it is at most `target`, in at most `steps` steps.

    Weight decay is AdamW's usual .01. A row that has reached the target stays where it is, and no
    row depends on the others: a seed gives the same result alone. It yields before each pass, so
    that a job can be stopped there.
    """
    values = start.detach().float().clone().requires_grad_()
    optimizer = torch.optim.AdamW([values], lr=rate)
    before: Tensor | None = None
    taken = 0
    while True:
        # Never inside enable_grad, which would stay in force for the caller.
        yield
        with torch.enable_grad():
            losses = loss(values)
            total = losses.sum()
        now = losses.detach()
        before = now if before is None else before
        waiting = now > target
        if taken == steps or not bool(waiting.any()):
            break
        yield
        (values.grad,) = torch.autograd.grad(total, values)
        kept = values.detach().clone()
        optimizer.step()
        with torch.no_grad():
            values[~waiting] = kept[~waiting]
        taken += 1
    return Optimized(values.detach(), before, now, taken, taken + 1)
