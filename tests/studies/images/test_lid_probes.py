"""Few probes where none hang on more: verdicts, intervals, and what the prompt adds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmh_core.dimension.estimators import DEFAULT_ESTIMATOR, ESTIMATORS
from mmh_core.dimension.spectral import ProbeValues
from mmh_core.memorization.cause import UNKNOWN, ModelLids, TrainingNeighborhood, cause_of
from mmh_core.records import LidEstimate
from mmh_core.statistics.intervals import Interval, half_width
from mmh_core.studies.images.lid import estimate_curves, estimate_lid, estimate_lids
from mmh_core.studies.images.lid_passes import FIRST, PROBES, SURE, UNPROMPTED, clear_of, decided
from mmh_core.studies.images.run import ImageResult
from mmh_core.studies.images.verdict import cause_settled
from mmh_core.text_to_image.model import TextToImage
from tests.text_to_image.conftest import ModelOf

DIM, TRIALS = 64, 4000


def projector(rank: int, seed: int = 0) -> Tensor:
    """Return a projector to `rank` random directions, those of fewer among them."""
    generator = torch.Generator().manual_seed(seed)
    frame, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator, dtype=torch.float64))
    return frame[:, :rank] @ frame[:, :rank].T


def soft(rank: int) -> Tensor:
    """Return a matrix of this trace whose eigenvalues fall off slowly from 1 to 0."""
    generator = torch.Generator().manual_seed(rank)
    frame, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator, dtype=torch.float64))
    values = torch.sigmoid((rank - torch.arange(DIM).double()) / 6)
    return frame @ torch.diag(values * rank / values.sum()) @ frame.T


def signs(trials: int, probes: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(2, (trials, probes, DIM), generator=generator).double() - 1


def probed(matrix: Tensor, probes: Tensor) -> ProbeValues:
    """Return the values of probes at as many points as there are trials."""
    products = probes @ matrix
    counts = (products * probes).sum(2)
    return ProbeValues(counts, products.square().sum(2), products, 1.0)


def first(values: ProbeValues, count: int) -> ProbeValues:
    return ProbeValues(
        values.counts[:, :count], values.squares[:, :count], values.products[:, :count], 1.0
    )


def one(estimate: LidEstimate, trial: int) -> LidEstimate:
    at = slice(trial, trial + 1)
    return replace(estimate, lid=estimate.lid[at], standard_error=estimate.standard_error[at])


def sides(estimates: list[tuple[float, float, int]], level: float) -> Tensor:
    """Return -1 for "low", 1 for "usual" and 0 where the printed interval holds the level."""
    halves = {draws: half_width(1.0, draws) for _, _, draws in estimates}
    return torch.tensor(
        [
            0 if abs(lid - level) <= error * halves[draws] else (-1 if lid < level else 1)
            for lid, error, draws in estimates
        ]
    )


@pytest.mark.parametrize("matrix", [projector(8), projector(30), soft(20)], ids=["8", "30", "20"])
@pytest.mark.parametrize("off", [0.0, 0.5, 1.0, 2.0, 4.0, 10.0])
def test_a_look_after_the_first_probes_makes_no_verdict_wrong(matrix: Tensor, off: float) -> None:
    """The level is `off` standard errors of eight probes below the true LID, which is known."""
    truth = float(matrix.trace())
    many = probed(matrix, signs(TRIALS, PROBES))
    full, few = many.estimate(DIM), first(many, FIRST).estimate(DIM)
    level = truth - off * float(full.standard_error.mean())
    always, adaptive = [], []
    for trial in range(TRIALS):
        all_probes = float(full.lid[trial]), float(full.standard_error[trial]), PROBES
        always.append(all_probes)
        stop = decided(one(few, trial), [level, math.inf])
        stopped = float(few.lid[trial]), float(few.standard_error[trial]), FIRST
        adaptive.append(stopped if stop else all_probes)
    wrong = {-1, 1} if off == 0 else {-1}
    errors = [
        sum(side in wrong for side in sides(of, level).tolist()) for of in (always, adaptive)
    ]
    # One in a thousand, where the printed intervals themselves may err in 50.
    assert errors[1] <= errors[0] + TRIALS // 1000
    held = [abs(lid - truth) <= error * half_width(1.0, n) for lid, error, n in adaptive]
    assert sum(held) / TRIALS >= 0.93
    spared = sum(draws == FIRST for _, _, draws in adaptive) / TRIALS
    assert spared > 0.9 if off == 10 else spared < 0.01 if off <= 1 else True


@pytest.mark.parametrize("further", [0, 1, 4])
def test_without_the_prompt_few_probes_of_the_difference_do(further: int) -> None:
    """Against the closed form of the variance of Rademacher probes, `2 (tr F^2 - sum F_ii^2)`."""

    def variance(matrix: Tensor) -> float:
        return 2 * float(matrix.square().sum() - matrix.diagonal().square().sum())

    prompted, unprompted = projector(20), projector(20 + further)
    probes = signs(TRIALS, PROBES)
    control = probed(prompted, probes)
    few = probed(unprompted, probes[:, :UNPROMPTED])
    estimate = few.estimate_beside(control, DIM)
    assert estimate.probes == UNPROMPTED
    apart = variance(unprompted - prompted) * (1 / UNPROMPTED - 1 / PROBES)
    expected = variance(unprompted) / PROBES + apart
    assert float(estimate.lid.mean()) == pytest.approx(
        20 + further, abs=4 * math.sqrt(expected / TRIALS)
    )
    assert float(estimate.lid.var()) == pytest.approx(expected, rel=0.1)
    # The stated variance is an upper bound, by what the diagonal takes off.
    stated = float(estimate.standard_error.square().mean())
    assert expected < stated < 1.8 * expected
    alone = variance(unprompted) / UNPROMPTED
    # As certain as so many probes of its own: 8, 5 and 2 in place of the 1 that it costs.
    assert alone / expected * UNPROMPTED > {0: 7.9, 1: 4.4, 4: 2.3}[further]


def test_with_as_many_probes_it_is_the_plain_estimate() -> None:
    probes = signs(50, PROBES)
    control, own = probed(projector(20), probes), probed(projector(31), probes)
    beside, plain = own.estimate_beside(control, DIM), own.estimate(DIM)
    torch.testing.assert_close(beside.lid, plain.lid)
    torch.testing.assert_close(beside.standard_error, plain.standard_error)


def rolling(model: TextToImage) -> TextToImage:
    """Return the model with a network of sums and products number by number.

    Its Jacobian is not diagonal, and no batch changes its arithmetic.
    """

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        shift = 0.0 if cond is None else cond[:, :1, :1, None].tanh()
        return x_t * torch.sigmoid(x_t.roll(1, 3) + 2 * x_t.roll(1, 2) + shift)

    return replace(model, score_model=replace(model.score_model, net=net))


def results(model: TextToImage, prompts: list[str]) -> list[ImageResult]:
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(len(prompts), *model.score_model.shape, generator=generator)
    images = (model.decode(latents) * 255).round().to(torch.uint8)
    empty = torch.empty(0)
    return [
        ImageResult(i, prompt, i, images[i], latents[i], empty, empty, images[:0], empty)
        for i, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimate_of_an_image_is_the_same_in_any_company(
    model_of: ModelOf, estimator: str
) -> None:
    model = rolling(model_of("tiny"))
    images = results(model, ["the cat", "a dog", "the cat", "", "a cat"])

    def figures(*rows: int) -> list[tuple[float, ...]]:
        *_, lids = estimate_lids(
            model,
            [images[row] for row in rows],
            0.2,
            estimator=estimator,
            settled=clear_of([20.0]),
        )
        return [
            (lid.conditional, lid.conditional_error, lid.unconditional, lid.unconditional_error)
            for lid in lids
        ]

    together = figures(0, 1, 2, 3, 4)
    assert len(set(together)) == 5
    for rows in ((0,), (4,), (2, 1), (4, 3, 2, 1, 0)):
        for row, again in zip(rows, figures(*rows), strict=True):
            # Torch adds up in another order where there are other rows; other probes give others.
            exact = estimator == DEFAULT_ESTIMATOR
            close = pytest.approx(together[row], rel=0 if exact else 1e-5, abs=0, nan_ok=True)
            assert again == close


def test_curves_and_the_estimate_of_a_cell_are_the_same_in_any_company_to_the_bit(
    model_of: ModelOf,
) -> None:
    model, scales = rolling(model_of("tiny")), torch.tensor([-0.4, 0.2, 0.8])
    images = results(model, ["the cat"] * 5)
    *_, (_, curves) = estimate_curves(model, images, scales)
    *_, (_, alone) = estimate_curves(model, images[3:4], scales)
    assert torch.equal(curves[3][0], alone[0][0]) and torch.equal(curves[3][1], alone[0][1])
    latents = torch.stack([image.latents for image in images])
    pixels = torch.stack([image.image for image in images])
    cond = model.encode_text(["the cat"]).expand(5, -1, -1)
    cell = estimate_lid(model, latents, cond, 0.2, prompt="the cat", images=pixels)
    *_, lids = estimate_lids(model, images, 0.2)
    assert cell.probes == PROBES and cell.lid.tolist() == [lid.conditional for lid in lids]
    assert len(set(cell.lid.tolist())) == 5
    assert lids[0].estimator == DEFAULT_ESTIMATOR


def flat(value: float) -> Interval:
    return Interval(value, value, value)


@pytest.mark.parametrize(
    ("around", "lid", "error", "settled"),
    [
        # A point mass of the training set: the data, wherever the LID stands below the usual one.
        (TrainingNeighborhood(9, 0, flat(0.0), 1.0, flat(20.0)), 2.0, 1.0, True),
        # More than is usual of training images would support no cause, and that is not excluded.
        (TrainingNeighborhood(9, 0, flat(0.0), 1.0, flat(20.0)), 18.0, 5.0, False),
        # Clearly fewer dimensions than the data: overfitting. Nearly as many: it hangs on more.
        (TrainingNeighborhood(1, 0, flat(20.0), 1.0, flat(20.0)), 2.0, 1.0, True),
        (TrainingNeighborhood(1, 0, flat(20.0), 1.0, flat(20.0)), 12.0, 2.0, False),
        # Too few neighbors: no LID tells anything.
        (TrainingNeighborhood(1, 0, UNKNOWN, 1.0, flat(20.0)), 2.0, 1.0, True),
    ],
)
def test_a_first_look_settles_a_copy_whose_cause_is_the_same_over_its_interval(
    around: TrainingNeighborhood, lid: float, error: float, settled: bool
) -> None:
    estimate = LidEstimate(torch.tensor([lid]), torch.tensor([error]), 20.0, probes=FIRST)
    assert cause_settled(flat(20.0), around, estimate) == settled
    # What it settles, no LID within the interval makes another cause.
    half = half_width(error, FIRST, SURE)
    labels = {
        cause_of(ModelLids(flat(value), flat(20.0)), around).label
        for value in torch.linspace(lid - half, lid + half, 41).tolist()
    }
    assert not settled or len(labels) == 1
