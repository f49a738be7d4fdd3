"""Work that can be stopped: inside every mitigation, after about one network evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mmh_core.mitigations.attribution import attribute
from mmh_core.mitigations.catalogue import MITIGATIONS
from mmh_core.mitigations.interface import (
    LidBy,
    MitigationContext,
    RequestScore,
    Work,
    reporting,
    result_of,
    without_work,
)
from mmh_core.mitigations.lid_guided_embedding import LidGuidedEmbedding
from mmh_core.mitigations.lid_loss import generated_latents, reference_lids
from mmh_core.mitigations.objectives import DRAWS
from mmh_core.text_to_image.model import TextToImage, latent_net
from mmh_core.text_to_image.requests import Request
from tests.mitigations.conftest import ModelOf, full_context, request_for


class Counted(nn.Module):
    """A network that counts how often it is evaluated."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.evaluations = unet, 0

    def forward(self, *context: Any, **named: Any) -> Any:
        self.evaluations += 1
        return self.unet(*context, **named)


def counted(model: TextToImage) -> tuple[TextToImage, Counted]:
    unet = Counted(model.unet)
    net = latent_net(unet, model.schedule, model.unconditional)
    return replace(model, unet=unet, score_model=replace(model.score_model, net=net)), unet


def everything(model: TextToImage) -> MitigationContext:
    """Return all that a mitigation may use, with scans that generate and never are satisfied."""
    context = full_context(model)
    request = request_for(model)

    def lids(by: LidBy, log_delta: float) -> Work[torch.Tensor]:
        prompts = ("a dog", "the dog")
        found = yield from reference_lids(model, request, prompts, by=by, log_delta=log_delta)
        return found + 1e6

    def detector(request: Request) -> Work[RequestScore]:
        _, nfe = yield from generated_latents(model, request)
        return RequestScore(1.0, nfe)

    return replace(context, reference_lids=lids, detector=detector, threshold=-2.0)


@pytest.mark.parametrize("name", list(MITIGATIONS))
def test_every_mitigation_stops_within_about_one_network_evaluation(
    model_of: ModelOf, name: str
) -> None:
    model, unet = counted(model_of("tiny"))
    context = everything(model)
    chosen = MITIGATIONS[name]
    most = {"raise_lid": DRAWS, "automatic_chain": DRAWS}.get(name, 2)
    before, longest, stops = 0, 0, 0
    work = chosen.apply(model, request_for(model), context=context)
    for _ in work:
        longest, before = max(longest, unet.evaluations - before), unet.evaluations
        stops += 1
    longest = max(longest, unet.evaluations - before)
    assert longest <= most and stops >= unet.evaluations / most
    if name in ("automatic_chain", "rewrite", "raise_lid", "sparse_repellency"):
        assert unet.evaluations >= 8
    # Stopped anywhere, it leaves neither a context nor anything running behind.
    for after in {0, stops // 2}:
        work = chosen.apply(model, request_for(model), context=everything(model))
        for number, _ in enumerate(work):
            assert torch.is_grad_enabled()
            if number == after:
                break
        work.close()
        now = unet.evaluations
        with pytest.raises(StopIteration):
            next(work)
        assert unet.evaluations == now and torch.is_grad_enabled()


@pytest.mark.parametrize("by", ["guidance norm", "flipd", "denoising loss", "random"])
def test_an_attribution_can_be_stopped(model_of: ModelOf, by: Any) -> None:
    model, unet = counted(model_of("tiny"))
    longest, before = 0, 0
    for _ in attribute(model, request_for(model), by, context=full_context(model)):
        longest, before = max(longest, unet.evaluations - before), unet.evaluations
    assert max(longest, unet.evaluations - before) <= DRAWS


def test_stopping_and_going_on_give_what_running_through_gives(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)

    def out(*, grad: bool) -> torch.Tensor:
        with torch.set_grad_enabled(grad):
            work = LidGuidedEmbedding(most_steps=2).apply(
                model, request, context=everything(model)
            )
            found = result_of(work)
        assert found.request.steering is not None and found.request.steering.embedding is not None
        return found.request.steering.embedding

    # Whoever listens may have switched gradients off: that is no affair of the mitigation's.
    torch.testing.assert_close(out(grad=True), out(grad=False))


def test_what_is_reported_while_work_goes_on_is_the_same() -> None:
    def work() -> Work[int]:
        yield
        yield
        return 7

    def outer() -> Iterator[object]:
        found = yield from reporting(work(), "going on")
        yield found

    assert list(outer()) == ["going on"] * 3 + [7]
    assert (result_of(work()), result_of(without_work("now"))) == (7, "now")
