"""Inputs of several parts as one: batches that must give what the whole gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mmh_core.detectors.inputs import DetectorInputs, joined_traces


def joined(parts: Sequence[DetectorInputs]) -> DetectorInputs:
    """Return the inputs of several parts as one; parts with the same noise share it.

    Either all parts have a trace of the same times and guidance, or none does.
    """
    first = parts[0]
    shared = all(torch.equal(part.noise, first.noise) for part in parts)
    prompts = _offsets([len(part.embeddings) for part in parts])
    texts = tuple(text for part in parts for text in part.prompts)
    starts = [0] * len(parts) if shared else _offsets([len(part.noise) for part in parts])
    traces = [part.trace for part in parts if part.trace is not None]
    if traces and len(traces) < len(parts):
        raise ValueError("Some of the parts were generated and some were not.")
    return DetectorInputs(
        torch.cat([part.embeddings for part in parts]),
        first.noise if shared else torch.cat([part.noise for part in parts]),
        torch.cat([part.prompt_index + by for part, by in zip(parts, prompts, strict=True)]),
        torch.cat([part.noise_index + by for part, by in zip(parts, starts, strict=True)]),
        joined_traces(traces) if traces else None,
        prompts=texts if len(texts) == sum(len(part.embeddings) for part in parts) else (),
    )


def _offsets(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes))]
