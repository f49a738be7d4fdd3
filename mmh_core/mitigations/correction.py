"""Correct the picture that a step of a generation aims at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmh_core.text_to_image.generation import answering
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches


def corrected(
    model: TextToImage, branches: Branches, correct: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the guided output with its `x0_hat` (B, C, h, w) corrected, in the network's terms.

    At the same `x_t`: `eps = (x_t - alpha x0) / sigma` for the new `x0`. Rows that `correct`
    leaves alone keep their output to the last bit.
    """
    output = branches.guided(branches.scale)
    said = answering(model, output)
    x0_hat = said.x0(branches.x_t, branches.t)
    changed = correct(x0_hat)
    times = said.times(branches.t, x0_hat)
    alpha = said.schedule.alpha(times)[:, None, None, None]
    sigma = said.schedule.sigma(times)[:, None, None, None]
    # Only what moved is computed again: there is no rounding where nothing is corrected.
    eps = (branches.x_t - alpha * changed) / sigma
    again = said.target_of(changed, eps, times).to(output.dtype)
    moved = (changed != x0_hat).flatten(1).any(1)[:, None, None, None]
    return torch.where(moved, again, output)
