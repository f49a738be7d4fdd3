"""The image study on a tiny random model, with a training set into which a copy is planted."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from mmh_core.dimension.estimators import DEFAULT_ESTIMATOR
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.spectral import soft_spectral_count
from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.training_images import training_images
from mmh_core.studies.detection.reference_prompts import reference_study
from mmh_core.studies.images.audit import audit_study, fitted
from mmh_core.studies.images.lid import LOG_DELTAS, UNCALIBRATED
from mmh_core.studies.images.lid_passes import PROBES, PRODUCTS, UNPROMPTED
from mmh_core.studies.images.run import (
    ImageConfig,
    ImageResult,
    ImageRun,
)
from mmh_core.studies.images.study import checked, image_study
from mmh_core.studies.images.verdict import cause_in, verdict_of
from mmh_core.subject.calibration import (
    Calibration,
    empty_calibration,
    read_calibration,
    update_calibration,
)
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import PromptTruth, TrainingSet
from mmh_core.text_to_image.generation import generate, generate_images
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.pixels import to_uint8
from mmh_core.text_to_image.requests import Sampling
from mmh_core.text_to_image.unread_text import cut_off
from tests.retrieval.drawings import drawings, labels, training_set_of
from tests.text_to_image.conftest import ModelOf

PROMPT = "the cat"
CONFIG = ImageConfig("tiny", (PROMPT,), (3, 4), Sampling(5, 2.0, 32, 32), frames=3)
PLAIN = replace(CONFIG, curve=False, frames=0)
LOG_DELTA = -0.5
TRUTH = PromptTruth("overfit", "portrait/the cat", True, 7.0, 2, 120)


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return model_of("tiny")


@pytest.fixture(scope="module")
def planted(model: TextToImage) -> TrainingSet:
    """Return a training set of 60 drawings whose number 7 is what seed 3 draws."""
    images = drawings(60, size=32)
    images[7] = pixels(generate_images(model, CONFIG.request(PROMPT)))[0]
    return replace(training_set_of(images), truth={PROMPT: TRUTH}.get, log_delta=LOG_DELTA)


@pytest.fixture(scope="module")
def run(model: TextToImage, planted: TrainingSet) -> ImageRun:
    return last(CONFIG, model, planted)


def last(
    config: ImageConfig,
    model: TextToImage,
    training_set: TrainingSet | None,
    normal: ReferencePrompts | None = None,
) -> ImageRun:
    found = None
    for progress in image_study(config, Subject(model, training_set, Calibration(normal))):
        found = progress.partial
    assert found is not None
    return found


def pixels(images: Tensor) -> Tensor:
    return torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2)


def normal_of(
    model: TextToImage, lids: list[float], *, sha256: str | None = None, **changed: Any
) -> ReferencePrompts:
    """Return reference images of these LIDs, by default of the model and the runs' sampling."""
    return ReferencePrompts(
        model=model.name,
        sha256=model.sha256 if sha256 is None else sha256,
        log_delta=-0.25,
        log_deltas=torch.tensor(LOG_DELTAS),
        prompts=("a",) * len(lids),
        conditional=torch.tensor(lids),
        unconditional=torch.tensor(lids),
        guidance_norm=torch.zeros(len(lids), 5),
        curve=torch.zeros(len(lids), len(LOG_DELTAS)),
        sampling=replace(CONFIG.sampling, **changed),
    )


def test_the_images_are_those_of_the_pipeline(model: TextToImage, run: ImageRun) -> None:
    expected = pixels(generate_images(model, CONFIG.request(PROMPT)))
    assert torch.equal(torch.stack([one.image for one in run.images]), expected)
    assert [one.seed for one in run.images] == [3, 4]
    assert run.state == "complete"
    assert not len(run.preview)


def test_norms_region_and_frames_come_from_the_steps_themselves(
    model: TextToImage, run: ImageRun
) -> None:
    steps = list(generate(model, CONFIG.request(PROMPT)))
    norms = torch.stack([step.guidance_norm for step in steps], dim=1)
    end = steps[-1]
    assert end.eps_u is not None
    t = torch.tensor([end.t], dtype=torch.float64)
    sigma = float(model.schedule.sigma(t))
    region = ((end.eps_c - end.eps_u) ** 2).sum(1) / sigma**2
    for i, one in enumerate(run.images):
        torch.testing.assert_close(one.guidance_norm, norms[i], rtol=0, atol=0)
        # The order of a square, a sum and a quotient differs.
        torch.testing.assert_close(one.region, region[i], rtol=1e-5, atol=0)
        assert one.frame_steps.tolist() == [2, 3, 5]
        for frame, step in zip(one.frames, (2, 3, 5), strict=True):
            aimed = pixels(model.decode(steps[step - 1].x0_hat[i : i + 1]))[0]
            # A batch of another size moves float32's last digits, which may cross a rounding.
            assert int((frame.int() - aimed.int()).abs().max()) <= 1
    assert run.times.tolist() == pytest.approx([step.t for step in steps])


def test_lid_is_read_at_the_runs_own_latents_with_and_without_the_prompt(
    model: TextToImage, run: ImageRun
) -> None:
    latents = torch.stack([one.latents for one in run.images])
    cond = model.encode_text([PROMPT]).expand(2, -1, -1)
    without = model.unconditional.expand(2, -1, -1)
    images = torch.stack([one.image for one in run.images])

    def count(embedding: torch.Tensor, probes: int) -> torch.Tensor:
        return soft_spectral_count(
            *(model.score_model, latents, LOG_DELTA),
            cond=embedding,
            effort=Effort(probes, PRODUCTS),
            generator=probe_generators(model, DEFAULT_ESTIMATOR, [PROMPT] * 2, images),
        ).lid

    prompted = count(cond, PROBES)
    unprompted = prompted + count(without, UNPROMPTED) - count(cond, UNPROMPTED)
    for i, image in enumerate(run.images):
        lid = image.lid
        assert lid is not None and lid.log_delta == LOG_DELTA
        assert lid.conditional == pytest.approx(float(prompted[i]), abs=1e-3)
        assert lid.unconditional == pytest.approx(float(unprompted[i]), abs=1e-3)
        assert (lid.probes, lid.unconditional_probes) == (PROBES, UNPROMPTED)
    assert run.log_delta == LOG_DELTA


def test_a_planted_copy_is_called_one_and_a_fresh_image_is_not(run: ImageRun) -> None:
    first, second = run.images
    assert (first.verdict, first.copy and first.copy.nearest) == ("exact copy", 7)
    assert first.copy is not None and first.copy.similarity == pytest.approx(1, abs=1e-6)
    assert first.neighbors[0].id == 7
    assert torch.equal(first.neighbors[0].image, first.image)
    assert [n.similarity for n in first.neighbors] == sorted(
        (n.similarity for n in first.neighbors), reverse=True
    )
    assert second.verdict == "no copy found, LID not calibrated"
    assert second.copy is not None and second.copy.reason in second.reason
    assert first.truth == TRUTH
    assert run.searched == 60


def test_a_copy_names_the_image_nearest_in_pixels_and_shows_that_one(
    planted: TrainingSet, run: ImageRun
) -> None:
    copy = run.images[0].image.float() / 255
    asked = copy.clone()
    asked[:, :16] = (asked[:, :16] + 0.06).clamp(max=1)
    # A grid too fine for the descriptor: over its squares of 2 x 2 pixels the mean stays.
    room = -torch.nn.functional.max_pool2d(-torch.minimum(asked, 1 - asked)[None], 2)
    height = torch.nn.functional.interpolate(room, scale_factor=2)[0].clamp(max=0.3)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    finer = asked + height * torch.where((rows + columns) % 2 == 0, 1.0, -1.0)
    images = torch.stack([planted.image(row) for row in range(60)])
    images[8] = (finer * 255).round().to(torch.uint8)
    index = build_index(embed_all(planted.embedder, images), labels(60), planted.embedder)
    training = training_images(images, index)
    training_set = replace(planted, index=index, training=training, image=lambda row: images[row])
    [(found, neighbors)] = find_copies(training_set, asked[None])
    assert [near.id for near in neighbors[:2]] == [8, 7]
    assert (found.kind, found.nearest) == ("exact", 7)
    assert found.similarity == pytest.approx(neighbors[1].similarity, abs=1e-6)
    assert found.reason.startswith("A copy of training image 7:")
    shown = replace(run.images[0], copy=found, neighbors=neighbors).evidence_neighbor
    assert shown is neighbors[1] and torch.equal(shown.image, run.images[0].image)
    # Where no evidence names one, the most similar is shown.
    assert replace(run.images[0], copy=None, neighbors=neighbors).evidence_neighbor is neighbors[0]
    assert replace(run.images[0], neighbors=()).evidence_neighbor is None


def test_the_cause_of_a_copy_is_told_from_the_training_set(
    model: TextToImage, planted: TrainingSet
) -> None:
    first, second = last(PLAIN, model, planted).images
    assert first.copy is not None and first.lids and second.cause is None
    row = planted.row(first.copy.nearest)
    assert row is not None and planted.row(10**9) is None
    low = replace(first.lids[0], conditional=0.1, conditional_error=math.nan)
    once = cause_in(planted, "exact copy", low, first.copy)
    labels = planted.index.labels.copy()
    copies = [64 if i == row else 1 for i in range(len(labels))]
    repeated = replace(planted.index, labels=labels.assign(copies=copies))
    many = cause_in(replace(planted, index=repeated), "exact copy", low, first.copy)
    assert many is not None and many.label == "DD-Mem" and "64 times" in many.reason
    assert once is not None and once.label != "DD-Mem" and "stands once" in once.reason
    # Nothing is said of what is no copy, nor without a training set.
    assert cause_in(planted, "not memorized", low, first.copy) is None
    assert cause_in(None, "exact copy", low, first.copy) is None
    assert cause_in(planted, "exact copy", low, None) is None
    assert first.cause is not None and first.reason.endswith(first.cause.sentence)


def test_agreement_is_the_mean_cosine_of_pairs(model: TextToImage, planted: TrainingSet) -> None:
    found = last(replace(PLAIN, seeds=(3, 4, 5)), model, planted)
    vectors = embed_all(planted.embedder, torch.stack([p.image for p in found.images]))
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    pairs = [float(unit[a] @ unit[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found.seed_similarity == pytest.approx([sum(pairs) / 3], abs=1e-6)
    alone = last(replace(PLAIN, seeds=(3,)), model, planted)
    assert math.isnan(alone.seed_similarity[0])


def test_percentiles_are_taken_only_among_images_drawn_alike(
    model: TextToImage, planted: TrainingSet
) -> None:
    normal = normal_of(model, [-1e9, -1e9, 1e9, 1e9])
    found = last(PLAIN, model, planted, normal)
    assert found.reference is normal and found.log_delta == -0.25
    assert [p.lid and p.lid.percentile for p in found.images] == [0.5, 0.5]
    others: list[dict[str, Any]] = [
        {"steps": 6},
        {"sha256": "0" * 64},
        {"guidance": 3.0},
        {"scheduler": "euler"},
        {"negative": "fog"},
        {"windows": 2},
    ]
    for changed in others:
        other = last(PLAIN, model, planted, normal_of(model, [0.0], **changed))
        assert other.reference is None
        assert all(p.lid is not None and math.isnan(p.lid.percentile) for p in other.images)


def test_a_low_lid_is_suspicious_where_no_copy_is_found(
    model: TextToImage, planted: TrainingSet
) -> None:
    normal = normal_of(model, [1e9] * 60)
    found = last(PLAIN, model, planted, normal)
    assert [p.verdict for p in found.images] == ["exact copy", "suspicious, no copy found"]
    alone = last(PLAIN, model, None, normal)
    assert {p.verdict for p in alone.images} == {"memorized, cause not identifiable"}
    assert alone.searched == 0 and alone.images[0].copy is None


def test_without_reference_and_normal_prompts_nothing_is_claimed(model: TextToImage) -> None:
    found = last(PLAIN, model, None)
    assert {p.verdict for p in found.images} == {"cannot be judged"}
    assert found.log_delta == UNCALIBRATED and min(LOG_DELTAS) < UNCALIBRATED < max(LOG_DELTAS)


def test_progress_rises_and_what_was_drawn_before_a_stop_is_there(
    model: TextToImage, planted: TrainingSet
) -> None:
    config = replace(CONFIG, prompts=(PROMPT, "a dog"))
    steps = image_study(config, Subject(model, planted))
    seen = []
    for progress in steps:
        seen.append(progress)
        if len(progress.partial.images) == 4:
            break
    steps.close()  # type: ignore[attr-defined]
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions) and 0 <= fractions[-1] < 1
    kept = seen[-1].partial.images
    assert [(p.index, p.prompt, p.seed) for p in kept] == [
        (0, PROMPT, 3),
        (1, PROMPT, 4),
        (2, "a dog", 3),
        (3, "a dog", 4),
    ]
    assert kept[0].verdict == "exact copy" and kept[3].verdict == "not read yet"


def test_a_large_network_draws_in_parts_and_each_is_kept_with_its_verdict(
    model: TextToImage, planted: TrainingSet, run: ImageRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmh_core.studies.images.generation.LARGE", 1)
    seen = list(image_study(CONFIG, Subject(model, planted)))
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    # Whoever stops while the second image is drawn keeps the first one, judged.
    second = next(p for p in seen if "part 2 of 2" in p.message)
    (kept,) = second.partial.images
    assert kept.seed == CONFIG.seeds[0] and kept.verdict == "exact copy"
    ended = seen[-1].partial
    assert ended.noise_sha256 == run.noise_sha256
    assert [one.seed for one in ended.images] == list(CONFIG.seeds)
    # Equal but for what a batch of another size changes in the last digits of float32.
    for one, other in zip(ended.images, run.images, strict=True):
        torch.testing.assert_close(one.latents, other.latents, rtol=1e-3, atol=1e-4)
        assert one.frames.shape == other.frames.shape
        assert torch.equal(one.frame_steps, other.frame_steps)
    assert ended.seed_similarity == pytest.approx(run.seed_similarity, abs=1e-3)


def test_curves_and_further_estimators_come_on_request(
    model: TextToImage, planted: TrainingSet, run: ImageRun
) -> None:
    assert all(len(p.curve) == len(LOG_DELTAS) == len(p.curve_error) for p in run.images)
    assert not torch.equal(run.images[0].curve, run.images[1].curve)
    found = last(replace(PLAIN, estimators=("flipd", "spectral_count", "dsm")), model, planted)
    names = [lid.estimator for lid in found.images[0].lids]
    assert names == ["soft_spectral_count", "flipd", "spectral_count", "dsm"]
    assert found.images[0].lids[2].conditional == round(found.images[0].lids[2].conditional)
    assert not len(found.images[0].curve) and not len(found.images[0].frames)


def test_without_guidance_norm_and_region_are_unknown(
    model: TextToImage, planted: TrainingSet
) -> None:
    found = last(
        replace(PLAIN, sampling=replace(PLAIN.sampling, guidance=1.0)), model, planted
    ).images[0]
    assert bool(found.guidance_norm.isnan().all()) and bool(found.region.isnan().all())


def test_what_exceeds_the_text_encoder_is_shown(model: TextToImage) -> None:
    # 16 tokens with both ends: 14 of the 20 words "the" are read.
    assert cut_off(model, "the " * 14) == ""
    assert cut_off(model, "the " * 20).split() == ["the"] * 6


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompts": ("",)}, "prompt is empty"),
        ({"prompts": (" \n",)}, "prompt is empty"),
        ({"prompts": ("a\x07b",)}, "control character U\\+0007"),
        ({"prompts": ("a\ud800",)}, "half of a character .U\\+D800"),
        ({"prompts": ()}, "0 prompts"),
        ({"prompts": ("x" * 10_001,)}, "too long"),
        ({"seeds": (1, 1)}, "seed is given twice"),
        ({"prompts": ("a cat", "a cat")}, "prompt is given twice"),
        ({"seeds": ()}, "seeds are"),
        ({"seeds": (-1,)}, "seeds are"),
        (
            {"prompts": tuple("abcdefghijklmnopqrst"), "seeds": tuple(range(20))},
            "more than one run may generate",
        ),
        ({"frames": -1}, "decoded steps"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(MMHError, match=said):
        checked(replace(CONFIG, **changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"negative": "\x00"}, "negative prompt holds"),
        ({"negative": "x" * 10_001}, "negative prompt is too long"),
        ({"steps": 0}, "0 steps"),
        ({"steps": 10**9}, "steps"),
        ({"guidance": math.nan}, "guidance"),
        ({"guidance": math.inf}, "guidance"),
        ({"windows": 0}, "0 context windows"),
        ({"height": 33}, "multiples of 8"),
        ({"height": 0}, "multiples of 8"),
        ({"width": 10**6}, "multiples of 8"),
        ({"steps": 1_000, "height": 2048, "width": 2048}, "fewer or smaller"),
    ],
)
def test_a_sampling_that_cannot_be_run_is_refused_in_a_sentence(
    changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(MMHError, match=said):
        checked(replace(CONFIG, sampling=replace(CONFIG.sampling, **changed)))


def test_unknown_choices_are_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"magic.*choose from"):
        checked(replace(CONFIG, estimators=("magic",)))
    changed: dict[str, Any] = {"scheduler": "magic"}
    with pytest.raises(ValueError, match=r"magic.*choose from"):
        replace(CONFIG.sampling, **changed)


def test_the_default_estimator_is_not_run_twice() -> None:
    assert checked(
        replace(CONFIG, estimators=("soft_spectral_count", "dsm", "dsm"))
    ).estimators == ("dsm",)


def test_an_audited_image_is_read_like_a_drawn_one(
    model: TextToImage, planted: TrainingSet, run: ImageRun
) -> None:
    file = io.BytesIO()
    shown = run.images[0].image
    Image.fromarray(shown.permute(1, 2, 0).numpy()).save(file, "PNG")
    *early, last = audit_study(file.getvalue(), PROMPT, Subject(model, planted))
    found = last.partial
    assert early[-1].partial.verdict == "exact copy" and early[0].fraction < last.fraction == 1
    assert torch.equal(found.image, shown)
    assert (found.verdict, found.neighbors[0].id, found.truth) == ("exact copy", 7, TRUTH)
    torch.testing.assert_close(found.latents, model.encode(shown[None].float() / 255)[0])
    assert len(found.curve) == len(LOG_DELTAS) and not bool(found.region.isnan().any())
    *_, last = audit_study(file.getvalue(), "", Subject(model, planted))
    plain = last.partial
    assert plain.lid is not None and plain.lid.conditional == plain.lid.unconditional
    assert bool(plain.region.isnan().all()) and plain.truth is None
    # With a caption the probes are others: the same LID but for their errors.
    assert found.lid is not None
    error = math.hypot(found.lid.unconditional_error, plain.lid.unconditional_error)
    assert abs(found.lid.unconditional - plain.lid.unconditional) < 3 * error


def test_a_file_of_another_shape_is_found_whole(model: TextToImage) -> None:
    """The model sees the middle of a wide image; the training set holds all of it."""
    wide = torch.nn.functional.interpolate(
        drawings(30, seed=8, size=48).float(), size=(40, 96), mode="bicubic", antialias=True
    )
    images = wide.round().clamp(0, 255).to(torch.uint8)
    known = replace(training_set_of(images), training=None, thresholds=None)
    for number in (0, 17):
        file = io.BytesIO()
        Image.fromarray(images[number].permute(1, 2, 0).numpy()).save(file, "PNG")
        *_, last = audit_study(file.getvalue(), "", Subject(model, known))
        assert last.partial.verdict == "exact copy"
        assert last.partial.copy is not None and last.partial.copy.nearest == number


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_an_audit_refuses_what_is_no_image(
    model: TextToImage, planted: TrainingSet, data: bytes
) -> None:
    with pytest.raises(MMHError):
        list(audit_study(data, "", Subject(model, planted)))


def test_a_image_is_cut_around_its_middle_and_resized() -> None:
    wide = torch.zeros(3, 8, 20)
    wide[:, :, 6:14] = 1
    assert torch.equal(fitted(wide, (8, 8)), torch.ones(3, 8, 8))
    even = torch.full((3, 100, 60), 51, dtype=torch.uint8)
    torch.testing.assert_close(fitted(even, (32, 32)), torch.full((3, 32, 32), 0.2))
    same = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert fitted(same, (32, 32)) is same


def test_normal_prompts_hold_what_the_study_reads_and_are_kept(
    model: TextToImage, tmp_path: Path
) -> None:
    config = replace(PLAIN, prompts=("a", "the"))
    found = None
    for progress in reference_study(config, model, -0.25):
        found = progress.partial
    assert found is not None
    expected = [
        p for text in ("a", "the") for p in last_at(replace(PLAIN, prompts=(text,)), model, -0.25)
    ]
    assert found.prompts == ("a", "a", "the", "the")
    lids = [p.lid.conditional for p in expected if p.lid is not None]
    assert found.conditional.tolist() == pytest.approx(lids, abs=1e-5)
    assert found.guidance_norm.shape == (4, 5) and found.curve.shape == (4, len(LOG_DELTAS))
    assert found.fits(model.sha256, CONFIG.sampling)
    path = tmp_path / "calibration.safetensors"
    parts = replace(empty_calibration(model), reference_prompts=found)
    again = update_calibration(path, parts).reference_prompts
    assert again is not None and read_calibration(path).reference_prompts is not None
    middle = found.conditional.sort().values[1:3].double().mean()
    assert again.percentile(float(middle)) == 0.5


def last_at(config: ImageConfig, model: TextToImage, log_delta: float) -> tuple[ImageResult, ...]:
    found = None
    for progress in image_study(config, Subject(model), log_delta=log_delta):
        found = progress.partial
    assert found is not None
    return found.images


def reading(lid: float, percentile: float) -> ImageLid:
    return ImageLid("soft_spectral_count", "", -0.5, lid, 0.1, lid, 0.1, percentile, 12.0)


def test_the_words_of_a_verdict_carry_the_figures() -> None:
    verdict, reason = verdict_of(None, reading(-0.04, 0.0), guided=True)
    assert verdict == "memorized, cause not identifiable"
    assert "LID, 0.0, is at or below that of all reference images" in reason
    verdict, reason = verdict_of(None, reading(18.27, 0.43), guided=True)
    assert verdict == "cannot be judged" and "18.3, is above that of 43%" in reason
    assert verdict_of(None, reading(5.0, math.nan), guided=True)[0] == "cannot be judged"
