"""The record that detectors see: rows, joins, noise, and the trace of a generation."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.detectors.generation import generated_inputs
from mmh_core.detectors.guidance_norm import GuidanceNorm, GuidanceTrace
from mmh_core.detectors.inputs import (
    DetectorInputs,
    Trace,
    encode,
    noise_inputs,
    per_prompt,
    starting_noise,
)
from mmh_core.detectors.measurement import measure
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import generate, generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling, Steering
from tests.detectors.conftest import SEEDS
from tests.detectors.joined import joined
from tests.detectors.worlds import PROMPTS, kernel, unet_of, world
from tests.text_to_image.conftest import ModelOf

#: Float32 over a dozen steps of sampling.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def test_rows_are_prompt_after_prompt_with_the_same_seeds(early: DetectorInputs) -> None:
    assert early.prompt_index.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert early.noise_index.tolist() == [0, 1, 2] * 4
    assert [group.tolist() for group in early.groups()][1] == [3, 4, 5]
    some = early.rows(torch.tensor([8, 1]))
    assert (some.prompt_index.tolist(), some.noise_index.tolist(), len(some)) == (
        [2, 0],
        [2, 1],
        2,
    )


def test_noise_is_that_of_a_generation(model: TextToImage) -> None:
    """An image drawn from the seed alone starts there."""
    request = Request("", SEEDS, Sampling(3, 2.0, 32, 32))
    first = next(iter(generate(model, request)))
    assert torch.equal(first.x_t, starting_noise(model, SEEDS))


def test_evidence_holds_no_label() -> None:
    """Whoever adds a field has to say here what a detector may see."""
    assert {field.name for field in fields(DetectorInputs)} == {
        *("embeddings", "noise", "prompt_index", "prompts", "noise_index", "trace"),
    }
    assert {field.name for field in fields(Trace)} == {
        *("times", "guidance_norm", "movement", "region", "latents", "images"),
        *("guidance", "nfe"),
    }


def test_prompts_in_another_order_are_scored_alike(model: TextToImage) -> None:
    """No detector sees the place of a prompt in the table, by which labels could leak."""
    detectors = [each for each in DETECTORS.values() if each.name != "attention_entropy"]
    found = []
    for prompts in (PROMPTS, PROMPTS[::-1]):
        part = joined(list(generated_inputs(model, prompts, SEEDS, guidance=2.0, steps=10)))
        found.append((part, measure(model, part, detectors)))
    (one, here), (other, there) = found
    for detector in detectors:
        a, b = here[detector.name].values, there[detector.name].values
        for column in range(a.shape[1]):
            ours, theirs = per_prompt(a[:, column], one), per_prompt(b[:, column], other)
            torch.testing.assert_close(ours, theirs.flip(0), rtol=1e-3, atol=1e-3)


def test_joined_parts_are_the_whole(model: TextToImage, early: DetectorInputs) -> None:
    parts = [noise_inputs(model, encode(model, [text]), SEEDS) for text in PROMPTS]
    whole = joined(parts)
    assert len(whole.noise) == 3 and torch.equal(whole.noise_index, early.noise_index)
    assert torch.equal(whole.embeddings, early.embeddings)
    assert torch.equal(whole.prompt_index, early.prompt_index)
    others = [parts[0], noise_inputs(model, encode(model, ["another"]), (4, 5))]
    apart = joined(others)
    assert torch.equal(apart.noise[apart.noise_index], torch.cat([each.noise for each in others]))


def test_the_mean_of_a_prompt_is_over_its_own_rows(early: DetectorInputs) -> None:
    values = torch.arange(12.0)
    assert per_prompt(values, early).tolist() == [1.0, 4.0, 7.0, 10.0]
    some = per_prompt(values[[0, 2, 11]], early.rows(torch.tensor([0, 2, 11])))
    assert some[[0, 3]].tolist() == [1.0, 11.0]
    assert bool(some[[1, 2]].isnan().all())


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_index": torch.tensor([4]), "noise_index": torch.tensor([0])},
        {"prompt_index": torch.tensor([0]), "noise_index": torch.tensor([-1])},
        {"prompt_index": torch.tensor([0, 1]), "noise_index": torch.tensor([0])},
        {"prompt_index": torch.tensor([]).long(), "noise_index": torch.tensor([]).long()},
    ],
)
def test_evidence_that_does_not_fit_is_refused(
    early: DetectorInputs, change: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(ValueError, match=r"must lie below|needs rows"):
        replace(early, **change)


def test_a_trace_is_what_the_steps_say(model: TextToImage, generated: DetectorInputs) -> None:
    """Row 4 drawn alone by the sampler, its numbers computed from the steps."""
    request = Request("template", (SEEDS[1],), Sampling(12, 2.0, 32, 32))
    steps = list(generate(model, request))
    trace, row = generated.generated(), 4
    path = [step.x_t for step in steps] + [steps[-1].latents]
    moves = [(a - b).norm() for a, b in zip(path[1:], path, strict=False)]
    norms = [step.guidance_norm[0] for step in steps]
    torch.testing.assert_close(trace.movement[row], torch.stack(moves), **CLOSE)
    torch.testing.assert_close(trace.guidance_norm[row], torch.stack(norms), **CLOSE)
    torch.testing.assert_close(trace.latents[row], steps[-1].latents[0], **CLOSE)
    torch.testing.assert_close(trace.images[row], generate_images(model, request)[0], **CLOSE)
    assert trace.times.tolist() == pytest.approx([step.t for step in steps])
    _, sigma = kernel(steps[-1].t)
    delta = steps[-1].eps_c - steps[-1].eps_u
    expected = (delta[0].square().sum(0) / sigma**2).float()
    torch.testing.assert_close(trace.region[row], expected, rtol=1e-3, atol=1e-3)


def test_the_first_norm_of_a_trace_is_the_early_one(
    model: TextToImage, generated: DetectorInputs
) -> None:
    start = generated.generated().times[0].item()
    early = measure(model, generated, [GuidanceNorm(start)])["guidance_norm"].values[:, 0]
    torch.testing.assert_close(early, generated.generated().guidance_norm[:, 0], **CLOSE)


def test_parts_hold_whole_prompts_and_many_seeds_are_split(
    model: TextToImage, generated: DetectorInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmh_core.detectors.inputs._ROWS", 2)
    parts = list(generated_inputs(model, PROMPTS, SEEDS, guidance=2.0, steps=12))
    assert [len(part) for part in parts] == [3, 3, 3, 3]
    ours, whole = joined(parts).generated(), generated.generated()
    for name in ("guidance_norm", "movement", "region", "latents", "images"):
        torch.testing.assert_close(getattr(ours, name), getattr(whole, name), rtol=1e-3, atol=1e-3)
    assert ours.nfe == whole.nfe


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_generation_costs_what_the_network_did(model: TextToImage, guidance: float) -> None:
    """Both branches are read even where guidance needs one."""
    unet = unet_of(model)
    (part,) = generated_inputs(model, ["template"], SEEDS, guidance=guidance, steps=5)
    assert part.generated().nfe == unet.rows / 3 == 10
    assert bool(part.generated().guidance_norm.isfinite().all())


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++ 2m", "pndm"])
def test_traces_of_all_samplers_are_in_the_same_units(scheduler: str) -> None:
    """A path from noise of length about sqrt(D) to an image: no step is longer than both ends."""
    (part,) = generated_inputs(
        world(), ["duplicate"], SEEDS, guidance=1.0, steps=12, scheduler=scheduler
    )
    trace = part.generated()
    reach = part.noise.flatten(1).norm(dim=1) + trace.latents.flatten(1).norm(dim=1)
    assert bool((trace.movement.amax(1) < reach).all())
    assert bool(
        (trace.movement.sum(1) > (trace.latents - part.noise).flatten(1).norm(dim=1)).all()
    )


def test_networks_of_v_leave_the_same_trace(generated: DetectorInputs) -> None:
    v = joined(
        list(generated_inputs(world("v"), PROMPTS, SEEDS, guidance=2.0, steps=12))
    ).generated()
    for name in ("guidance_norm", "movement", "latents"):
        torch.testing.assert_close(
            getattr(v, name), getattr(generated.generated(), name), rtol=2e-3, atol=2e-3
        )


def test_a_real_network_draws_as_ever(model_of: ModelOf) -> None:
    """Images of the adapter are those of a plain request, on a random Stable Diffusion."""
    model = model_of("tiny")
    (part,) = generated_inputs(model, ["the cat"], (5, 6), guidance=3.0, steps=4)
    height, width = model.image_size
    plain = generate_images(model, Request("the cat", (5, 6), Sampling(4, 3.0, height, width)))
    torch.testing.assert_close(part.generated().images, plain, **CLOSE)


def test_what_needs_a_generation_says_so(model: TextToImage, early: DetectorInputs) -> None:
    for name, detector in DETECTORS.items():
        if detector.needs != "noise":
            with pytest.raises(ValueError, match="needs a generation"):
                measure(model, early, [detector])
                pytest.fail(f"{name} answered")


def test_more_steps_than_were_made_are_refused(
    model: TextToImage, generated: DetectorInputs
) -> None:
    mean = measure(model, generated, [GuidanceTrace(5)])["guidance_norm_5"].values[:, 0]
    torch.testing.assert_close(mean, generated.generated().guidance_norm[:, :5].mean(1), **CLOSE)
    with pytest.raises(MMHError, match="needs more than 12 steps"):
        measure(model, generated, [GuidanceTrace(13)])


def test_traces_that_do_not_compare_are_not_joined(
    model: TextToImage, generated: DetectorInputs
) -> None:
    (other,) = generated_inputs(model, ["template"], SEEDS, guidance=3.0, steps=12)
    with pytest.raises(ValueError, match="different steps or guidance"):
        joined([generated, other])
    with pytest.raises(ValueError, match="some were not"):
        joined([generated, replace(other, trace=None)])


def test_a_generation_without_both_branches_leaves_no_trace(model: TextToImage) -> None:
    from mmh_core.detectors.generation import trace

    with pytest.raises(ValueError, match="needs both branches"):
        trace(model, Request("template", SEEDS, Sampling(3, 1.0, 32, 32)))
    steered = Steering(guidance_at=lambda t: 1.0)
    assert (
        trace(model, Request("template", SEEDS, Sampling(3, 1.0, 32, 32), steering=steered)).nfe
        == 6
    )
