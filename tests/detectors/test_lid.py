"""LID detectors at generated latents against closed forms, and their costs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.detectors.generation import generated_inputs
from mmh_core.detectors.inputs import DetectorInputs, per_prompt
from mmh_core.detectors.lid import Lid
from mmh_core.detectors.lid_corrected import Complexity, LidCorrected
from mmh_core.detectors.lid_difference import LidDifference
from mmh_core.detectors.measurement import Detector, fit, measure
from mmh_core.detectors.seed_similarity import SeedSimilarity
from mmh_core.dimension.probes import rademacher
from mmh_core.dimension.spectral import soft_step
from mmh_core.records import MMHError
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.pixels import to_pil
from tests.detectors.worlds import BROAD, DIM, means, unet_of, variances, world
from tests.text_to_image.conftest import ModelOf

DELTA = 0.34
LIDS = [each for each in DETECTORS.values() if each.name.startswith("lid_")]


def read(model: TextToImage, inputs: DetectorInputs, detector: Detector) -> Tensor:
    return measure(model, inputs, [detector])[detector.name].values


def laws(inputs: DetectorInputs, branch: str) -> tuple[Tensor, Tensor]:
    """Return the variances and offsets from the mean, (B, D), of the branch at the latents."""
    x = inputs.generated().latents.flatten(1).double()
    if branch == "unconditional":
        return torch.full_like(x, BROAD), x
    return variances()[inputs.prompt_index], x - means()[inputs.prompt_index]


@pytest.mark.parametrize("branch", ["conditional", "unconditional"])
def test_flipd_is_its_closed_form(
    model: TextToImage, generated: DetectorInputs, branch: str
) -> None:
    """P is diagonal, so that signs give its trace exactly."""
    variance, offset = laws(generated, branch)
    total = variance + DELTA**2
    expected = (variance / total + DELTA**2 * offset.square() / total.square()).sum(1)
    found = read(model, generated, Lid("flipd", branch, math.log(DELTA)))[:, 0]
    torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("branch", ["conditional", "unconditional"])
def test_the_count_is_its_closed_form(
    model: TextToImage, generated: DetectorInputs, branch: str
) -> None:
    """At most three distinct eigenvalues: five steps of Lanczos find them all."""
    variance, _ = laws(generated, branch)
    expected = soft_step(variance / (variance + DELTA**2)).sum(1)
    found = read(model, generated, Lid("soft_spectral_count", branch, math.log(DELTA)))[:, 0]
    torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("branch", ["conditional", "unconditional"])
def test_the_denoising_loss_is_near_its_expectation(
    model: TextToImage, generated: DetectorInputs, branch: str
) -> None:
    variance, offset = laws(generated, branch)
    total = variance + DELTA**2
    shrunk = variance / total
    expected = shrunk.square() + (DELTA * offset / total).square()
    found = read(model, generated, Lid("dsm", branch, math.log(DELTA)))[:, 0]
    # Four independent noises: their squares vary by 2, with weights shrunk^4.
    error = (2 * shrunk**4).sum(1).div(4).sqrt().float()
    assert bool(((found - expected.sum(1).float()).abs() <= 4 * error + 1e-3).all())


@pytest.mark.parametrize("kind", ["gaussians", "tiny", "tiny-v"])
def test_the_guided_trace_holds_both_jacobians(
    model: TextToImage, generated: DetectorInputs, model_of: ModelOf, kind: str
) -> None:
    """Against differences of the guided noise, written out, along the detector's own probes."""
    inputs = generated.rows(torch.tensor([0, 1]))
    if kind != "gaussians":
        model = model_of(kind)
        (inputs,) = generated_inputs(model, ["the cat"], (5, 6), guidance=3.0, steps=4)
    # A scale at which random networks are smooth enough for differences in float32.
    log_delta = math.log(1.5)
    time = model.schedule.time_at(torch.tensor(log_delta, dtype=torch.float64))
    t, sigma = time.item(), model.schedule.sigma(time).item()
    y = model.schedule.alpha(time).item() * inputs.generated().latents
    scale = inputs.generated().guidance

    def probes() -> list[torch.Generator]:
        texts, images = [inputs.text(0)] * 2, inputs.generated().images
        return probe_generators(model, "flipd", texts, images)

    def branches(y: Tensor) -> tuple[Tensor, Tensor]:
        eps_u = model.score_model.eps(y, t)
        return model.score_model.eps(y, t, inputs.embeddings[inputs.prompt_index]), eps_u

    def flipd_with(scale_u: float) -> Tensor:
        """Return `D + |eps|^2 - sigma tr J` with eps_u weighted by `scale_u` in the Jacobian."""
        eps_c, eps_u = branches(y)
        square = (eps_u + scale * (eps_c - eps_u)).flatten(1).square().sum(1)
        traces = []
        for signs in rademacher(y, 8, probes()).unbind(1):
            ahead, behind = (branches(y + side * 1e-2 * signs) for side in (1, -1))
            slope = scale * (ahead[0] - behind[0]) + scale_u * (ahead[1] - behind[1])
            traces.append((slope / 2e-2 * signs).flatten(1).sum(1))
        return square + model.score_model.ambient_dim - sigma * torch.stack(traces).mean(0)

    found = read(model, inputs, Lid("flipd", "guided", log_delta))[:, 0]
    truth, faulty = flipd_with(1 - scale), flipd_with(0.0)
    # Values of 50 to 120; differences over .02 of float32 numbers.
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=0.05)
    assert bool(((faulty - truth).abs() > 2 * (1e-3 * truth.abs() + 0.05)).any())


def test_the_difference_is_of_the_two_branches(
    model: TextToImage, generated: DetectorInputs
) -> None:
    detector = LidDifference("flipd", math.log(DELTA))
    found = detector.score(read(model, generated, detector))
    lids = [
        read(model, generated, Lid("flipd", branch, math.log(DELTA)))[:, 0]
        for branch in ("unconditional", "conditional")
    ]
    torch.testing.assert_close(found, lids[0] - lids[1], rtol=1e-5, atol=1e-4)


def test_complexity_is_the_size_of_the_file(
    model: TextToImage, generated: DetectorInputs, tmp_path: Path
) -> None:
    sizes = []
    for number, image in enumerate(to_pil(generated.generated().images)):
        image.save(tmp_path / f"{number}.png")
        sizes.append((tmp_path / f"{number}.png").stat().st_size)
    found = Complexity().measure(model, generated)
    assert found.values[:, 0].exp().round().tolist() == sizes
    assert (found.nfe, found.generation) == (0.0, 24.0)


def test_the_corrected_lid_leaves_out_a_planted_line() -> None:
    complexity = torch.tensor([6.0, 7.0, 7.5, 9.0])
    lid = 4.0 * complexity - 11.0 + torch.tensor([0.5, -0.5, 0.0, 0.0])
    normal = torch.stack([lid, complexity], dim=1)
    detector = fit(LidCorrected(), normal)
    design = torch.stack([torch.ones(4), complexity], dim=1).double()
    line = torch.linalg.lstsq(design, lid.double()[:, None]).solution[:, 0]
    assert (detector.intercept, detector.slope) == pytest.approx(tuple(line.tolist()), abs=1e-4)
    below = torch.tensor([[4.0 * 8.0 - 11.0 - 6.0, 8.0]])
    residual = line[0] + 8 * line[1] - below[0, 0]
    assert detector.score(below).item() == pytest.approx(residual.item(), abs=1e-3)
    with pytest.raises(MMHError, match="compares with reference prompts"):
        LidCorrected().score(normal)


@pytest.mark.parametrize(
    "detector",
    # Without its prompt this model knows no duplicate.
    [each for each in LIDS if "unconditional" not in each.name],
    ids=lambda each: each.name,
)
def test_the_duplicate_ranks_above_ordinary_prompts(
    model: TextToImage, generated: DetectorInputs, detector: Detector
) -> None:
    values = read(model, generated, detector)
    score = per_prompt(fit(detector, values[generated.prompt_index >= 2]).score(values), generated)
    assert score[0] > score[2:].max()


@pytest.mark.parametrize("detector", LIDS, ids=lambda each: each.name)
def test_a_network_of_v_is_scored_alike(generated: DetectorInputs, detector: Detector) -> None:
    eps, v = (read(world(target), generated, detector) for target in ("eps", "v"))
    torch.testing.assert_close(v, eps, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("detector", LIDS, ids=lambda each: each.name)
def test_a_table_of_prompts_is_its_prompts_one_by_one(
    model: TextToImage, generated: DetectorInputs, detector: Detector
) -> None:
    """Each image has its own probes: what else is in the table makes no difference."""
    whole = read(model, generated, detector)
    for rows in (torch.tensor([9, 10, 11]), torch.tensor([3])):
        alone = read(model, generated.rows(rows), detector)
        torch.testing.assert_close(alone, whole[rows], rtol=1e-4, atol=1e-3)


def test_many_seeds_are_read_in_parts(
    model: TextToImage, generated: DetectorInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    detectors = [Lid(name) for name in ("soft_spectral_count", "flipd", "dsm")]
    whole = [read(model, generated, each) for each in detectors]
    monkeypatch.setattr("mmh_core.detectors.inputs._ROWS", 4)
    for detector, expected in zip(detectors, whole, strict=True):
        torch.testing.assert_close(
            read(model, generated, detector), expected, rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("detector", LIDS, ids=lambda each: each.name)
def test_an_image_is_scored_alone_as_among_others_in_any_order(
    model_of: ModelOf, detector: Detector
) -> None:
    """On a network that is not diagonal, where other probes give other values."""
    model = model_of("tiny")
    (inputs,) = generated_inputs(model, ["the cat", "a dog"], (5, 6), guidance=3.0, steps=4)
    assert inputs.prompts == ("the cat", "a dog")
    # Where the LID of the tiny network lies well between 0 and all of its 64 dimensions.
    detector = replace(detector, log_delta=1.5)
    together = read(model, inputs, detector)
    assert torch.equal(together, read(model, inputs, detector))
    for rows in ([0], [2, 1], [3, 2, 1, 0]):
        index = torch.tensor(rows)
        apart = read(model, inputs.rows(index), detector)
        torch.testing.assert_close(apart, together[index], rtol=1e-4, atol=2e-2)
    # Rounding is three orders below what other probes do.
    other = read(model, replace(inputs, prompts=("the dog", "a cat")), detector)
    lids = other.shape[1] if not isinstance(detector, LidCorrected) else 1
    assert float((other - together)[:, :lids].abs().max()) > 0.1


@pytest.mark.parametrize("detector", LIDS, ids=lambda each: each.name)
def test_the_cost_is_what_the_network_did(
    model: TextToImage, generated: DetectorInputs, detector: Detector
) -> None:
    unet = unet_of(model)
    found = measure(model, generated, [detector])[detector.name]
    assert found.nfe == pytest.approx((unet.rows + unet.reversed) / len(generated))
    assert found.nfe > 0
    assert found.generation == 24


def test_agreement_is_the_mean_over_other_seeds(
    model: TextToImage, generated: DetectorInputs
) -> None:
    images = generated.generated().images[3:6]
    small = images.reshape(3, 3, 16, 2, 16, 2).mean((3, 5)).flatten(1)
    small = small - small.mean(1, keepdim=True)
    similar = torch.corrcoef(small)
    found = read(model, generated, SeedSimilarity())
    torch.testing.assert_close(found[4, 0], (similar[1, 0] + similar[1, 2]) / 2)
    pairwise = (similar[0, 1] + similar[0, 2] + similar[1, 2]) / 3
    torch.testing.assert_close(per_prompt(found[:, 0], generated)[1], pairwise)
    by_prompt = per_prompt(found[:, 0], generated)
    assert by_prompt[0] > 0.99 and by_prompt[0] > by_prompt[2:].max() + 0.1


def test_agreement_needs_two_seeds(model: TextToImage, generated: DetectorInputs) -> None:
    with pytest.raises(MMHError, match="two seeds or more"):
        read(model, generated.rows(torch.tensor([0, 1, 5])), SeedSimilarity())


def test_latents_lie_where_the_closed_forms_are_wide_apart(generated: DetectorInputs) -> None:
    """The generated duplicate is a copy, ordinary images are not: else nothing above tells."""
    _, offset = laws(generated, "conditional")
    length = offset.norm(dim=1) / DIM**0.5
    assert length[:3].max() < 0.1 < length[6:].min()
