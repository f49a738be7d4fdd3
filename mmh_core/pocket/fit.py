"""A training loop that can be stopped at any step and resumed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmh_core.files import replacing
from mmh_core.records import MMHError

#: Draws a batch with the generator and returns its loss.
Loss = Callable[[torch.Generator], Tensor]
#: Seconds between two checkpoints.
SAVE_EVERY = 180.0
#: The loss that is shown is an average that forgets at this rate.
FORGET = 0.02


@dataclass(frozen=True)
class Fitting:
    """Length and rate of training; `batch` is the number of images of one step."""

    steps: int
    batch: int
    rate: float
    warm_up: int = 100
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.steps < 1 or self.batch < 2 or not 0 < self.rate < 1 or self.warm_up < 1:
            raise ValueError(f"Steps, batch, rate or warm-up is out of range in {self!r}.")


@dataclass(frozen=True)
class Fitted:
    """A training step: `loss` averaged over the last steps, `model` with averaged weights.

    `model` goes on changing when the generator is resumed. `taken` is the number of steps that
    this run has taken itself, in `seconds`.
    """

    step: int
    steps: int
    loss: float
    model: nn.Module
    taken: int
    seconds: float


def fit(
    model: nn.Module,
    loss: Loss,
    fitting: Fitting,
    *,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    stamp: str = "",
    save_every: float | None = None,
) -> Iterator[Fitted]:
    """Minimize the loss by AdamW, one yield a step; rate: a warm-up, then a cosine to 0.

    Gradients are clipped at norm 1. The average of the weights forgets over a tenth of the steps
    done, at most 1,000: a long horizon early in training makes results worse.

    With a `checkpoint` the state (weights, averages, optimizer, generator) is written there every
    `save_every` (else `SAVE_EVERY`) seconds, and a later call with an equal `stamp` resumes from
    it, on one machine to the same weights as without the interruption. At the end the averaged
    weights are rounded to float16, as they are shipped, and the checkpoint holds nothing else, a
    tenth of its size; a finished fit yields its last step again. A checkpoint of another stamp is
    passed over, and replaced in time.
    """
    every = SAVE_EVERY if save_every is None else save_every
    state = _State(model, fitting, generator, stamp)
    if checkpoint is not None and checkpoint.exists():
        state.read(checkpoint)
    start, first, saved = time.monotonic(), state.step, time.monotonic()
    if state.step == fitting.steps:
        yield Fitted(state.step, fitting.steps, state.loss, state.averaged, 0, 0.0)
    while state.step < fitting.steps:
        state.advance(loss)
        done = state.step == fitting.steps
        if done:
            state.round()
        if checkpoint is not None and (done or time.monotonic() - saved > every):
            state.write(checkpoint)
            saved = time.monotonic()
        yield Fitted(
            state.step,
            fitting.steps,
            state.loss,
            state.averaged,
            state.step - first,
            time.monotonic() - start,
        )


class _State:
    """The state of training in a checkpoint."""

    def __init__(
        self, model: nn.Module, fitting: Fitting, generator: torch.Generator, stamp: str
    ) -> None:
        self.model, self.fitting, self.generator, self.stamp = model, fitting, generator, stamp
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval()
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.averages: list[Tensor] = [
            a
            for a, p in zip(self.averaged.parameters(), model.parameters(), strict=True)
            if p.requires_grad
        ]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=fitting.rate,
            weight_decay=fitting.weight_decay,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.step, self.loss = 0, 0.0

    def advance(self, loss: Loss) -> None:
        step, fitting = self.step + 1, self.fitting
        cooled = (1 + math.cos(math.pi * step / fitting.steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = fitting.rate * (min(1.0, step / fitting.warm_up) * cooled + 1e-3)
        value = loss(self.generator)
        self.optimizer.zero_grad()
        torch.autograd.backward(value)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        number = value.item()
        # Before the weights are touched: a checkpoint must never hold what is not a number.
        if not math.isfinite(number) or not math.isfinite(norm.item()):
            raise MMHError(
                f"The loss or its gradient is no longer a number at step {step}: the checkpoint "
                "before it is whole; build again on the CPU, or with another seed."
            )
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, max(1e-3, 9 / (9 + step)))
        self.loss += max(FORGET, 1 / step) * (number - self.loss)
        self.step = step

    def round(self) -> None:
        """Round the averaged weights to the nearest of float16."""
        for value in self.averaged.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half())

    def write(self, path: Path) -> None:
        state: dict[str, Any] = {"stamp": self.stamp, "step": self.step, "loss": self.loss}
        averaged = self.averaged.state_dict()
        if self.step == self.fitting.steps:
            state["averaged"] = {
                name: value.half() if value.is_floating_point() else value
                for name, value in averaged.items()
            }
        else:
            state |= {
                "model": self.model.state_dict(),
                "averaged": averaged,
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
            }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def read(self, path: Path) -> None:
        """Load the state of a checkpoint with this stamp; ignore any other."""
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            stamp = state["stamp"]
        except Exception as error:
            raise MMHError(
                f"The checkpoint {path} cannot be read: remove it and start the build again."
            ) from error
        if stamp != self.stamp:
            return
        self.step, self.loss = state["step"], state["loss"]
        self.averaged.load_state_dict(state["averaged"])
        if self.step == self.fitting.steps:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
