"""Both guidance branches on pure noise, the unconditional one evaluated once per noise."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from mmh_core.detectors.inputs import DetectorInputs, rows_at_once
from mmh_core.detectors.measurement import Estimate, Measurement, OneColumn
from mmh_core.dimension.scaled_points import check_network
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True, eq=False)
class BranchPredictions:
    """The predictions (b, *shape) with the prompt and without it on the same pure noise.

    `unconditional` is None where no estimate of the pass needs it.
    """

    conditional: Tensor
    unconditional: Tensor | None

    def guidance_and_unconditional(self) -> tuple[Tensor, Tensor]:
        """Return the guidance vector `eps_c - eps_u`, and `eps_u`."""
        if self.unconditional is None:
            raise ValueError("The unconditional branch was not evaluated: set needs_both.")
        return self.conditional - self.unconditional, self.unconditional


@runtime_checkable
class BranchEstimate(OneColumn, Protocol):
    """A number of the two branches on pure noise at the time `t`.

    Estimates at one time share their evaluations. The input of the network is the starting noise
    itself, whatever t is. S distinct noises and B rows cost S + B NFE in all: 2 per row for one
    prompt, nearly 1 for many prompts with the same seeds; B alone without `needs_both`.
    """

    needs_both: ClassVar[bool] = True

    @property
    def t(self) -> float:
        """Return the time."""

    def of_branches(self, branches: BranchPredictions) -> Tensor:
        """Return the numbers (b, 1) of some rows."""

    @property
    def evaluations(self) -> Hashable:
        """Return the time: the branches at one time are evaluated once."""
        return BranchEstimate, self.t

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the numbers (B, 1)."""
        return self.measure_together(model, inputs, [self])[0]

    @torch.no_grad()
    def measure_together(
        self, model: TextToImage, inputs: DetectorInputs, estimates: Sequence[Estimate]
    ) -> list[Measurement]:
        """Return the numbers (B, 1) of every estimate at this time."""
        of_branches = [one for one in estimates if isinstance(one, BranchEstimate)]
        size, score_model = rows_at_once(model), model.score_model
        used = sorted(set(inputs.noise_index.tolist()))
        start = torch.searchsorted(torch.tensor(used), inputs.noise_index)
        noise = inputs.noise[used].to(model.device)
        eps_u = None
        if any(one.needs_both for one in of_branches):
            parts = torch.split(noise, size)
            eps_u = torch.cat([score_model.eps(part, self.t) for part in parts])
            check_network(eps_u, model.name)
        values: list[list[Tensor]] = [[] for _ in of_branches]
        for part in torch.split(torch.arange(len(inputs)), size):
            cond = inputs.embeddings[inputs.prompt_index[part]].to(model.device)
            eps_c = score_model.eps(noise[start[part]], self.t, cond)
            check_network(eps_c, model.name)
            branches = BranchPredictions(eps_c, None if eps_u is None else eps_u[start[part]])
            for one, numbers in zip(of_branches, values, strict=True):
                numbers.append(one.of_branches(branches).float().cpu())
        columns = [torch.cat(numbers) for numbers in values]
        shared = len(used) / len(inputs)
        costs = [1.0 + (shared if one.needs_both else 0.0) for one in of_branches]
        return [Measurement(*each) for each in zip(columns, costs, strict=True)]
