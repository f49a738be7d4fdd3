"""Attention entropy: over how many tokens the cross-attention spreads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmh_core.detectors.grids import TIMES, Grid
from mmh_core.detectors.inputs import DetectorInputs, row_parts
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.dimension.scaled_points import check_network
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class AttentionEntropy(OneColumn):
    """The entropy over tokens, in nats, of the mean cross-attention on pure noise.

    Ren et al. 2024 (ECCV): `-sum_i a_i log a_i`, a_i the share of token i, averaged over heads,
    positions and layers. The attention to prompts that are not memorized is mostly on the first
    token (low entropy), that to memorized ones on the tokens that trigger the image. One
    conditional evaluation on pure noise.
    """

    t: float = 0.98
    name: ClassVar[str] = "attention_entropy"
    label: ClassVar[str] = "Attention entropy"
    summary: ClassVar[str] = "The entropy over tokens of the cross-attention on pure noise."
    citation: ClassVar[str] = "Ren et al. 2024, arXiv 2403.11052"
    needs: ClassVar[Need] = "noise"
    grid: ClassVar[Grid] = {"t": TIMES}

    def lacking(self, model: TextToImage, seeds: int) -> str:
        """Return why it cannot be computed, "" for a network with cross-attention."""
        return "" if cross_attention_layers(model) else f"{model.name} has no cross-attention"

    @torch.no_grad()
    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the entropies (B, 1). Raises MMHError for a network without cross-attention."""
        values = []
        for noise, cond in row_parts(model, inputs):
            with recorded_attention(model) as layers:
                model.score_model.eps(noise, self.t, cond)
            share = torch.stack(layers).mean(0)
            values.append(torch.special.entr(share).sum(1, keepdim=True).cpu())
        entropy = torch.cat(values)
        check_network(entropy, model.name)
        return Measurement(entropy, 1.0)


def cross_attention_layers(model: TextToImage) -> list[Any]:
    """Return the layers in which the network attends to the prompt."""
    return [
        module for module in model.unet.modules() if getattr(module, "is_cross_attention", False)
    ]


@contextlib.contextmanager
def recorded_attention(model: TextToImage) -> Iterator[list[Tensor]]:
    """Yield a list that collects each token's share (B, tokens) of every cross-attention layer.

    Hooks record the attention in this thread alone, since others may use the same weights. They
    change nothing in the network, and are removed at the end.
    """
    layers = cross_attention_layers(model)
    if not layers:
        raise MMHError(f"{model.name} has no cross-attention: choose another detector.")
    shares: list[Tensor] = []
    thread = threading.get_ident()

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        if threading.get_ident() == thread:
            shares.append(_token_shares(module, args[0], kwargs["encoder_hidden_states"]))

    handles = [layer.register_forward_hook(record, with_kwargs=True) for layer in layers]
    try:
        yield shares
    finally:
        for handle in handles:
            handle.remove()


def _token_shares(layer: Any, hidden: Tensor, cond: Tensor) -> Tensor:
    """Return `softmax(scale QK')` averaged over heads and positions, (B, tokens), in float32."""
    query, key = layer.to_q(hidden), layer.to_k(cond)
    query, key = (
        projected.float().unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for projected in (query, key)
    )
    shares: Tensor = (query @ key.mT * layer.scale).softmax(-1).mean((1, 2))
    return shares
