"""Each mitigation does what its recipe says, for networks that predict eps and v."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import _get_current_function_mode_stack

from mmh_core.diffusion.schedule import Discrete
from mmh_core.mitigations.catalogue import BASELINES, MITIGATIONS, mitigation
from mmh_core.mitigations.embedding_optimization import EmbeddingOptimization
from mmh_core.mitigations.first_step import (
    delta_of_noise,
    first_step,
    guidance_norm_score,
)
from mmh_core.mitigations.guidance_schedule import DynamicGuidance, GuidanceSchedule
from mmh_core.mitigations.initial_noise import NoiseAdjustment, NoiseOptimization, first_noise
from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    LidBy,
    Mitigated,
    MitigationContext,
    result_of,
    without_work,
)
from mmh_core.mitigations.lid_guided_embedding import LidGuidedEmbedding
from mmh_core.mitigations.lid_loss import generated_latents, lid_of, reference_lids
from mmh_core.mitigations.objectives import guidance_norms
from mmh_core.mitigations.padding_fix import PaddingFix
from mmh_core.mitigations.random_tokens import RandomTokens
from mmh_core.mitigations.tokens import padding_rows, prompt_tokens
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import first_input, generate, generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Request, Steering
from tests.mitigations.conftest import SEEDS, ModelOf, full_context, request_for

KINDS = pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def state_of(model: TextToImage) -> str:
    """Return a digest of all that a job could leave changed in a shared model."""
    digest = hashlib.sha256()
    for net in (model.unet, model.text_encoder, model.autoencoder):
        for name, value in sorted(net.state_dict().items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        for name, part in net.named_modules():
            hooks = len(part._forward_hooks) + len(part._forward_pre_hooks)
            processor = id(getattr(part, "processor", None))
            digest.update(f"{name} {hooks} {processor} {part.training}".encode())
        assert all(weight.grad is None for weight in net.parameters())
    digest.update(repr(sorted(model.scheduler.items())).encode())
    digest.update(model.unconditional.numpy().tobytes())
    return digest.hexdigest()


def reference_norms(model: TextToImage, request: Request, prompts: tuple[str, ...]) -> Tensor:
    """Return the first-step guidance norms (N * B,) of reference prompts at the request's seeds.

    Everything but the prompt is as in the request; steering is left out.
    """
    norms = []
    for prompt in prompts:
        at = first_step(model, replace(request, prompt=prompt, steering=None))
        with torch.no_grad():
            norms.append(guidance_norms(at.eps_c(at.cond), at.eps_u()))
    return torch.cat(norms)


def test_the_catalogue_is_complete_and_in_order() -> None:
    assert all(name == each.name for name, each in MITIGATIONS.items())
    assert len({each.label for each in MITIGATIONS.values()}) == len(MITIGATIONS)
    for each in MITIGATIONS.values():
        assert each.strength in each.strengths
    assert set(BASELINES) < set(MITIGATIONS)
    assert mitigation("rewrite") is MITIGATIONS["rewrite"]
    with pytest.raises(ValueError, match="Unknown mitigation 'magic'"):
        mitigation("magic")


def test_none_is_the_plain_request_bit_for_bit(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    out = result_of(MITIGATIONS["none"].apply(model, request, context=NO_CONTEXT))
    assert out.request is request
    assert torch.equal(generate_images(model, out.request), generate_images(model, request))
    assert (out.nfe, out.prompt) == (0.0, "the cat")
    alone = result_of(
        MITIGATIONS["none"].apply(
            model,
            replace(
                request,
                sampling=replace(request.sampling, guidance=1.0),
            ),
            context=NO_CONTEXT,
        )
    )
    assert (out.nfe_per_step, alone.nfe_per_step) == (2.0, 1.0)


@KINDS
@pytest.mark.parametrize("name", list(MITIGATIONS))
def test_nothing_stays_behind_even_when_cancelled(model_of: ModelOf, name: str, kind: str) -> None:
    model = model_of(kind)
    request = request_for(model, steps=3, seeds=(3,))
    before, plain = state_of(model), generate_images(model, request)
    chosen = MITIGATIONS[name]
    if name == "automatic_chain":
        chosen = replace(chosen, strength=2.0)  # type: ignore[type-var]
    out = result_of(chosen.apply(model, request, context=full_context(model)))
    steps = generate(model, out.request)
    next(steps)
    # Between two steps, too, other callers find the network as it was.
    assert torch.equal(generate_images(model, request), plain)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    drawn = generate_images(model, out.request)
    assert bool(torch.isfinite(drawn).all())
    assert torch.equal(drawn, generate_images(model, out.request))
    assert state_of(model) == before
    assert not _get_current_function_mode_stack()
    assert torch.equal(generate_images(model, request), plain)
    same = ("seeds", "sampling")
    assert all(getattr(out.request, field) == getattr(request, field) for field in same)
    assert out.prompt == out.request.prompt
    assert out.explanation[-1] == "."


def test_random_words_are_inserted_and_the_rest_stays(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model, prompt="a dog, sleeping")
    for strength in (1.0, 4.0):
        context = MitigationContext(generator=torch.Generator().manual_seed(4))
        out = result_of(RandomTokens(strength).apply(model, request, context=context))
        added = [word for word in out.prompt.split() if word in ("the", "cat")]
        kept = [word for word in out.prompt.split() if word not in ("the", "cat")]
        # The vocabulary's only words are "the" and "cat".
        assert len(added) == strength
        assert kept == ["a", "dog,", "sleeping"]
        again = MitigationContext(generator=torch.Generator().manual_seed(4))
        assert (
            result_of(RandomTokens(strength).apply(model, request, context=again)).prompt
            == out.prompt
        )
    context = MitigationContext(generator=torch.Generator().manual_seed(4))
    numbers = result_of(RandomTokens(3.0, "numbers").apply(model, request, context=context)).prompt
    assert sum(word.isdigit() for word in numbers.split()) == 3
    with pytest.raises(ValueError, match="pass a generator"):
        result_of(RandomTokens().apply(model, request))


def test_random_words_replace_an_embedding_that_was_set(model_of: ModelOf) -> None:
    model = model_of("tiny")
    steering = Steering(embedding=model.unconditional, noise=torch.ones(2, 4, 4, 4))
    request = request_for(model, steering=steering)
    out = result_of(RandomTokens().apply(model, request, context=full_context(model)))
    assert out.request.steering is not None
    assert out.request.steering.embedding is None
    assert out.request.steering.noise is steering.noise


@KINDS
def test_padding_rows_are_zeroed_from_the_first(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    out = result_of(PaddingFix(0.7).apply(model, request_for(model)))
    assert out.request.steering is not None
    found, plain = out.request.steering.embedding, model.encode_text(["the cat"])
    assert found is not None
    # 16 rows: start, two words, end, and 12 of padding, of which .7 are 8.
    assert torch.equal(found[:, 4:12], torch.zeros_like(found[:, 4:12]))
    assert torch.equal(found[:, :4], plain[:, :4])
    assert torch.equal(found[:, 12:], plain[:, 12:])
    assert not torch.equal(
        generate_images(model, out.request), generate_images(model, request_for(model))
    )


def test_padding_with_another_token_is_refused(model_of: ModelOf) -> None:
    model = model_of("tiny")
    tokenizer: Any = copy.deepcopy(model.tokenizer)
    tokenizer.pad_token = "!"
    other = replace(model, tokenizer=tokenizer)
    with pytest.raises(MMHError, match="padded with the end token, and tiny pads with '!'"):
        result_of(PaddingFix().apply(other, request_for(model)))


def test_tokens_know_their_place_in_the_prompt(model_of: ModelOf) -> None:
    model = model_of("tiny")
    tokens = prompt_tokens(model, "The cat")
    assert (tokens.texts, tokens.spans) == (("The", "cat"), ((0, 3), (4, 7)))
    assert tokens.rows == ((1,), (2,))
    assert padding_rows(model, "The cat").tolist() == list(range(4, 16))
    # 14 letters fill the encoder, the rest is cut.
    assert len(padding_rows(model, "x" * 40)) == 0


@KINDS
@pytest.mark.parametrize(("strength", "early"), [(0.5, 0.0), (0.35, -2.0), (0.0, 0.0)])
def test_guidance_begins_late(model_of: ModelOf, kind: str, strength: float, early: float) -> None:
    model = model_of(kind)
    request = request_for(model, steps=6)
    out = result_of(GuidanceSchedule(strength, early).apply(model, request))
    for step in generate(model, out.request):
        scale = early if step.t > 1 - strength else 3.0
        assert step.eps_u is not None
        eps = step.eps_u + scale * (step.eps_c - step.eps_u)
        time = torch.tensor(step.t, dtype=torch.float64)
        rebuilt = model.schedule.alpha(time) * step.x0_hat + model.schedule.sigma(time) * eps
        torch.testing.assert_close(rebuilt.float(), step.x_t, rtol=1e-3, atol=1e-3)
    assert torch.equal(generate_images(model, out.request), generate_images(model, request)) == (
        strength == 0
    )


def branches(t: float, norms: list[float]) -> Branches:
    """Return branches whose guided output is the scale."""
    zeros = torch.zeros(len(norms), 1, 1, 1)
    return Branches(t, zeros, zeros, zeros + 1, torch.tensor(norms), 5.0, lambda e: zeros)


def test_dynamic_guidance_waits_for_each_images_first_dip(model_of: ModelOf) -> None:
    model = model_of("tiny")
    out = result_of(DynamicGuidance().apply(model, request_for(model)))
    assert out.request.steering is not None and out.request.steering.mixing is not None
    # One falls and rises at once, one rises before it falls and rises, one never dips.
    curves = [[9, 7, 5, 6, 4, 3], [1, 2, 3, 2, 2.5, 1], [1, 2, 3, 4, 5, 6]]
    expected = [[0, 0, 0, 5, 5, 5], [0, 0, 0, 0, 5, 5], [0, 0, 0, 0, 0, 0]]
    for _ in range(2):
        # Every generation starts anew: nothing is remembered from one to the next.
        mix = out.request.steering.mixing()
        found = [
            mix(branches(0.9 - 0.1 * i, [float(curve[i]) for curve in curves])).flatten()
            for i in range(6)
        ]
        assert torch.stack(found, dim=1).tolist() == expected


def test_dynamic_guidance_begins_at_the_latest_when_told(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    never_waits = result_of(DynamicGuidance(0.0).apply(model, request))
    assert torch.equal(
        generate_images(model, never_waits.request), generate_images(model, request)
    )
    out = result_of(DynamicGuidance(0.4).apply(model, request))
    assert out.request.steering is not None and out.request.steering.mixing is not None
    mix = out.request.steering.mixing()
    found = [float(mix(branches(t, [1.0])).flatten()) for t in (0.9, 0.7, 0.5, 0.3)]
    assert found == [0.0, 0.0, 5.0, 5.0]


@KINDS
def test_embedding_optimization_reaches_its_target(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    request = request_for(model)
    start = reference_norms(model, request, ("the cat",))
    assert float(start.mean()) == pytest.approx(
        result_of(guidance_norm_score(model, request)).score, 1e-4
    )
    target = 0.8 * start.min()
    context = MitigationContext(reference_norms=target[None])
    out = result_of(EmbeddingOptimization(most_steps=60).apply(model, request, context=context))
    assert out.request.steering is not None
    embedding, plain = out.request.steering.embedding, model.encode_text(["the cat"])
    assert embedding is not None and embedding.shape[0] == len(SEEDS)
    norm = next(generate(model, out.request)).guidance_norm
    assert bool((norm <= target * 1.001).all())
    assert torch.equal(embedding[:, 0], plain[:, 0].expand(2, -1))
    assert bool((embedding[:, 1:] != plain[:, 1:]).any())
    # A seed's embedding is the same in any company, but for sums in another order.
    alone = result_of(
        EmbeddingOptimization(most_steps=60).apply(
            model, replace(request, seeds=SEEDS[1:]), context=context
        )
    )
    assert alone.request.steering is not None and alone.request.steering.embedding is not None
    torch.testing.assert_close(alone.request.steering.embedding[0], embedding[1], **CLOSE)


def test_a_request_that_is_normal_already_is_not_moved(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    context = MitigationContext(reference_norms=torch.tensor([1e6]))
    out = result_of(EmbeddingOptimization().apply(model, request, context=context))
    assert out.nfe == 2
    assert torch.equal(generate_images(model, out.request), generate_images(model, request))


@pytest.mark.parametrize("name", ["embedding_optimization", "noise_optimization", "raise_lid"])
def test_without_normal_prompts_there_is_no_target(model_of: ModelOf, name: str) -> None:
    model = model_of("tiny")
    with pytest.raises(MMHError, match="of reference prompts to aim at: measure some"):
        result_of(MITIGATIONS[name].apply(model, request_for(model), context=NO_CONTEXT))


@pytest.mark.parametrize(("kind", "by"), [("tiny", "denoising loss"), ("tiny-v", "flipd")])
def test_raising_lid_raises_it(model_of: ModelOf, kind: str, by: LidBy) -> None:
    model = model_of(kind)
    request = request_for(model)
    latents, _ = result_of(generated_latents(model, request))
    before = result_of(reference_lids(model, request, ("the cat",), by=by, log_delta=0.5))
    target = before.max() + 0.5
    context = MitigationContext(
        generator=torch.Generator().manual_seed(0),
        reference_lids=lambda by, at: without_work(target[None]),
        latents=latents,
    )
    mitigation = LidGuidedEmbedding(by=by, log_delta=0.5, most_steps=20)
    out = result_of(mitigation.apply(model, request, context=context))
    assert out.request.steering is not None and out.request.steering.embedding is not None
    of = lid_of(model, latents, 0.5, by, request.prompt)
    after = of.values(out.request.steering.embedding).detach()
    # Evaluated again on the same draws; a tolerance for nothing but rounding.
    assert bool((after >= target * (1 - 1e-5)).all())


def test_a_image_given_in_advance_spares_drawing_it(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    latents, nfe = result_of(generated_latents(model, request))
    found = []
    for known in (None, latents):
        context = replace(full_context(model), latents=known)
        found.append(
            result_of(LidGuidedEmbedding(most_steps=1).apply(model, request, context=context))
        )
    drew, spared = found
    # Two branches in four steps.
    assert nfe == 8 == drew.nfe - spared.nfe
    assert drew.request.steering is not None and spared.request.steering is not None
    assert drew.request.steering.embedding is not None
    assert spared.request.steering.embedding is not None
    assert torch.equal(drew.request.steering.embedding, spared.request.steering.embedding)


def steered_noise(out: Mitigated) -> Tensor:
    assert out.request.steering is not None and out.request.steering.noise is not None
    return out.request.steering.noise


@KINDS
def test_noise_moves_by_a_finite_difference_along_delta(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    request = request_for(model)
    out = result_of(NoiseAdjustment(strength=1.0).apply(model, request))

    def delta(noise: Tensor) -> Tensor:
        step = next(generate(model, replace(request, steering=Steering(noise=noise))))
        assert step.eps_u is not None
        return step.eps_c - step.eps_u

    start = first_input(model, request)[0]
    here = delta(start)
    # 50 of the length 128 in Stable Diffusion; here the length is sqrt(64) = 8.
    reach = 50 / 128 * 8 * here / here.flatten(1).norm(dim=1)[:, None, None, None]
    expected = start - 0.7 * (delta(start + reach) - here)
    torch.testing.assert_close(steered_noise(out), expected, **CLOSE)
    assert out.nfe == 4
    assert out.request.steering is not None and out.request.steering.guidance_at is not None
    assert [out.request.steering.guidance_at(t) for t in (0.95, 0.9, 0.1)] == [0.0, 3.0, 3.0]


@KINDS
@pytest.mark.parametrize("of", ["embedding", "noise"])
def test_descents_follow_the_slope_of_the_network_itself(
    model_of: ModelOf, kind: str, of: str
) -> None:
    """The gradient along a direction, against the difference of the norm at two ends of it."""
    model = model_of(kind)
    request = request_for(model)
    at, delta = first_step(model, request), delta_of_noise(model, request)
    eps_u = at.eps_u()

    def norms(values: Tensor) -> Tensor:
        if of == "embedding":
            return guidance_norms(at.eps_c(values), eps_u)
        both = delta(values)
        return guidance_norms(both, torch.zeros_like(both))

    start = at.cond if of == "embedding" else at.x_t
    found = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(norms(found).sum(), found)
    # Along the gradient, where the slope is steepest: elsewhere it drowns in float32.
    along = gradient / gradient.norm()
    step = 0.02
    with torch.no_grad():
        slope = (norms(start + step * along) - norms(start - step * along)).sum() / (2 * step)
    # Rounding of norms near 1 is 1e-7 / step; the rest is the third derivative.
    assert float(gradient.norm()) == pytest.approx(float(slope), rel=0.02)


@pytest.mark.parametrize(
    ("kind", "scheduler"), [("tiny", "ddim"), ("tiny", "euler"), ("tiny-v", "ddim")]
)
def test_noise_optimization_lowers_the_norm(model_of: ModelOf, kind: str, scheduler: str) -> None:
    model = model_of(kind)
    request = request_for(model, scheduler=scheduler)
    start = reference_norms(model, request, ("the cat",))
    target = 0.9 * start.min()
    context = MitigationContext(reference_norms=target[None])
    out = result_of(
        NoiseOptimization(rate=0.05, most_steps=60).apply(model, request, context=context)
    )
    step = next(generate(model, out.request))
    assert bool((step.guidance_norm <= target * 1.001).all())
    # What the network sees is what was optimized, whatever the scheduler's own scale.
    _, scale = first_noise(model, request)
    torch.testing.assert_close(step.x_t, steered_noise(out) * scale, **CLOSE)


def without_signal(model: TextToImage) -> TextToImage:
    """Return the model with a schedule that ends in noise alone, sampled from there."""
    table = torch.tensor(model.schedule.alphas_cumprod, dtype=torch.float64).sqrt()
    table = (table - table[-1]) * table[0] / (table[0] - table[-1])
    rescaled = Discrete(tuple(table.square().clamp(min=2**-24).tolist()))
    scheduler = {**model.scheduler, "rescale_betas_zero_snr": True}
    scheduler |= {"timestep_spacing": "trailing"}
    score_model = replace(model.score_model, schedule=rescaled)
    return replace(model, scheduler=scheduler, score_model=score_model)


@pytest.mark.parametrize(
    "name", ["noise_adjustment", "noise_optimization", "embedding_optimization"]
)
@pytest.mark.parametrize("kind", ["tiny-v", "tiny-x0"])
def test_what_goes_by_the_first_guidance_norm_is_refused_where_that_is_0(
    model_of: ModelOf, name: str, kind: str
) -> None:
    """At zero terminal SNR it would change nothing, and say that it had."""
    model = without_signal(model_of(kind))
    with pytest.raises(MMHError, match=r"is not defined for .*zero terminal SNR"):
        result_of(MITIGATIONS[name].apply(model, request_for(model), context=full_context(model)))
    with pytest.raises(MMHError, match="not defined"):
        result_of(guidance_norm_score(model, request_for(model)))
    # Sampled from a step that still sees the image, it is defined.
    leading = replace(model, scheduler={**model.scheduler, "timestep_spacing": "leading"})
    assert result_of(guidance_norm_score(leading, request_for(model))).score > 0.1
    assert float(reference_norms(leading, request_for(model), ("a dog",)).min()) > 0.1
    # The others do not use it.
    result_of(
        MITIGATIONS["static_guidance"].apply(
            model, request_for(model), context=full_context(model)
        )
    )


def test_a_network_that_predicts_noise_has_a_first_guidance_norm_everywhere(
    model_of: ModelOf,
) -> None:
    model = without_signal(model_of("tiny"))
    assert result_of(guidance_norm_score(model, request_for(model))).score > 0.1
