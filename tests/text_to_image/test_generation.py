"""Generation against diffusers' pipeline and against the laws of its records."""

from __future__ import annotations

import json
import math
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import SCHEDULERS, generate, generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.pixels import to_pil
from mmh_core.text_to_image.requests import Request, Sampling, SchedulerName, Steering
from mmh_core.text_to_image.stable_diffusion import load
from tests.text_to_image.conftest import FolderOf, ModelOf
from tests.text_to_image.pipelines import IMAGE_TOLERANCE, SEEDS, plain_pipeline, request_for


@cache
def loaded(folder: Path) -> Any:
    """Return diffusers' pipeline of a folder that no test writes to, read once."""
    return plain_pipeline(folder)


def pipeline_of(folder: Path, scheduled: Path | None = None) -> Any:
    """Return a pipeline of the same networks with its own scheduler, or that of another folder."""
    pipeline = copy(loaded(folder))
    kind = type(pipeline.scheduler)
    pipeline.scheduler = kind.from_pretrained(scheduled or folder, subfolder="scheduler")
    return pipeline


def plain_images(pipeline: Any, request: Request, output: str = "pt") -> Any:
    """Return diffusers' own images for a request."""
    import diffusers

    kind = getattr(diffusers, SCHEDULERS[request.sampling.scheduler])
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    return pipeline(
        request.prompt,
        negative_prompt=request.sampling.negative or None,
        height=request.sampling.height,
        width=request.sampling.width,
        num_inference_steps=request.sampling.steps,
        guidance_scale=request.sampling.guidance,
        num_images_per_prompt=len(request.seeds),
        generator=[torch.Generator().manual_seed(seed) for seed in request.seeds],
        output_type=output,
    ).images


def assert_alike(ours: Tensor, theirs: Tensor) -> None:
    """Assert that images are those of diffusers, but for the order of sums."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=IMAGE_TOLERANCE)


def assert_apart(one: Tensor, other: Tensor) -> None:
    """Assert that images differ by far more than the order of sums."""
    assert float((one - other).abs().max()) > 20 * IMAGE_TOLERANCE


@pytest.mark.parametrize(
    ("kind", "scheduler"),
    [
        *((kind, scheduler) for kind in ("tiny", "sd15", "sd21") for scheduler in SCHEDULERS),
        ("tiny-v", "ddim"),
        ("tiny-x0", "ddim"),
        ("tiny-x0", "dpm++ 2m"),
    ],
)
def test_images_are_those_of_diffusers(
    folder_of: FolderOf, model_of: ModelOf, kind: str, scheduler: SchedulerName
) -> None:
    model, pipeline = model_of(kind), pipeline_of(folder_of(kind))
    request = request_for(model, scheduler=scheduler)
    expected = plain_images(pipeline, request)
    assert expected.std() > 0.05
    assert_alike(generate_images(model, request), expected)


@pytest.mark.parametrize(
    "changes",
    [
        *({"guidance": scale} for scale in (1.0, 0.0, 0.5, -2.0, 1.5, 30.0)),
        {"guidance": 0.0, "scheduler": "euler", "steps": 2},
        {"guidance": 0.7, "scheduler": "pndm"},
        {"guidance": 0.0, "negative": "a dog"},
        {"negative": "a dog"},
        {"seeds": (5,)},
        {"height": 64, "width": 48},
        {"steps": 1},
        {"steps": 2, "scheduler": "euler"},
        {"steps": 2, "scheduler": "dpm++ 2m"},
        {"steps": 5, "scheduler": "pndm"},
    ],
    ids=str,
)
def test_images_of_other_requests_are_those_of_diffusers(
    folder_of: FolderOf, model_of: ModelOf, changes: dict[str, Any]
) -> None:
    model = model_of("tiny")
    request = request_for(model, **changes)
    expected = plain_images(pipeline_of(folder_of("tiny")), request)
    assert_alike(generate_images(model, request), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"negative": "a dog"},
        {"prompt": "the cats"},
        {"seeds": (3, 8)},
        {"steps": 5},
        {"guidance": 3.2},
        *({"scheduler": name} for name in ("euler", "dpm++ 2m", "pndm")),
    ],
    ids=str,
)
def test_the_tolerance_tells_requests_apart(model_of: ModelOf, changes: dict[str, Any]) -> None:
    """Whatever a request says moves an image twenty times as far as kernels may."""
    model = model_of("tiny")
    request = request_for(model)
    assert_apart(
        generate_images(model, request_for(model, **changes)), generate_images(model, request)
    )


def test_saved_images_are_those_of_diffusers(folder_of: FolderOf, model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    theirs = plain_images(pipeline_of(folder_of("tiny")), request, output="pil")
    for ours, image in zip(to_pil(generate_images(model, request)), theirs, strict=True):
        apart = np.abs(np.asarray(ours, dtype=int) - np.asarray(image, dtype=int))
        # A value halfway between two levels may fall to either side.
        assert apart.max() <= 1 and (apart > 0).mean() < 0.05


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
def test_each_record_holds_what_the_model_says_there(
    model_of: ModelOf, kind: str, scheduler: SchedulerName
) -> None:
    """Of `x_t`, `t`, the two predictions, their distance and the image they aim at."""
    model = model_of(kind)
    cond = model.encode_text(["the cat"]).expand(len(SEEDS), -1, -1)
    steps = list(generate(model, request_for(model, scheduler=scheduler)))
    assert [step.index for step in steps] == list(range(1, steps[0].steps + 1))
    for step in steps:
        assert step.eps_u is not None
        # Float32 sums in another order, over a batch of another size; relative to values near 1.
        close = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(
            step.eps_c, model.score_model.eps(step.x_t, step.t, cond), **close
        )
        torch.testing.assert_close(step.eps_u, model.score_model.eps(step.x_t, step.t), **close)
        delta = step.eps_c - step.eps_u
        norm = delta.square().sum(dim=(1, 2, 3)).sqrt()
        torch.testing.assert_close(step.guidance_norm, norm)
        time = torch.tensor(step.t, dtype=torch.float64)
        alpha, sigma = model.schedule.alpha(time), model.schedule.sigma(time)
        rebuilt = alpha * step.x0_hat + sigma * (step.eps_u + 3 * delta)
        # Where alpha is small, x0_hat is large and the sum cancels: float32 leaves 1e-4 of it.
        torch.testing.assert_close(rebuilt.float(), step.x_t, rtol=1e-3, atol=1e-3)


def test_the_last_euler_step_lands_on_the_image_it_aims_at(model_of: ModelOf) -> None:
    """Its noise falls to 0, so its state is `x0_hat`: which ties the records to the samples."""
    model = model_of("tiny")
    last = list(generate(model, request_for(model, scheduler="euler")))[-1]
    # Euler's last noise scale is the table's first entry, known to float32.
    torch.testing.assert_close(last.latents, last.x0_hat, rtol=1e-3, atol=1e-3)


def test_guidance_one_spares_the_second_branch(model_of: ModelOf) -> None:
    model = model_of("tiny")
    rows: list[int] = []
    hook = model.unet.register_forward_hook(lambda net, given, out: rows.append(len(given[0])))
    try:
        steps = list(generate(model, request_for(model, guidance=1.0)))
        list(generate(model, request_for(model, guidance=2.0)))
    finally:
        hook.remove()
    assert rows == [2] * 4 + [4] * 4
    assert all(step.eps_u is None for step in steps)
    assert all(math.isnan(norm) for step in steps for norm in step.guidance_norm.tolist())


@pytest.mark.parametrize("scale", [0.0, 0.5, -1.0])
def test_guidance_below_one_is_none_and_heeds_the_prompt(model_of: ModelOf, scale: float) -> None:
    """Turbo models are sampled so, as their cards say."""
    model = model_of("tiny")
    request = request_for(model, guidance=scale)
    assert torch.equal(
        generate_images(model, request),
        generate_images(model, replace(request, sampling=replace(request.sampling, guidance=1.0))),
    )
    assert_apart(
        generate_images(model, request), generate_images(model, replace(request, prompt="a dog"))
    )


def test_a_seed_starts_from_the_same_noise_in_any_company(model_of: ModelOf) -> None:
    model = model_of("tiny")
    both = next(generate(model, request_for(model)))
    alone = next(generate(model, request_for(model, seeds=SEEDS[1:])))
    assert torch.equal(both.x_t[1:], alone.x_t)
    assert not torch.equal(both.x_t[:1], alone.x_t)


def test_who_stops_listening_stops_the_work(model_of: ModelOf) -> None:
    model = model_of("tiny")
    calls: list[None] = []
    hook = model.unet.register_forward_hook(lambda net, given, out: calls.append(None))
    try:
        steps = generate(model, request_for(model, steps=10))
        next(steps)
        next(steps)
        steps.close()  # type: ignore[attr-defined]
    finally:
        hook.remove()
    assert len(calls) == 2


def test_two_generations_at_once_do_not_disturb_one_another(model_of: ModelOf) -> None:
    """Schedulers with a memory, PNDM above all, would mix if they were shared."""
    model = model_of("tiny")
    requests = [request_for(model, scheduler="pndm", seeds=(seed,)) for seed in SEEDS]
    alone = [[step.latents for step in generate(model, request)] for request in requests]
    pairs = zip(*(generate(model, request) for request in requests), strict=True)
    together = [[step.latents for step in steps] for steps in zip(*pairs, strict=True)]
    for separate, mixed in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(separate, mixed, strict=True))


def test_steering_with_what_the_request_says_changes_nothing(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model, negative="a dog")
    noise = [
        torch.randn(1, *model.score_model.shape, generator=torch.Generator().manual_seed(seed))
        for seed in SEEDS
    ]
    steering = Steering(
        embedding=model.encode_text(["the cat"]),
        negative_embedding=model.encode_text(["a dog"]),
        noise=torch.cat(noise),
        guidance_at=lambda t: 3.0,
    )
    blank = Request("", SEEDS, Sampling(4, 1.0, request.sampling.height, request.sampling.width))
    assert torch.equal(
        generate_images(model, replace(blank, steering=steering)), generate_images(model, request)
    )


def test_one_embedding_per_image_steers_each_by_its_own(model_of: ModelOf) -> None:
    model = model_of("tiny")
    embedding = model.encode_text(["the cat", "a dog"])
    mixed = next(generate(model, request_for(model, steering=Steering(embedding=embedding))))
    for row, prompt in enumerate(["the cat", "a dog"]):
        single = next(generate(model, request_for(model, prompt=prompt)))
        torch.testing.assert_close(mixed.eps_c[row], single.eps_c[row], rtol=1e-4, atol=1e-4)


def test_guidance_follows_a_schedule_over_time(model_of: ModelOf) -> None:
    model = model_of("tiny")
    seen: list[float] = []

    def late(t: float) -> float:
        seen.append(t)
        return 0.0 if t > 0.5 else 3.0

    steps = list(generate(model, request_for(model, steering=Steering(guidance_at=late))))
    assert seen == [step.t for step in steps]
    assert seen == sorted(seen, reverse=True)
    never = Steering(guidance_at=lambda t: 0.0)
    free = list(generate(model, request_for(model, steering=never)))
    for step, unguided in zip(steps, free, strict=True):
        # The first step below one half still starts from the common state.
        assert torch.equal(step.x_t, unguided.x_t) == (step.index <= 3)
    assert not torch.equal(steps[-1].latents, free[-1].latents)


def test_steering_of_a_wrong_shape_is_refused(model_of: ModelOf) -> None:
    model = model_of("tiny")
    short = Steering(embedding=model.unconditional[:, 1:])
    with pytest.raises(ValueError, match="An embedding must be"):
        generate_images(model, request_for(model, steering=short))
    three = Steering(embedding=model.unconditional.expand(3, -1, -1))
    with pytest.raises(ValueError, match="1 or 2"):
        generate_images(model, request_for(model, steering=three))
    with pytest.raises(ValueError, match="noise must be"):
        generate_images(
            model, request_for(model, steering=Steering(noise=torch.zeros(1, 4, 4, 4)))
        )


@pytest.mark.parametrize(
    ("scheduler", "steps"), [("ddim", 1000), ("euler", 1000), ("dpm++ 2m", 999), ("pndm", 1000)]
)
def test_more_steps_than_were_trained_are_refused(
    model_of: ModelOf, scheduler: SchedulerName, steps: int
) -> None:
    model = model_of("tiny")
    with pytest.raises(MMHError, match=f"{steps} steps do not fit .* at most 998"):
        next(generate(model, request_for(model, scheduler=scheduler, steps=steps)))
    next(generate(model, request_for(model, scheduler=scheduler, steps=998)))


def test_fewer_trained_steps_allow_fewer(own_folder: Path) -> None:
    path = own_folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_train_timesteps": 100}))
    model = load(own_folder)
    assert next(generate(model, request_for(model, steps=98))).steps == 98
    with pytest.raises(MMHError, match=r"150 steps do not fit into the 100 .* at most 98"):
        next(generate(model, request_for(model, steps=150)))


def test_pndm_is_refused_where_diffusers_cannot_run_it(model_of: ModelOf) -> None:
    model = model_of("tiny-x0")
    with pytest.raises(MMHError, match="choose another scheduler"):
        generate_images(model, request_for(model, scheduler="pndm"))
    model = model_of("tiny")
    with pytest.raises(MMHError, match="at least 4 steps"):
        generate_images(model, request_for(model, scheduler="pndm", steps=3))


def test_no_graph_is_kept_even_for_an_embedding_that_asks_for_one(model_of: ModelOf) -> None:
    model = model_of("tiny")
    embedding = model.unconditional.clone().requires_grad_()
    step = next(generate(model, request_for(model, steering=Steering(embedding=embedding))))
    assert not step.eps_c.requires_grad
    assert torch.is_grad_enabled()


def with_scheduler(folder: Path, **settings: Any) -> TextToImage:
    """Load a pipeline whose scheduler has other settings."""
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return load(folder)


ZERO_SNR = {
    "rescale_betas_zero_snr": True,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++ 2m"])
def test_images_at_zero_terminal_snr_are_those_of_diffusers(
    own_folder: Path, folder_of: FolderOf, scheduler: SchedulerName
) -> None:
    model = with_scheduler(own_folder, **ZERO_SNR)
    assert model.schedule.alphas_cumprod[-1] < 1e-7
    request = request_for(model, scheduler=scheduler)
    expected = plain_images(pipeline_of(folder_of("tiny"), own_folder), request)
    assert_alike(generate_images(model, request), expected)


@pytest.mark.parametrize(
    ("settings", "refused", "flag"),
    [
        (ZERO_SNR, "pndm", "rescale_betas_zero_snr"),
        ({"rescale_betas_zero_snr": True}, "pndm", "rescale_betas_zero_snr"),
        ({"thresholding": True}, "pndm", "thresholding"),
        ({"thresholding": True}, "euler", "thresholding"),
    ],
)
def test_a_scheduler_that_drops_a_setting_of_the_model_is_refused(
    own_folder: Path, settings: dict[str, Any], refused: SchedulerName, flag: str
) -> None:
    model = with_scheduler(own_folder, **settings)
    sentence = f"The scheduler {refused} does not know {flag}, .* trained: choose another, .*ddim"
    with pytest.raises(MMHError, match=sentence) as caught:
        next(generate(model, request_for(model, scheduler=refused)))
    for offered in str(caught.value).split("such as ")[1].rstrip(".").split(" or "):
        next(generate(model, request_for(model, scheduler=offered)))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_schedule": "linear"},
        {"beta_end": 0.02},
        {"num_train_timesteps": 500},
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "linspace"},
        {"set_alpha_to_one": True},
        {"trained_betas": [0.001 + 0.00002 * i for i in range(1000)]},
    ],
    ids=lambda settings: str(settings)[:40],
)
@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_images_under_other_settings_of_the_scheduler_are_those_of_diffusers(
    own_folder: Path, folder_of: FolderOf, settings: dict[str, Any], scheduler: SchedulerName
) -> None:
    model = with_scheduler(own_folder, **settings)
    request = request_for(model, scheduler=scheduler, steps=5)
    expected = plain_images(pipeline_of(folder_of("tiny"), own_folder), request)
    assert_alike(generate_images(model, request), expected)
