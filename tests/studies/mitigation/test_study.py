"""The comparison of mitigations on a tiny random model, with a planted training image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmh_core.mitigations.catalogue import MITIGATIONS, check_strength, mitigation, most_strength
from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    MitigationContext,
    Work,
    result_of,
    steered,
)
from mmh_core.mitigations.lid_loss import reference_lids
from mmh_core.records import MMHError
from mmh_core.report.mitigations import mitigation_report, mitigation_summary
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.images.generation import pixels_of
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.images.study import image_study
from mmh_core.studies.mitigation import cells as mitigation_cells
from mmh_core.studies.mitigation.context import (
    Comparison,
    context_for,
    copy_rate_score,
    lids_of_references,
    low_lid_score,
)
from mmh_core.studies.mitigation.memory import peak_memory
from mmh_core.studies.mitigation.run import (
    MitigationConfig,
    MitigationRun,
    Treatment,
    fresh_seeds,
)
from mmh_core.studies.mitigation.study import checked, mitigation_study
from mmh_core.studies.mitigation.verdict import treatment_results
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.generation import generate, generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling
from tests.retrieval.drawings import THRESHOLDS, drawings, training_set_of
from tests.text_to_image.conftest import ModelOf

PROMPT = "the cat"
NONE, STATIC = Treatment("none", 0.0), Treatment("static_guidance", 0.5)
WORDS = Treatment("random_tokens", 2.0)
CONFIG = MitigationConfig(
    "tiny", (PROMPT, "a dog"), (3, 4), (STATIC, WORDS), Sampling(5, 2.0, 32, 32)
)


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return model_of("tiny")


@pytest.fixture(scope="module")
def planted(model: TextToImage) -> TrainingSet:
    images = drawings(60, size=32)
    request = CONFIG.request(PROMPT)
    images[7] = (generate_images(model, request)[0] * 255).round().to(torch.uint8)

    def alignment(shown: Tensor, texts: Sequence[str]) -> Tensor:
        return shown.mean((1, 2, 3))[:, None] * torch.tensor([len(text) for text in texts])

    return replace(training_set_of(images), log_delta=-0.5, alignment=alignment)


@pytest.fixture(scope="module")
def run(model: TextToImage, planted: TrainingSet) -> MitigationRun:
    return last(CONFIG, model, planted)


def last(
    config: MitigationConfig, model: TextToImage, training_set: TrainingSet | None
) -> MitigationRun:
    found = None
    for progress in mitigation_study(config, Subject(model, training_set)):
        found = progress.partial
    assert found is not None
    return found


def test_every_prompt_is_drawn_with_every_treatment_none_first(run: MitigationRun) -> None:
    assert [(c.prompt, c.treatment) for c in run.cells] == [
        (p, t) for p in (0, 1) for t in (NONE, STATIC, WORDS)
    ]
    assert run.state == "complete"
    assert not any(c.refused for c in run.cells)
    assert run.cell(1, WORDS) is run.cells[5] and run.cell(1, Treatment("rewrite", 1.0)) is None


def test_none_is_the_images_study_bit_for_bit(
    model: TextToImage, planted: TrainingSet, run: MitigationRun
) -> None:
    images = None
    for progress in image_study(images_config(CONFIG), Subject(model, planted)):
        images = progress.partial
    assert images is not None
    for prompt in (0, 1):
        cell = run.cell(prompt, NONE)
        assert cell is not None
        for i, one in enumerate(images.images[2 * prompt : 2 * prompt + 2]):
            assert torch.equal(cell.latents[i], one.latents)
            assert torch.equal(cell.images[i], one.image)
            assert one.copy is not None and one.lid is not None
            assert float(cell.similarity[i]) == pytest.approx(one.copy.similarity, abs=1e-6)
        assert cell.noise_sha256 == images.noise_sha256
    assert run.cells[0].kinds == ("exact", "none") and run.cells[0].copied == 0.5


def test_all_treatments_start_from_the_same_noise_and_differ_in_the_end(
    run: MitigationRun,
) -> None:
    assert len({c.noise_sha256 for c in run.cells}) == 1
    for cell in run.cells:
        same = torch.equal(cell.images, run.cell(cell.prompt, NONE).images)  # type: ignore[union-attr]
        assert same == (cell.treatment == NONE)
        assert bool((cell.similarity_to_unmitigated > 1 - 1e-6).all()) == same


def test_a_static_schedule_is_drawn_as_its_recipe_says(
    model: TextToImage, run: MitigationRun
) -> None:
    request = CONFIG.request(PROMPT)
    applied = replace(mitigation("static_guidance"), strength=0.5)  # type: ignore[type-var]
    steps = list(generate(model, result_of(applied.apply(model, request)).request))  # type: ignore[attr-defined]
    cell = run.cell(0, STATIC)
    assert cell is not None
    assert torch.equal(cell.images, pixels_of(model, steps[-1].latents))
    assert cell.nfe == pytest.approx(2.0 * 5)


def test_alignment_is_with_the_prompt_as_asked(run: MitigationRun) -> None:
    cell = run.cell(1, WORDS)
    assert cell is not None and cell.used != "a dog"
    expected = (cell.images.float() / 255).mean((1, 2, 3)) * len("a dog")
    torch.testing.assert_close(cell.alignment, expected)


def test_a_run_tells_how_many_training_images_were_searched_and_by_what(
    run: MitigationRun, tmp_path: Path
) -> None:
    assert (run.training_images, run.embedder) == (60, "pixels")
    summary = mitigation_summary(run)
    assert (summary["training_images"], summary["embedder"]) == (60, "pixels")
    assert "copies searched among 60 training images by the embedder pixels" in (
        mitigation_report(run, "")
    )
    # An earlier version did not keep it: unknown is neither none nor some.
    names = [f.name for f in fields(run) if f.name not in ("training_images", "embedder")]
    earlier = make_dataclass("MitigationRun", names, frozen=True)
    path = tmp_path / "earlier.safetensors"
    save_record(path, earlier(*(getattr(run, name) for name in names)))
    loaded = load_record(path, MitigationRun)
    assert loaded.training_images is None and len(loaded.cells) == len(run.cells)
    assert "copies searched" not in mitigation_report(loaded, "")


def test_what_the_training_set_tells_is_unknown_without_one(model: TextToImage) -> None:
    found = last(replace(CONFIG, prompts=(PROMPT,), treatments=(STATIC,)), model, None)
    for cell in found.cells:
        assert math.isnan(cell.copied) and cell.nearest.tolist() == [-1, -1]
        assert bool(cell.similarity.isnan().all() and cell.lid.isnan().all())
    assert math.isnan(found.log_delta)


def test_a_mitigation_that_cannot_be_applied_leaves_a_cell_that_says_so(
    model: TextToImage,
) -> None:
    needs_index = Treatment("anti_memorization_guidance", 0.5)
    found = last(replace(CONFIG, prompts=(PROMPT,), treatments=(needs_index, STATIC)), model, None)
    cell = found.cell(0, needs_index)
    assert cell is not None and len(cell.refused) > 20 and not len(cell.images)
    assert math.isnan(cell.copied)
    after = found.cell(0, STATIC)
    assert after is not None and len(after.images) == 2


def test_a_stop_keeps_the_cells_that_are_done(model: TextToImage, planted: TrainingSet) -> None:
    steps = mitigation_study(CONFIG, Subject(model, planted))
    fractions = []
    for progress in steps:
        fractions.append(progress.fraction)
        if len(progress.partial.cells) == 2:
            break
    # Its images are finished and kept, while their LID is still to be estimated.
    unread = progress.partial.cells[1]
    assert len(unread.images) == 2 and bool(unread.lid.isnan().all())
    assert not math.isnan(unread.copied)
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.9 / 6)
    progress = next(iter(steps))
    steps.close()  # type: ignore[attr-defined]
    assert [c.treatment for c in progress.partial.cells] == [NONE, STATIC]
    assert progress.fraction == pytest.approx(2 / 6)
    assert torch.equal(progress.partial.cells[1].images, unread.images)
    assert not bool(progress.partial.cells[1].lid.isnan().any())


def test_a_stop_in_the_middle_keeps_the_unfinished_images(
    model: TextToImage, planted: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mitigation_cells, "_PREVIEW_GAP", 0.0)
    seen = []
    for progress in mitigation_study(CONFIG, Subject(model, planted)):
        run = progress.partial
        seen.append((len(run.cells), len(run.preview), run.preview_of))
        if len(run.cells) == 2:
            break
    assert (0, 2, "No mitigation, strength 0") in seen
    assert (1, 2, "Static transition point, strength 0.5") in seen
    # A cell that is there needs no preview.
    assert seen[-1] == (2, 0, "")


def test_the_scan_of_the_chain_counts_copies(model: TextToImage, planted: TrainingSet) -> None:
    request = CONFIG.request(PROMPT)
    found = result_of(copy_rate_score(model, planted, None, request))
    assert (found.score, found.nfe) == (0.5, 10.0)
    assert math.isnan(found.alignment)
    # With the prompt as asked, also when another one is drawn.
    told = result_of(
        copy_rate_score(model, planted, "the other cat", replace(request, prompt="a dog"))
    )
    images = generate_images(model, replace(request, prompt="a dog"))
    expected = float(images.mean((1, 2, 3)).mean()) * len("the other cat")
    # Images are rounded to 8 bits before they are compared.
    assert told.alignment == pytest.approx(expected, rel=1e-2)


def images_config(config: MitigationConfig) -> ImageConfig:
    """Return the images study's config of the same requests."""
    return ImageConfig(config.model, config.prompts, config.seeds, config.sampling)


def reference_of(model: TextToImage, lids: list[float]) -> ReferencePrompts:
    """Return reference prompts as if their images had these LIDs."""
    count = len(lids)
    return ReferencePrompts(
        "tiny",
        model.sha256,
        CONFIG.sampling,
        -0.5,
        torch.tensor([-0.5]),
        tuple(f"a dog {i}" for i in range(count)),
        torch.tensor(lids),
        torch.tensor(lids),
        torch.ones(count, CONFIG.sampling.steps),
        torch.zeros(count, 1),
    )


def test_the_scan_of_a_rewording_counts_images_of_low_lid(model: TextToImage) -> None:
    request = CONFIG.request(PROMPT)
    images = None
    for progress in image_study(
        images_config(replace(CONFIG, prompts=(PROMPT,))), Subject(model), log_delta=1.5
    ):
        images = progress.partial
    assert images is not None
    lids = sorted(one.lid.conditional for one in images.images if one.lid is not None)
    assert lids[1] - lids[0] > 1.0
    shares = [
        result_of(low_lid_score(model, 1.5, low, request)).score
        for low in (lids[0] - 0.1, sum(lids) / 2, 1e9)
    ]
    assert shares == [0.0, 0.5, 1.0]


def test_what_each_mitigation_is_given_to_judge_by(
    model: TextToImage, planted: TrainingSet
) -> None:
    """The chain may look for copies; a rewording must not know what it is judged by."""
    known = reference_of(model, [40.0, 50.0])
    # The copy is among the images of the seeds that may be looked at.
    config = replace(CONFIG, seeds=(8, 9), selection_seeds=(3, 4))
    comparison = Comparison(
        config, Subject(model, planted), known, -0.5, lids_of_references(config, model, known)
    )
    request = CONFIG.request(PROMPT)
    chain = context_for(comparison, 0, mitigation("automatic_chain"))
    rewrite = context_for(comparison, 0, mitigation("rewrite"))
    assert chain.detector is not None and rewrite.detector is not None
    assert result_of(chain.detector(request)).score == 0.5 and not math.isnan(
        result_of(chain.detector(request)).alignment
    )
    assert (
        result_of(rewrite.detector(request)).score
        == result_of(low_lid_score(model, -0.5, 40.5, request)).score
    )
    assert math.isnan(result_of(rewrite.detector(request)).alignment)
    assert rewrite.copy_similarity == THRESHOLDS.descriptor
    without = context_for(replace(comparison, reference=None), 0, mitigation("rewrite"))
    assert without.detector is not None and result_of(without.detector(request)).score == 0.5


def test_lids_to_aim_at_are_those_of_the_estimator_that_aims(model: TextToImage) -> None:
    known = reference_of(model, [4.0, 5.0, 6.0])
    lids = lids_of_references(CONFIG, model, known)
    found = result_of(lids("denoising loss", -0.2))
    assert len(found) == 3 and found is result_of(lids("denoising loss", -0.2))
    request = replace(CONFIG.request("a dog 1"), seeds=CONFIG.searched[:1])
    expected = result_of(
        reference_lids(
            model,
            request,
            tuple(f"a dog {i}" for i in range(3)),
            by="denoising loss",
            log_delta=-0.2,
        )
    )
    torch.testing.assert_close(found, expected)
    # The estimates that come with the reference prompts are another estimator's.
    assert not torch.allclose(found, known.conditional, rtol=0.05)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"treatments": (Treatment("static_guidance", math.inf),)}, "is no number"),
        (
            {"treatments": tuple(Treatment("static_guidance", k / 500) for k in range(200))},
            "800|804",
        ),
        *(
            ({"treatments": (Treatment(name, strength),)}, f"of {name} .*{said}")
            for name, strength, said in (
                ("static_guidance", math.nan, "is no number: choose a number from 0 to 1"),
                (
                    "static_guidance",
                    5.0,
                    "out of its range: choose a number from 0 to 1 .share",
                ),
                ("opposite_guidance", -0.1, "is out of its range"),
                ("padding_fix", 1.01, "is out of its range"),
                ("sparse_repellency", 2.0, "is out of its range: choose a number from 0 to 1 "),
                ("raise_lid", 1.5, "is out of its range"),
                ("embedding_optimization", -1.0, "is out of its range"),
                (
                    "attention_attenuation",
                    4.0,
                    "out of its range: choose .* 0 to 3.75",
                ),
                (
                    "random_tokens",
                    1e9,
                    "out of its range: choose .* 0 to 100 .words",
                ),
                ("rewrite", -1.0, "is out of its range"),
                ("automatic_chain", -math.inf, "is no number"),
                ("anti_memorization_guidance", -2.0, "is out of its range"),
            )
        ),
        ({"prompts": ("",)}, "prompt is empty"),
        ({"prompts": ("a" * 15_000,)}, "too long .15,000 characters.: shorten it to 10,000"),
    ],
)
def test_what_cannot_be_run_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(MMHError, match=said):
        checked(replace(CONFIG, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MITIGATIONS)
def test_every_strength_that_is_offered_is_within_the_range(name: str) -> None:
    found = MITIGATIONS[name]
    for strength in (0.0, found.strength, *found.strengths):
        check_strength(name, strength)
    assert (most_strength(name) == 1) == found.strength_label.startswith(
        ("share", "dissimilarity")
    )


def test_an_unknown_mitigation_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="Unknown mitigation 'magic'"):
        checked(replace(CONFIG, treatments=(Treatment("magic", 1.0),)))


def test_the_baseline_is_there_once_whatever_is_asked() -> None:
    asked = (STATIC, Treatment("none", 0.0), STATIC, Treatment("none", 3.0))
    assert checked(replace(CONFIG, treatments=asked)).treatments == (NONE, STATIC)


def test_peak_memory_sees_what_is_allocated_inside() -> None:
    with peak_memory(torch.device("cpu")) as peak:
        block = torch.ones(40_000_000)
        del block
    # 160 MB were held; the allocator may have had some of it already.
    assert math.isnan(peak()) or 80 < peak() < 400


def test_peak_memory_of_a_block_outlives_those_that_begin_inside() -> None:
    """A block opened while another runs resets the system's one mark, and not the other's."""
    with peak_memory(torch.device("cpu")) as outer:
        block = torch.ones(40_000_000)
        del block
        with peak_memory(torch.device("cpu")) as inner:
            pass
        # 160 MB were held before the inner block began; the allocator may have had some already.
        assert math.isnan(outer()) or (80 < outer() < 400 and inner() < 40)
    assert math.isnan(outer()) or outer() > 80


@dataclass(frozen=True)
class Overfitting:
    """Search one text after another until no image that it may look at is a copy.

    What it accepts works for the seeds `fitted` and no other: a mitigation that is only as good as
    the images it was chosen by.
    """

    fitted: tuple[int, ...]
    strength: float = 1.0
    name: str = "automatic_chain"
    label: str = "Overfitting"
    summary: str = ""
    reference: str = ""
    strength_label: str = ""
    strengths: tuple[float, ...] = (1.0,)

    def cost(self, steps: int) -> float:
        return 0.0

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        assert context.detector is not None
        away = torch.full((len(self.fitted), *model.latent_shape(32, 32)), 3.0)
        searched = context.selecting(request)
        candidate = steered(searched, noise=away[: len(searched.seeds)])
        scored = yield from context.detector(candidate)
        assert not scored.score > 0
        found = candidate if request.seeds == self.fitted else request
        return Mitigated(found, request.prompt, "Overfitted.", scored.nfe)


def test_a_mitigation_that_overfits_its_selection_seeds_fails_on_fresh_ones(
    model: TextToImage, planted: TrainingSet
) -> None:
    config = replace(
        CONFIG,
        prompts=(PROMPT,),
        treatments=(Treatment("automatic_chain", 1.0),),
        selection_seeds=(8, 9),
    )
    catalogue = {**MITIGATIONS, "automatic_chain": Overfitting((8, 9))}
    found = None
    for progress in mitigation_study(config, Subject(model, planted), catalogue=catalogue):
        found = progress.partial
    assert found is not None and found.searched == (8, 9)
    none, chosen = found.cells
    # Its own search saw no copy, and the figures show the one that is there.
    assert chosen.label == "Overfitting" and chosen.kinds == none.kinds == ("exact", "none")
    row = treatment_results(found)[1]
    assert not row.passes and "1 of 2: copies" in row.reasons


def test_a_search_with_a_seed_that_is_judged_is_an_error(
    model: TextToImage, planted: TrainingSet
) -> None:
    comparison = Comparison(CONFIG, Subject(model, planted), None, -0.5)
    context = context_for(comparison, 0, mitigation("automatic_chain"))
    request = CONFIG.request(PROMPT)
    assert context.detector is not None and not set(context.selecting(request).seeds) & {3, 4}
    with pytest.raises(ValueError, match="by which it is judged"):
        result_of(context.detector(request))
    assert result_of(context.detector(context.selecting(request))).nfe == 10


@pytest.mark.parametrize("selection", [(3,), (9, 4), (4, 3)])
def test_seeds_are_judged_or_searched_with(selection: tuple[int, ...]) -> None:
    with pytest.raises(MMHError, match="judged and searched with"):
        replace(CONFIG, selection_seeds=selection)
    assert not set(CONFIG.searched) & set(CONFIG.seeds) and len(CONFIG.searched) == 2
    assert fresh_seeds(fresh_seeds((), 3), 2) == fresh_seeds((), 5)[3:]
