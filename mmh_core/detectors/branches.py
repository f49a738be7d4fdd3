"""Both guidance branches on pure noise, the unconditional one evaluated once per noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmh_core.detectors.inputs import DetectorInputs, rows_at_once
from mmh_core.detectors.measurement import Measurement
from mmh_core.dimension.scale import check_network
from mmh_core.text_to_image.model import TextToImage


@torch.no_grad()
def evaluate_branches(
    model: TextToImage,
    inputs: DetectorInputs,
    t: float,
    function: Callable[[Tensor, Tensor], Tensor],
) -> Measurement:
    """Return `function(delta, eps_u)` of every row, with `delta = eps_c - eps_u` at time t.

    `function` maps two (b, *shape) to (b, F). The input of the network is the starting noise
    itself, whatever t is. S distinct noises and B rows cost S + B NFE in all: 2 per row for one
    prompt, nearly 1 for many prompts with the same seeds.
    """
    size, score_model = rows_at_once(model), model.score_model
    used = sorted(set(inputs.start.tolist()))
    start = torch.searchsorted(torch.tensor(used), inputs.start)
    noise = inputs.noise[used].to(model.device)
    eps_u = torch.cat([score_model.eps(part, t) for part in torch.split(noise, size)])
    rows, values = len(eps_u), []
    for part in torch.split(torch.arange(len(inputs)), size):
        cond = inputs.embeddings[inputs.prompt[part]].to(model.device)
        without = eps_u[start[part]]
        eps_c = score_model.eps(noise[start[part]], t, cond)
        rows += len(eps_c)
        values.append(function(eps_c - without, without).float().cpu())
    columns = torch.cat(values)
    check_network(columns, model.name)
    return Measurement(columns, rows / len(inputs))
