"""The push off the nearest training image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmh_core.mitigations.anti_memorization import AntiMemorizationGuidance, Dissimilarity
from mmh_core.mitigations.interface import NO_CONTEXT, result_of
from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.text_to_image.generation import generate, generate_images
from mmh_core.text_to_image.model import TextToImage
from tests.mitigations.conftest import ModelOf, full_context, request_for

KINDS = pytest.mark.parametrize("kind", ["tiny", "tiny-v"])


def push_for(model: TextToImage, weight: float, threshold: float) -> Dissimilarity:
    context = full_context(model)
    assert context.index is not None and context.embedder is not None
    return Dissimilarity(model, context.index, context.embedder, weight, threshold)


def similarity(push: Dissimilarity, latents: Tensor) -> Tensor:
    with torch.no_grad():
        described = push.embedder(push.model.decode(latents)).numpy()
    return torch.from_numpy((described @ push.index.vectors.T).max(axis=1))


def latents() -> Tensor:
    return torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(5))


def test_a_push_lands_on_the_threshold_to_first_order(model_of: ModelOf) -> None:
    model = model_of("tiny")
    start = similarity(push_for(model, 1.0, 0.0), latents())
    # Close above the threshold the similarity is linear: the rest of the way is of second order.
    for row in range(3):
        push = push_for(model, 1.0, float(start[row]) - 1e-3)
        after = similarity(push, push.corrected(latents()[row : row + 1]))
        assert float(start[row] - after[0]) == pytest.approx(1e-3, rel=0.2)
        twice = replace(push, weight=2.0)
        after = similarity(twice, twice.corrected(latents()[row : row + 1]))
        assert float(start[row] - after[0]) == pytest.approx(2e-3, rel=0.2)


def test_what_is_below_the_threshold_is_left_alone(model_of: ModelOf) -> None:
    model = model_of("tiny")
    start = similarity(push_for(model, 1.0, 0.0), latents())
    # Between two similarities, since rounding decides on which side one of them lies.
    threshold = float(start.sort().values[1:].mean())
    push = push_for(model, 1.0, threshold)
    moved = (push.corrected(latents()) != latents()).flatten(1).any(1)
    assert moved.tolist() == (start > threshold).tolist()
    assert moved.sum() == 1


def test_a_push_has_a_longest_length(model_of: ModelOf) -> None:
    push = push_for(model_of("tiny"), 1e9, -1.0)
    lengths = (push.corrected(latents()) - latents()).flatten(1).norm(dim=1)
    # Half the length of 64 standard normal numbers.
    torch.testing.assert_close(lengths, torch.full((3,), 4.0), rtol=1e-4, atol=0.0)


@KINDS
def test_nothing_similar_nothing_changed(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    request = request_for(model)
    out = result_of(
        AntiMemorizationGuidance(threshold=1.1).apply(model, request, context=full_context(model))
    )
    assert torch.equal(generate_images(model, out.request), generate_images(model, request))


@KINDS
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_each_step_aims_at_the_pushed_image(model_of: ModelOf, kind: str, guidance: float) -> None:
    """In the record of a step, `x0_hat` is what the corrected output aims at."""
    model = model_of(kind)
    request = request_for(model, guidance=guidance)
    push = push_for(model, 1.0, -0.5)
    out = result_of(
        AntiMemorizationGuidance(threshold=-0.5).apply(model, request, context=full_context(model))
    )
    for step in generate(model, out.request):
        assert step.eps_u is not None
        eps = step.eps_u + guidance * (step.eps_c - step.eps_u)
        time = torch.tensor(step.t, dtype=torch.float64)
        alpha, sigma = float(model.schedule.alpha(time)), float(model.schedule.sigma(time))
        aimed = push.corrected((step.x_t - sigma * eps) / alpha)
        # Where alpha is small x0_hat is large and its rounding with it.
        torch.testing.assert_close(step.x0_hat, aimed, rtol=1e-2, atol=2e-2)
        assert (step.x0_hat - (step.x_t - sigma * eps) / alpha).abs().max() > 0.1


def test_without_an_index_or_with_anothers_it_is_refused(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    with pytest.raises(MMHError, match="needs an index of the training images"):
        result_of(AntiMemorizationGuidance().apply(model, request, context=NO_CONTEXT))
    context = full_context(model)
    assert context.index is not None
    other = replace(context, index=replace(context.index, digest="other"))
    assert isinstance(context.embedder, PixelEmbedder)
    with pytest.raises(MMHError, match="another embedder"):
        result_of(AntiMemorizationGuidance().apply(model, request, context=other))


def test_the_usual_threshold_is_a_margin_below_a_copy(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = replace(full_context(model), copy_similarity=-0.5)
    usual = result_of(AntiMemorizationGuidance().apply(model, request_for(model), context=context))
    stated = result_of(
        AntiMemorizationGuidance(threshold=-0.55).apply(
            model, request_for(model), context=full_context(model)
        )
    )
    assert torch.equal(
        generate_images(model, usual.request), generate_images(model, stated.request)
    )
    assert "exceeded -0.55." in usual.explanation
