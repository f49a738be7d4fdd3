"""Attention whose reverse pass is cheap to repeat on a CPU.

The fused kernel of `scaled_dot_product_attention` keeps no probabilities, so that each reverse
pass computes them again, and its blocks suit narrow heads badly. Products with one Jacobian run
through the same graph many times. Here the forward pass keeps `P = softmax(scale QK' + mask)`, and
a reverse pass costs four products of matrices: with the output `O = PV`, its gradient G and
`S = P (GV' - rowsum(GO))`, `dQ = scale SK`, `dK = scale S'Q` and `dV = P'G`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

# Probabilities kept per call: at most 64 MiB in float32; beyond it the fused kernel saves memory.
_KEPT_NUMBERS = 2**24
_POSITIONAL = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_KNOWN = {*_POSITIONAL, "scale", "enable_gqa"}


class KeptAttention(TorchFunctionMode):
    """A context in which attention is computed by `_Attention` wherever it applies.

    Output and gradient equal those of the usual function to rounding. Other cases (no graph, GPU,
    other than four axes, dropout, grouped or broadcast heads, a mask with a gradient, half
    precision, too many probabilities, `torch.func`, `torch.compile`, another kernel chosen) run as
    ever, and so does a network that saves memory by checkpoints or other hooks on saved tensors.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func`, or `_Attention` in its place."""
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            arguments = dict(zip(_POSITIONAL, args, strict=False)) | kwargs
            if _applies(arguments):
                q, k, v = arguments["query"], arguments["key"], arguments["value"]
                scale = arguments.get("scale")
                scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
                mask, causal = arguments.get("attn_mask"), bool(arguments.get("is_causal", False))
                attend = cast(Callable[..., Tensor], _Attention.apply)
                return attend(q, k, v, mask, causal, scale)
        return func(*args, **kwargs)


def _applies(arguments: dict[str, Any]) -> bool:
    """Return whether `_Attention` covers a call with these arguments, in the present context."""
    tensors = [arguments.get(name) for name in _POSITIONAL[:3]]
    mask = arguments.get("attn_mask")
    if not all(type(each) is Tensor for each in tensors) or type(mask) not in (Tensor, type(None)):
        return False
    usual = (
        arguments.keys() <= _KNOWN
        and not arguments.get("dropout_p")
        and not arguments.get("enable_gqa")
    )
    # A choice of kernel other than the fused one stands.
    fused: bool = torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]
    plain = not (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
    )
    if not (usual and fused and plain and torch.is_grad_enabled()):
        return False
    if mask is not None and (arguments.get("is_causal") or mask.requires_grad):
        return False
    q, k, v = cast(list[Tensor], tensors)
    return _fit(q, k, v, mask)


def _fit(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> bool:
    """Return whether `_Attention` covers tensors of these kinds, shapes and places."""
    alike = q.dim() == 4 and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    alike = alike and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]
    types_fit = q.dtype in (torch.float32, torch.float64) and q.dtype == k.dtype == v.dtype
    on_cpu = q.device.type == k.device.type == v.device.type == "cpu"
    if mask is not None:
        types_fit = types_fit and mask.dtype in (torch.bool, q.dtype)
        on_cpu = on_cpu and mask.device.type == "cpu"
    graph = q.requires_grad or k.requires_grad or v.requires_grad
    if not (alike and types_fit and on_cpu and graph):
        return False
    return 0 < q.shape[:-1].numel() * k.shape[-2] <= _KEPT_NUMBERS


def _probabilities(
    q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """Return `softmax(scale QK' + mask)`, (..., L, S); rows without any key are 0."""
    scores = (q * scale) @ k.mT
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is None:
        return scores.softmax(-1)
    boolean = mask.dtype == torch.bool
    scores = scores.masked_fill(~mask, -torch.inf) if boolean else scores + mask
    empty = (scores == -torch.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0)


class _Attention(torch.autograd.Function):
    """Attention by the formulas of the module's text, which keeps P from the forward pass.

    Narrow factors stand on the left, `(8, L) @ (L, S)`: up to 2.6 times faster than on the right.
    A gradient that is itself to be differentiated computes P anew, within the graph.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float
    ) -> Tensor:
        """Return O, in the fused kernel's order in memory: (B, L, H, E)."""
        p = q.new_empty(*q.shape[:-1], k.shape[-2])
        # One point at a time: the scores stay in the cache, and only P is held in full.
        for row in range(len(q)):
            part = None if mask is None else mask.expand(p.shape)[row]
            p[row] = _probabilities(q[row], k[row], part, causal, scale)
        out = (v.mT @ p.mT).permute(0, 3, 1, 2).contiguous().transpose(1, 2)
        ctx.save_for_backward(q, k, v, mask, out, p)
        ctx.causal, ctx.scale = causal, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of q, k and v."""
        q, k, v, mask, out, p = ctx.saved_tensors
        (g,) = gradients
        correction = (g * out).sum(-1, keepdim=True)
        if torch.is_grad_enabled():
            p = _probabilities(q, k, mask, ctx.causal, ctx.scale)
            s = p * (g @ v.mT - correction)
        else:
            s = (g @ v.mT).sub_(correction).mul_(p)
        need = ctx.needs_input_grad
        dq = (k.mT @ s.mT).mT * ctx.scale if need[0] else None
        dk = (q.mT @ s).mT * ctx.scale if need[1] else None
        dv = (g.mT @ p).mT if need[2] else None
        return dq, dk, dv, None, None, None
