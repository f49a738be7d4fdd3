"""Kept attention is the usual attention: same output, same gradients, at a lower price."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as usual
from torch.utils.checkpoint import checkpoint

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension import attention, jacobian
from mmh_core.dimension.attention import KeptAttention
from mmh_core.dimension.flipd import flipd
from mmh_core.dimension.spectral import soft_spectral_count
from tests.dimension.closed_forms import SCHEDULE, seeded

# Batch, heads, queries, keys, width of a head, width of a value.
SHAPES = [(2, 3, 5, 5, 8, 8), (1, 1, 1, 7, 4, 4), (3, 2, 9, 4, 2, 6)]
KEPT = "_AttentionBackward"


def heads(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return q, k and v in the order of memory that projections leave, and a gradient of O."""
    b, h, rows, keys, width, wide = shape
    sizes = [(b, rows, h, width), (b, keys, h, width), (b, keys, h, wide), (b, rows, h, wide)]
    noise = seeded(1)
    drawn = [torch.randn(s, generator=noise, dtype=dtype).transpose(1, 2) for s in sizes]
    return [each.requires_grad_() for each in drawn[:3]] + drawn[3:]


def masks(shape: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Return every kind of argument that is covered; the first query of `empty` has no key."""
    b, h, rows, keys = shape[:4]
    keep = torch.rand(b, 1, rows, keys, generator=seeded(2)) < 0.7
    keep[..., 0] = True
    empty = keep[0, 0].clone()
    empty[0] = False
    return {
        "plain": {},
        "scale": {"scale": 0.9},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": keep},
        "empty": {"attn_mask": empty},
        "added": {"attn_mask": torch.randn(b, h, rows, keys, generator=seeded(3))},
        "added to keys": {"attn_mask": torch.randn(rows, keys, generator=seeded(4))},
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", list(masks(SHAPES[0])))
def test_output_and_gradients_are_those_of_the_plain_kernel(
    shape: tuple[int, ...], kind: str
) -> None:
    """Agree to a few roundings of float32, also when the graph is used again."""
    q, k, v, g = heads(shape)
    given = masks(shape)[kind]
    with sdpa_kernel(SDPBackend.MATH):
        expected = usual(q, k, v, **given)
        wanted = torch.autograd.grad(expected, (q, k, v), g, retain_graph=True)
        doubled = torch.autograd.grad(expected, (q, k, v), g.square())
    with KeptAttention():
        found = usual(q, k, v, **given)
    assert found.grad_fn is not None and found.grad_fn.name() == KEPT
    # Sums of at most 9 products of numbers of size 1 to 5.
    close = {"atol": 5e-6, "rtol": 1e-5}
    torch.testing.assert_close(found, expected, **close)
    first = torch.autograd.grad(found, (q, k, v), g, retain_graph=True)
    torch.testing.assert_close(first, wanted, **close)
    other = torch.autograd.grad(found, (q, k, v), g.square(), retain_graph=True)
    torch.testing.assert_close(other, doubled, **close)
    again = torch.autograd.grad(found, (q, k, v), g)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("kind", ["plain", "scale", "causal", "boolean"])
def test_gradients_and_their_gradients_are_finite_differences(kind: str) -> None:
    """Hold in double precision; an energy model differentiates the gradient again."""
    shape = (2, 2, 3, 3, 2, 2)
    q, k, v, _ = heads(shape, torch.float64)
    given = masks(shape)[kind]

    def attend(*tensors: Tensor) -> Tensor:
        with KeptAttention():
            return usual(*tensors, **given)

    assert torch.autograd.gradcheck(attend, (q, k, v))
    assert torch.autograd.gradgradcheck(attend, (q, k, v))


def test_the_order_in_memory_is_that_of_the_fused_kernel() -> None:
    """Let a network view the output as it could before."""
    q, k, v, _ = heads((2, 3, 5, 5, 8, 8))
    with KeptAttention():
        found = usual(q, k, v)
    assert found.stride() == usual(q, k, v).stride()


def covered(**given: Any) -> bool:
    """Return whether kept attention computes this call."""
    q, k, v, _ = heads((2, 2, 4, 4, 8, 8))
    arguments = {"query": q, "key": k, "value": v} | given
    with KeptAttention():
        out = usual(**arguments)
    return out.grad_fn is not None and out.grad_fn.name() == KEPT


def test_everything_else_runs_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what the formulas do not cover, and a user's choice of kernel, alone."""
    assert covered()
    assert not covered(dropout_p=0.5)
    assert not covered(enable_gqa=True)
    assert not covered(attn_mask=torch.zeros(4, 4, requires_grad=True))
    assert not covered(key=torch.ones(1, 2, 4, 8), value=torch.ones(1, 2, 4, 8))
    half = torch.ones(2, 2, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    assert not covered(query=half, key=half, value=half)
    q, k, v, _ = heads((2, 2, 4, 4, 8, 8))
    with torch.no_grad():
        assert not attention._applies({"query": q, "key": k, "value": v})
    with sdpa_kernel(SDPBackend.MATH):
        assert not covered()
    monkeypatch.setattr(attention, "_KEPT_NUMBERS", 2 * 2 * 4 * 4)
    assert covered()
    monkeypatch.setattr(attention, "_KEPT_NUMBERS", 2 * 2 * 4 * 4 - 1)
    assert not covered()


def test_functional_transforms_still_work() -> None:
    """Differentiate inside a network by `torch.func` as without kept attention."""
    q, k, v, _ = (each.detach() for each in heads((2, 2, 4, 4, 8, 8)))

    def energy(x: Tensor) -> Tensor:
        return usual(x, k, v).square().sum()

    with KeptAttention():
        found = torch.func.grad(energy)(q)
    torch.testing.assert_close(found, torch.func.grad(energy)(q))


class Attentive(nn.Module):
    """Attend among 6 tokens of width 8 by two heads; recompute in the reverse pass if asked."""

    def __init__(self, recompute: bool) -> None:
        """Draw the weights."""
        super().__init__()
        self.recompute = recompute
        self.project = nn.Linear(8, 24)
        with torch.no_grad():
            self.project.weight.copy_(0.5 * torch.randn(24, 8, generator=seeded(5)))
            self.project.bias.zero_()

    def attend(self, x: Tensor) -> Tensor:
        """Return the tokens after attention."""
        q, k, v = self.project(x.unflatten(1, (6, 8))).chunk(3, -1)
        q, k, v = (each.unflatten(2, (2, 4)).transpose(1, 2) for each in (q, k, v))
        return usual(q, k, v).transpose(1, 2).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after two rounds."""
        for _ in range(2):
            if self.recompute:
                x = x + checkpoint(self.attend, x, use_reentrant=False)
            else:
                x = x + self.attend(x)
        return x


@pytest.mark.parametrize("recompute", [False, True])
def test_dimensions_do_not_change(recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give FLIPD and the soft count of the usual kernels, with checkpointing as well."""
    network = Attentive(recompute)
    model = ScoreModel(lambda x, t, cond: network(x), SCHEDULE, "eps", (48,))
    x = torch.randn(3, 48, generator=seeded(6))
    calls: list[int] = []
    covers = attention._applies

    def counted(given: dict[str, Any]) -> bool:
        found = covers(given)
        calls.append(found)
        return found

    monkeypatch.setattr(attention, "_applies", counted)

    def both() -> list[Tensor]:
        lid = flipd(model, x, -1.0, probes=3, generator=seeded(7)).lid
        return [lid, soft_spectral_count(model, x, -1.0, generator=seeded(8)).lid]

    kept = both()
    # A network that recomputes to save memory keeps its kernel.
    assert calls and all(found is not recompute for found in calls)
    monkeypatch.setattr(jacobian, "KeptAttention", contextlib.nullcontext)
    # Dimensions of up to 48, each a sum of as many terms of size 1 in float32.
    torch.testing.assert_close(kept, both(), atol=1e-3, rtol=0)
