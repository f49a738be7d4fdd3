"""Cross-attention of a network, reweighted from outside for the length of a context.

Weights are shared by all callers, so nothing is attached to the network: while the context is
entered, and in its thread alone, the projection of the text's keys is recognized by its weight,
and the attention that follows it is computed here. Leaving the context leaves nothing behind,
whatever happened in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from mmh_core.records import MMHError

#: Attention logits (R, heads, queries, tokens) -> what the values are weighted with.
Weighting = Callable[[Tensor], Tensor]


class CrossAttention(TorchFunctionMode):
    """A context in which cross-attention weights are `weighting(logits)`, but for the first rows.

    Logits are `scale Q K'` in float32; the usual weighting is their softmax over tokens. The first
    `leading` rows of the batch are computed as usual.
    """

    def __init__(self, unet: nn.Module, weighting: Weighting, leading: int) -> None:
        """Find the projections; MMHError for a network without cross-attention."""
        super().__init__()
        modules: Any = unet.named_modules()
        self._keys = {id(part.to_k.weight) for name, part in modules if name.endswith("attn2")}
        if not self._keys:
            raise MMHError(
                "This network has no cross-attention to change: choose another mitigation."
            )
        self._weighting, self._leading, self._next = weighting, leading, False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func`, or the attention of this context in its place."""
        kwargs = kwargs or {}
        if func is linear and id(args[1]) in self._keys:
            self._next = True
        if func is not scaled_dot_product_attention or not self._next:
            return func(*args, **kwargs)
        self._next = False
        query, key, value = args
        first = self._leading
        usual = func(query[:first], key[:first], value[:first], **kwargs)
        q, k = query[first:].float(), key[first:].float()
        weights = self._weighting(q @ k.mT * q.shape[-1] ** -0.5)
        return torch.cat([usual, weights.to(value.dtype) @ value[first:]])
