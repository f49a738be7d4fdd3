"""LID is a property of an image, and reading it never costs the image."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from mmh_core.dimension import jacobian
from mmh_core.records import MMHError
from mmh_core.report.image_files import metadata_of, png_bytes
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.studies.images.audit import audit_study
from mmh_core.studies.images.lid import LOG_DELTAS, estimate_lid, estimate_lids
from mmh_core.studies.images.lid_passes import FIRST, PROBES, UNPROMPTED, clear_of
from mmh_core.studies.images.run import ImageConfig, ImageRun
from mmh_core.studies.images.study import image_study
from mmh_core.subject.calibration import Calibration
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage, latent_net
from mmh_core.text_to_image.requests import Sampling
from tests.retrieval.drawings import drawings, training_set_of
from tests.text_to_image.conftest import ModelOf

CONFIG = ImageConfig("tiny", ("the cat",), (3,), Sampling(4, 2.0, 32, 32), curve=False, frames=0)
#: Where the LID of the tiny network lies well between 0 and all of its 64 dimensions.
LOG_DELTA = 1.5
#: A batch of another size moves float32's last digits, which 4 steps and 4 products carry on.
SAME = 0.02


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return model_of("tiny")


@pytest.fixture(scope="module")
def training_set() -> TrainingSet:
    return training_set_of(drawings(60, size=32), PixelEmbedder(8))


def last(
    config: ImageConfig,
    model: TextToImage,
    training_set: TrainingSet | None = None,
    normal: ReferencePrompts | None = None,
    log_delta: float | None = LOG_DELTA,
) -> ImageRun:
    found = None
    for progress in image_study(
        config, Subject(model, training_set, Calibration(normal)), log_delta=log_delta
    ):
        found = progress.partial
    assert found is not None
    return found


TWO = replace(CONFIG, seeds=(3, 4), curve=True, frames=2, estimators=("flipd",))


@pytest.fixture(scope="module")
def whole(model: TextToImage, training_set: TrainingSet) -> ImageRun:
    """Return the run of `TWO` in which nothing fails."""
    return last(TWO, model, training_set)


def lids(run: ImageRun) -> dict[tuple[str, int], tuple[float, float]]:
    found = {}
    for one in run.images:
        assert one.lid is not None
        found[one.prompt, one.seed] = (one.lid.conditional, one.lid.unconditional)
    return found


def normal_of(
    model: TextToImage, values: list[float], *, sha256: str | None = None, **changed: Any
) -> ReferencePrompts:
    """Return reference images of these LIDs, by default of the model and its own sampling."""
    usual = Sampling(model.steps, model.guidance, 32, 32)
    return ReferencePrompts(
        model=model.name,
        sha256=model.sha256 if sha256 is None else sha256,
        log_delta=LOG_DELTA,
        log_deltas=torch.tensor(LOG_DELTAS),
        prompts=("a",) * len(values),
        conditional=torch.tensor(values),
        unconditional=torch.tensor(values),
        guidance_norm=torch.zeros(len(values), 5),
        curve=torch.zeros(len(values), len(LOG_DELTAS)),
        sampling=replace(usual, **changed),
    )


@pytest.mark.parametrize(
    ("prompts", "seeds"),
    [
        (("the cat",), (3, 4)),
        (("the cat",), (4, 3)),
        (("the cat",), (9, 8, 7, 3, 6)),
        (("the cat",), tuple(range(12))),
        (("a dog", "the cat"), (3,)),
        (("the cat", "a dog", "日本 cat"), (5, 3)),
        (("the cat", "a"), (3, 2**63 - 1)),
    ],
)
def test_an_image_has_one_lid_in_whatever_company(
    model: TextToImage, prompts: tuple[str, ...], seeds: tuple[int, ...]
) -> None:
    alone = lids(last(CONFIG, model))["the cat", 3]
    among = lids(last(replace(CONFIG, prompts=prompts, seeds=seeds), model))
    assert among["the cat", 3] == pytest.approx(alone, abs=SAME)
    # Other images have others: it is not the probes that are compared.
    assert len({round(value, 2) for value, _ in among.values()}) == len(among)


@pytest.mark.parametrize("seeds", [(3,), (4, 5)])
def test_the_file_of_an_image_has_the_lid_of_its_run(
    model: TextToImage, seeds: tuple[int, ...]
) -> None:
    own = Sampling(model.steps, model.guidance, 32, 32)
    subject = Subject(model, None, Calibration(normal_of(model, [0.0, 1e9])))
    *_, end = image_study(replace(CONFIG, seeds=seeds, sampling=own), subject)
    for image in end.partial.images:
        data = png_bytes(image.image, metadata_of(end.partial, image), image.latents)
        *_, audit = audit_study(data, "the cat", subject)
        assert torch.equal(audit.partial.latents, image.latents)
        read, generated = audit.partial.lid, image.lid
        assert read is not None and generated is not None
        assert read.conditional == pytest.approx(generated.conditional, abs=SAME)
        assert read.unconditional == pytest.approx(generated.unconditional, abs=SAME)


@pytest.mark.parametrize("change", ["other image", "turned", "other shape"])
def test_latents_that_are_not_the_images_are_not_taken(model: TextToImage, change: str) -> None:
    run = last(replace(CONFIG, seeds=(3, 4)), model)
    image, other = run.images
    latents = {
        "other image": other.latents,
        "turned": image.latents.flip(2),
        "other shape": image.latents[:, :2],
    }[change]
    data = png_bytes(image.image, metadata_of(run, image), latents)
    *_, end = audit_study(data, "the cat", Subject(model))
    expected = model.encode(image.image[None].float() / 255)[0]
    torch.testing.assert_close(end.partial.latents, expected)


def test_an_audited_file_is_read_with_the_probes_of_the_run(model: TextToImage) -> None:
    run = last(CONFIG, model)
    file = io.BytesIO()
    Image.fromarray(run.images[0].image.permute(1, 2, 0).numpy()).save(file, "PNG")
    normal = normal_of(model, [0.0, 1e9])
    *_, end = audit_study(file.getvalue(), "the cat", Subject(model, None, Calibration(normal)))
    found = end.partial
    assert found.lid is not None and found.lid.log_delta == LOG_DELTA
    # At the latents of the file, which are not those of the run: eight bits, and the autoencoder.
    cond = model.encode_text(["the cat"])
    again = estimate_lid(
        model,
        found.latents[None],
        cond,
        LOG_DELTA,
        prompt="the cat",
        images=found.image[None],
        levels=[normal.lid_threshold(), normal.highest_lid()],
    )
    assert found.lid.conditional == pytest.approx(float(again.lid[0]), abs=SAME)
    assert found.lid.percentile == 0.5


@pytest.mark.parametrize(
    "changed",
    [
        {"guidance": 1.0},
        {"steps": 3},
        {"scheduler": "euler"},
        {"height": 64},
        {"width": 16},
        {"sha256": "0" * 64},
    ],
)
def test_an_audit_compares_with_normal_prompts_of_the_models_own_settings_only(
    model: TextToImage, changed: dict[str, Any]
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "PNG")
    normal = normal_of(model, [1e9, 1e9], **changed)
    *_, end = audit_study(file.getvalue(), "", Subject(model, None, Calibration(normal)))
    lid = end.partial.lid
    assert lid is not None and math.isnan(lid.percentile)
    assert end.partial.verdict == "cannot be judged"


def test_images_near_the_level_of_a_verdict_have_all_probes_and_others_few(
    model: TextToImage,
) -> None:
    config = replace(CONFIG, seeds=(3, 4, 5))
    run = last(config, model)
    values = [one.lid.conditional for one in run.images if one.lid is not None]
    assert [one.lid and one.lid.probes for one in run.images] == [PROBES] * 3
    *_, few = estimate_lids(model, run.images, LOG_DELTA, settled=clear_of([1e3]))
    near = few[0].conditional
    cases = [
        ([-1e3], FIRST),
        ([1e3, -1e3, math.nan], FIRST),
        ([near], PROBES),
        ([1e3, near], PROBES),
        ([math.nan], PROBES),
        ([], PROBES),
    ]
    for levels, draws in cases:
        *_, found = estimate_lids(model, run.images, LOG_DELTA, settled=clear_of(levels))
        assert (found[0].probes, found[0].unconditional_probes) == (draws, UNPROMPTED)
        for one, value in zip(found, values, strict=True):
            low, high = one.interval
            assert low < one.conditional < high
            # What was decided by fewer probes is the same to within what it says itself.
            assert abs(one.conditional - value) < max(high - low, SAME)
            if one.probes == PROBES:
                assert one.conditional == pytest.approx(value, abs=SAME)


# One latent alone, 8 x 8 here or 16 x 16 after one halving, is no size that a group norm takes.
SIZES = [(16, 32), (48, 32), (80, 16), (24, 40), (64, 64)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_size_is_read_end_to_end(
    model: TextToImage, training_set: TrainingSet, height: int, width: int
) -> None:
    config = replace(
        CONFIG,
        curve=True,
        frames=2,
        sampling=replace(CONFIG.sampling, height=height, width=width, steps=2),
    )
    config = replace(config, estimators=("flipd", "dsm"))
    calibrated = replace(training_set, log_delta=LOG_DELTA)
    run = last(config, model, calibrated, normal_of(model, [1.0]), log_delta=None)
    (one,) = run.images
    factor = model.factor
    assert run.state == "complete" and one.image.shape == (3, height, width)
    assert one.latents.shape[1:] == (height // factor, width // factor)
    assert len(one.lids) == 3 and one.copy is not None and len(one.neighbors)
    numbers = [one.curve, one.curve_error, one.guidance_norm, one.region]
    numbers += [torch.tensor([lid.conditional, lid.unconditional]) for lid in one.lids]
    assert all(bool(values.isfinite().all()) for values in numbers), run.missing
    assert 0 <= one.lids[0].conditional <= one.latents.numel() + 1
    assert math.isnan(one.lids[0].percentile)
    # The tiny model has 32 x 32 of its own.
    assert [f"{height} x {width}" in said for said in run.missing] == [True]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_file_of_any_size_is_audited(model: TextToImage, height: int, width: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "blue").save(file, "PNG")
    *_, end = audit_study(file.getvalue(), "a dog", Subject(model))
    assert end.partial.lid is not None and math.isfinite(end.partial.lid.conditional)


def failing(model: TextToImage, failure: Exception, after: int) -> TextToImage:
    """Return the model whose LID fails after so many forward passes; it generates as ever."""
    net, calls = model.score_model.net, [0]

    def broken(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        # Generation asks with what the network has said already, and not through this.
        calls[0] += 1
        if calls[0] > after:
            raise failure
        return net(x_t, t, cond)

    return replace(model, score_model=replace(model.score_model, net=broken))


FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    MemoryError(),
    ValueError("log_delta must lie between -2 and 2."),
    MMHError("The network returned numbers that are not finite at this noise scale."),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_whatever_fails_in_lid_the_images_are_kept_and_it_is_said(
    model: TextToImage,
    training_set: TrainingSet,
    whole: ImageRun,
    failure: Exception,
    after: int,
) -> None:
    run = last(TWO, failing(model, failure, after), training_set)
    assert run.state == "complete" and len(run.images) == 2
    for one, other in zip(run.images, whole.images, strict=True):
        assert torch.equal(one.image, other.image) and len(one.frames) == 2
        assert one.copy is not None and one.verdict != "not read yet"
    assert run.missing and "images are kept" in run.missing[0]
    assert (str(failure).rstrip(".") or "MemoryError") in run.missing[0]
    if not after:
        assert run.images[0].lid is None or math.isnan(run.images[0].lid.conditional)
        assert "LID could not be estimated" in run.images[0].reason


def test_what_fails_in_the_search_or_in_a_later_image_keeps_the_rest(
    model: TextToImage, training_set: TrainingSet
) -> None:
    def broken(row: int) -> Tensor:
        raise MMHError("The training image is gone: build the index again.")

    run = last(CONFIG, model, replace(training_set, image=broken))
    assert run.images[0].lid is not None and run.images[0].copy is None
    assert "The training image is gone" in run.missing[0]

    decoded = [0]
    kind = type(model.autoencoder)

    class Breaking(kind):  # type: ignore[misc, valid-type]
        def decode(self, *args: object, **kwargs: object) -> object:
            decoded[0] += 1
            if decoded[0] > 1:
                raise RuntimeError("out of memory")
            return super().decode(*args, **kwargs)

    breaking = copy.copy(model.autoencoder)
    breaking.__class__ = Breaking
    config = replace(CONFIG, prompts=("the cat", "a dog"))
    run = last(config, replace(model, autoencoder=breaking), training_set)
    assert run.state == "stopped" and [one.prompt for one in run.images] == ["the cat"]
    assert run.missing[-1].startswith("Only 1 of 2 images could be generated")


def test_an_estimator_that_cannot_read_a_size_is_refused_before_generation(
    model: TextToImage,
) -> None:
    config = replace(
        CONFIG,
        estimators=("spectral_count",),
        sampling=replace(CONFIG.sampling, height=512, width=512),
    )
    with pytest.raises(MMHError, match=r"at most 4,096 dimensions .* 16,384"):
        next(image_study(config, Subject(model)))


def test_a_stop_reaches_between_the_passes_of_the_network(
    model: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As for a large network, of which one row fills a pass.
    monkeypatch.setattr(jacobian, "_IN_FLIGHT", 1)
    config = replace(
        CONFIG,
        curve=True,
        sampling=replace(CONFIG.sampling, steps=1),
    )
    messages = [p.message for p in image_study(config, Subject(model), log_delta=LOG_DELTA)]
    # One probe at a time, with the prompt and without it, and one for each scale and probe.
    assert messages.count("Searching copies, estimating LID") >= PROBES + UNPROMPTED
    assert messages.count("Estimating LID over the noise scales") >= FIRST * len(LOG_DELTAS)


@pytest.mark.parametrize("seeds", [9, 16, 20])
def test_many_images_come_in_parts(model: TextToImage, seeds: int) -> None:
    config = replace(
        CONFIG,
        seeds=tuple(range(seeds)),
        sampling=replace(CONFIG.sampling, height=64, width=64, steps=1),
    )
    counts = [len(p.partial.images) for p in image_study(config, Subject(model))]
    assert sorted(set(counts)) == [*range(0, seeds, 8), seeds]


def half(model: TextToImage, kind: torch.dtype) -> TextToImage:
    unet = copy.deepcopy(model.unet).to(kind)
    net = latent_net(unet, model.schedule, model.unconditional)
    return replace(model, score_model=replace(model.score_model, net=net))


@pytest.mark.filterwarnings("ignore:There are modules")
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_weights_read_nearly_what_float32_reads(
    model: TextToImage, kind: torch.dtype
) -> None:
    run = last(replace(CONFIG, seeds=(3, 4)), model)
    latents = torch.stack([one.latents for one in run.images])
    cond = model.encode_text(["the cat"]).expand(2, -1, -1)
    images = torch.stack([one.image for one in run.images])
    found = estimate_lid(
        half(model, kind), latents, cond, LOG_DELTA, prompt="the cat", images=images
    )
    assert found.probes == PROBES
    for i, seed in enumerate((3, 4)):
        # Eight bits of mantissa, averaged over 64 dimensions.
        assert float(found.lid[i]) == pytest.approx(lids(run)["the cat", seed][0], abs=0.5)
