"""Read both branches of guidance on pure noise, the unconditional one once per noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmh_core.detectors.inputs import Evidence, rows_at_once
from mmh_core.detectors.measurement import Measurement
from mmh_core.dimension.scale import check_network
from mmh_core.text_to_image.model import TextToImage


@torch.no_grad()
def read_branches(
    model: TextToImage,
    evidence: Evidence,
    t: float,
    read: Callable[[Tensor, Tensor], Tensor],
) -> Measurement:
    """Apply `read(delta, eps_u)` to every row, with `delta = eps_c - eps_u` at time t.

    `read` maps two (b, *shape) to (b, F). The network is fed the starting noise itself, whatever t
    is. S distinct noises and B rows cost S + B network evaluations in all: 2 per row for one
    prompt, nearly 1 for many prompts with the same seeds.
    """
    size, score_model = rows_at_once(model), model.score_model
    used = sorted(set(evidence.start.tolist()))
    start = torch.searchsorted(torch.tensor(used), evidence.start)
    noise = evidence.noise[used].to(model.device)
    eps_u = torch.cat([score_model.eps(part, t) for part in torch.split(noise, size)])
    rows, values = len(eps_u), []
    for part in torch.split(torch.arange(len(evidence)), size):
        cond = evidence.embeddings[evidence.prompt[part]].to(model.device)
        without = eps_u[start[part]]
        eps_c = score_model.eps(noise[start[part]], t, cond)
        rows += len(eps_c)
        values.append(read(eps_c - without, without).float().cpu())
    found = torch.cat(values)
    check_network(found, model.name)
    return Measurement(found, rows / len(evidence))
