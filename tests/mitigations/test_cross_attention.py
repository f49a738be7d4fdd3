"""Attention changed from outside, against the same change written into a copy of the network."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from mmh_core.mitigations.attention_attenuation import AttentionAttenuation, attenuated
from mmh_core.mitigations.attention_masking import AttentionMasking
from mmh_core.mitigations.cross_attention import CrossAttention
from mmh_core.mitigations.interface import result_of
from mmh_core.mitigations.tokens import padding_rows
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import generate
from mmh_core.text_to_image.model import TextToImage
from tests.mitigations.conftest import SEEDS, ModelOf, request_for

# The same sums in another order, on outputs near 1.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def first(model: TextToImage, request: Any) -> Any:
    return next(generate(model, request))


def output_at(model: TextToImage, step: Any, unet: nn.Module, **more: Any) -> Tensor:
    """Return another network's prediction of eps at a step, with the request's prompt."""
    cond = model.encode_text(["the cat"]).expand(len(SEEDS), -1, -1)
    number = round(step.t * model.schedule.steps - 1)
    said = unet(step.x_t, number, cond, return_dict=False, **more)[0]
    from mmh_core.text_to_image.generation import score_model_of_output

    return score_model_of_output(model, said).eps(step.x_t, step.t)


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
def test_masking_is_diffusers_own_mask(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    request = request_for(model)
    masked = first(model, result_of(AttentionMasking(strength=1.0).apply(model, request)).request)
    plain = first(model, request)
    mask = torch.ones(len(SEEDS), model.unconditional.shape[1])
    mask[:, padding_rows(model, "the cat")] = 0
    # Two special tokens and "the cat" are kept.
    assert mask[0].sum() == 4
    expected = output_at(model, plain, model.unet, encoder_attention_mask=mask)
    torch.testing.assert_close(masked.eps_c, expected, **CLOSE)
    assert (plain.eps_c - expected).abs().max() > 0.01
    torch.testing.assert_close(masked.eps_u, plain.eps_u, **CLOSE)


def test_the_start_tokens_logit_is_multiplied(model_of: ModelOf) -> None:
    """Keys have no bias, so a logit is multiplied with its key."""
    model = model_of("tiny")
    request = request_for(model)
    changed = copy.deepcopy(model.unet)
    for name, part in changed.named_modules():
        if name.endswith("attn2.to_k"):
            part.register_forward_hook(
                lambda net, context, out: torch.cat([out[:, :1] * 1.5, out[:, 1:]], 1)
            )
    plain = first(model, request)
    mask = torch.ones(len(SEEDS), model.unconditional.shape[1])
    mask[:, padding_rows(model, "the cat")] = 0
    expected = output_at(model, plain, changed, encoder_attention_mask=mask)
    found = first(model, result_of(AttentionMasking(strength=1.5).apply(model, request)).request)
    torch.testing.assert_close(found.eps_c, expected, **CLOSE)
    usual = output_at(model, plain, model.unet, encoder_attention_mask=mask)
    assert (usual - expected).abs().max() > 0.01


def test_the_usual_weighting_changes_nothing(model_of: ModelOf) -> None:
    model = model_of("tiny")
    cond = model.encode_text(["the cat", "a dog"])
    x_t = torch.randn(2, *model.score_model.shape, generator=torch.Generator().manual_seed(0))
    plain = model.unet(x_t, 500, cond, return_dict=False)[0]
    for leading in (0, 1, 2):
        with CrossAttention(model.unet, lambda logits: logits.softmax(-1), leading):
            inside = model.unet(x_t, 500, cond, return_dict=False)[0]
        torch.testing.assert_close(inside, plain, **CLOSE)
    with CrossAttention(model.unet, torch.zeros_like, 1):
        inside = model.unet(x_t, 500, cond, return_dict=False)[0]
    # The first row is left alone, the second no longer hears the prompt.
    torch.testing.assert_close(inside[:1], plain[:1], **CLOSE)
    assert (inside[1] - plain[1]).abs().max() > 0.01


def test_only_the_thread_and_network_of_the_context_are_changed(model_of: ModelOf) -> None:
    import threading

    model = model_of("tiny")
    x_t, cond = torch.ones(1, *model.score_model.shape), model.encode_text(["the cat"])
    plain = model.unet(x_t, 500, cond, return_dict=False)[0]
    found: list[Tensor] = []

    def elsewhere() -> None:
        found.append(model.unet(x_t, 500, cond, return_dict=False)[0])

    with CrossAttention(model.unet, torch.zeros_like, 0):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        other = model_of("tiny-v")
        theirs = other.unet(x_t, 500, cond, return_dict=False)[0]
    # Another thread may share the work out in another way; looking at nothing moves it by .1.
    torch.testing.assert_close(found[0], plain, rtol=1e-4, atol=1e-4)
    unchanged = other.unet(x_t, 500, cond, return_dict=False)[0]
    torch.testing.assert_close(theirs, unchanged, rtol=1e-4, atol=1e-4)


def test_an_error_in_the_network_leaves_nothing_behind(model_of: ModelOf) -> None:
    model = model_of("tiny")

    def failing(logits: Tensor) -> Tensor:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), CrossAttention(model.unet, failing, 0):
        model.unet(torch.ones(1, 4, 4, 4), 1, model.encode_text(["a"]), return_dict=False)
    assert not _get_current_function_mode_stack()


def test_a_network_without_cross_attention_is_refused() -> None:
    with pytest.raises(MMHError, match="no cross-attention"):
        CrossAttention(nn.Linear(2, 2), torch.zeros_like, 0)


def test_attenuation_finds_the_spike_and_spares_the_start() -> None:
    even = torch.full((2, 1, 1, 8), 0.05)
    even[0, ..., 3] = 0.4
    even[:, ..., 0] = 0.6
    found = attenuated(even, 0.3, 1.0)
    assert found[0, 0, 0, 3] == pytest.approx(0.12)
    found[0, ..., 3] = 0.4
    # Row 1 has no spike, and the start token is none whatever its share.
    assert torch.equal(found, even)


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
def test_attenuation_mixes_three_branches(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    request = request_for(model, guidance=7.5)
    out = result_of(AttentionAttenuation(spread=0.0).apply(model, request))
    step, plain = first(model, out.request), first(model, request)
    # Something was attenuated, and only with the prompt.
    assert (step.eps_c - plain.eps_c).abs().max() > 0.01
    torch.testing.assert_close(step.eps_u, plain.eps_u, **CLOSE)
    eps = step.eps_u + 7.5 * (step.eps_c - step.eps_u) - 2 * (plain.eps_c - plain.eps_u)
    time = torch.tensor(step.t, dtype=torch.float64)
    alpha, sigma = model.schedule.alpha(time), model.schedule.sigma(time)
    # Where alpha is small x0_hat is large and the sum cancels.
    rebuilt = (alpha * step.x0_hat + sigma * eps).float()
    torch.testing.assert_close(rebuilt, step.x_t, rtol=1e-3, atol=1e-3)
    assert out.nfe_per_step == 3


def test_above_one_the_prompt_is_repelled_more(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model, guidance=7.5)
    steps = {}
    for strength in (1.0, 2.0):
        out = result_of(AttentionAttenuation(strength, spread=0.0).apply(model, request))
        steps[strength] = first(model, out.request)
    plain = first(model, request)
    # All spiky attention is gone at 1 already; what differs is twice the repulsion.
    torch.testing.assert_close(steps[1.0].eps_c, steps[2.0].eps_c, **CLOSE)
    time = torch.tensor(plain.t, dtype=torch.float64)
    alpha, sigma = float(model.schedule.alpha(time)), float(model.schedule.sigma(time))
    moved = (steps[2.0].x0_hat - steps[1.0].x0_hat) * alpha / sigma
    expected = 2 * (plain.eps_c - plain.eps_u)
    torch.testing.assert_close(moved, expected, rtol=1e-2, atol=1e-3)
    with pytest.raises(ValueError, match=r"from 0 to 3\.75, got 4"):
        result_of(AttentionAttenuation(4.0).apply(model, request))
