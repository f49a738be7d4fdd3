"""What is read off a model at points: known models give known dimensions and verdicts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.analytic import gaussian_on_subspace
from mmh_core.diffusion.schedule import VarianceExploding, VariancePreserving
from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.knn import default_k, knn_graph
from mmh_core.dimension.neighbors import ess
from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.records import ManifoldSamples
from mmh_core.studies.manifolds.estimates import (
    EvaluationContext,
    data_lid_at,
    estimate_points,
    estimator_for,
    nearest_training,
    scales_for,
    without_itself,
)
from mmh_core.studies.manifolds.run import STATUSES
from tests.diffusion.exact_models import empirical_denoiser

SCHEDULE = VarianceExploding(1e-3, 40.0)


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator with a constant seed."""
    return torch.Generator().manual_seed(seed)


def samples(points: Tensor, lid: float | Tensor) -> ManifoldSamples:
    """Return points whose true LID is one number, or one each."""
    lids = lid if isinstance(lid, Tensor) else torch.full((len(points),), lid)
    return ManifoldSamples("test", points, lids, torch.zeros(len(points)).long(), ("all",))


def plane(count: int, dim: int = 6, seed: int = 0) -> Tensor:
    """Draw from a round Gaussian of variance 4 in the first two of `dim` coordinates."""
    points = torch.zeros(count, dim)
    points[:, :2] = 2 * torch.randn(count, 2, generator=seeded(seed))
    return points


def plane_model(dim: int = 6) -> ScoreModel:
    """Return the exact model of `plane`."""
    frame = torch.eye(dim)[:, :2]
    return gaussian_on_subspace(torch.zeros(dim), frame, torch.full((2,), 4.0), SCHEDULE)


def context_of(
    model: ScoreModel, train: ManifoldSamples, truth: ManifoldSamples
) -> EvaluationContext:
    """Return what a run of this model would be read with."""
    return EvaluationContext(
        train=train,
        held_out=train.points,
        truth=truth,
        shown=torch.arange(len(train.points)),
        generated=0,
        log_delta=scales_for(model),
        typical_lid=2.0,
        estimator=estimator_for(model),
        seed=3,
    )


def labels(codes: Tensor) -> list[str]:
    """Return verdicts in words."""
    return [VERDICTS[code] for code in codes.tolist()]


def shaped(dim: int, scale: float = 1.0) -> ScoreModel:
    """Return a model of which only the shape and the scale are asked."""
    return ScoreModel(lambda x, t, c: x, VariancePreserving(), "eps", (dim,), scale)


@pytest.mark.parametrize(
    ("dim", "estimator", "scales"),
    [(2, "spectral_count", 16), (16, "spectral_count", 16), (17, "soft_spectral_count", 9)],
)
def test_the_exact_count_is_used_while_it_is_cheap(dim: int, estimator: str, scales: int) -> None:
    model = shaped(dim, scale=0.5)
    assert estimator_for(model) == estimator
    found = scales_for(model).exp()
    assert len(found) == scales
    assert float(found[0]) == pytest.approx(0.005) and float(found[-1]) == pytest.approx(0.5)
    ratios = found[1:] / found[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), atol=1e-4, rtol=0)


def test_the_field_is_shown_at_a_tenth_a_third_and_all_of_the_scale() -> None:
    points = samples(torch.zeros(3, 2), 1.0)
    context = context_of(shaped(2), points, points)
    expected = torch.tensor([0.05, 0.15, 0.5])
    torch.testing.assert_close(context.field_log_delta(shaped(2, 0.5)).exp(), expected)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)])
def test_nearest_training_equals_brute_force(shape: tuple[int, ...]) -> None:
    """Against every distance written out in float64, with some rows there three times."""
    train = torch.randn(40, *shape, generator=seeded(1))
    train = torch.cat([train, train[:7], train[:7]])[torch.randperm(54, generator=seeded(2))]
    points = torch.cat([torch.randn(30, *shape, generator=seeded(3)), train[5:9]])
    nearest, ratio = nearest_training(points, train)
    for i, point in enumerate(points.double()):
        far = [float((row - point).square().sum().sqrt()) for row in train.double()]
        row = far.index(min(far))
        others = [d for d, t in zip(far, train, strict=True) if not torch.equal(t, train[row])]
        assert int(nearest[i]) == row
        # cdist squares, which leaves 1e-8 of a distance of 0; the ratio is kept in float32.
        assert float(ratio[i]) == pytest.approx(min(far) / min(others), abs=1e-6, rel=1e-5)


def test_copies_of_one_place_are_counted_once() -> None:
    """By hand: at a perfect copy d1 / d2 is 0 and not 0 / 0, a third of the way it is a half."""
    train = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    nearest, ratio = nearest_training(torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.5, 0.0]]), train)
    assert nearest.tolist() == [0, 0, 1]
    torch.testing.assert_close(ratio, torch.tensor([0.0, 0.5, 0.5 / 3.5]))
    assert ratio.dtype == torch.float32


def test_one_place_alone_has_no_ratio() -> None:
    nearest, ratio = nearest_training(torch.randn(4, 2), torch.ones(3, 2))
    assert nearest.tolist() == [0] * 4
    assert bool(ratio.isnan().all())


def test_a_point_leaves_out_itself_once_and_not_its_copies() -> None:
    """Against all distances sorted: rows 0 and 30 are one place, row 1 is alone."""
    known = torch.randn(30, 3, generator=seeded(1))
    known = torch.cat([known, known[:1]])
    stranger = torch.full((1, 3), 0.1)
    queries = torch.cat([known[:2], stranger])
    graph = without_itself(known, queries, 5)
    every = torch.cdist(queries.double(), known.double())
    copied, alone, free = every.sort(dim=1).values
    expected = torch.stack([copied[1:6], alone[1:6], free[:5]])
    torch.testing.assert_close(graph.distances, expected, atol=1e-7, rtol=0)
    assert graph.distances[:, 0].tolist()[0] == 0.0 < float(graph.distances[1, 0])
    assert int(graph.indices[0, 0]) in (0, 30)
    assert 1 not in graph.indices[1].tolist()
    found = every.gather(1, graph.indices)
    torch.testing.assert_close(found, graph.distances, atol=1e-7, rtol=0)
    # A stranger's neighbors are those of the usual graph.
    assert torch.equal(graph.indices[2:], knn_graph(known, 5, queries=stranger).indices)


def test_known_truth_is_that_of_the_nearest_sample_however_far() -> None:
    truth = samples(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.tensor([1.0, 2.0]))
    points = torch.tensor([[4.9, 0.0], [5.1, 0.0], [-1e6, 0.0]])
    assert data_lid_at(points, truth).tolist() == [1.0, 2.0, 1.0]


def test_unknown_truth_is_estimated_among_the_known_points() -> None:
    """Equal to skewness of the graph that leaves each point out; near 2 on a plane in R^6.

    The median of 300 estimates from 15 neighbors each lies within .3 of the dimension.
    """
    known = plane(300)
    truth = samples(known, math.nan)
    found = data_lid_at(known, truth)
    expected = ess(knn_graph(known, default_k(300))).lid.float()
    torch.testing.assert_close(found, expected)
    assert float(found.median()) == pytest.approx(2.0, abs=0.3)


def test_what_imitates_a_repeated_image_has_its_lid() -> None:
    """Rows 0 and 300 are one place: LID 0 there, and at a sample that comes close to it."""
    known = plane(300)
    truth = samples(torch.cat([known, known[:1]]), math.nan)
    close = known[:2] + 1e-4
    lid = data_lid_at(torch.cat([known[:2], close]), truth)
    assert lid[[0, 2]].tolist() == [0.0, 0.0]
    assert float(lid[1]) > 1.0
    assert float(lid[3]) == float(lid[1])


def test_an_exact_model_is_read_without_error() -> None:
    """The projector's eigenvalues are 4 / (4 + delta^2) twice and 0: the count is 2 at any scale
    up to 1, so all of the band is plateau."""
    model, train = plane_model(), samples(plane(40), 2.0)
    context = context_of(model, train, train)
    band = (float(context.log_delta[2]), float(context.log_delta[-1]))
    found = estimate_points(model, train.points, context, band)
    assert found.lid.tolist() == [2.0] * 40
    assert torch.equal(found.curve, torch.full((40, 16), 2.0))
    assert found.curve_error.shape == (40, 0)
    assert {STATUSES[i] for i in found.status.tolist()} == {"plateau"}
    assert found.status.dtype == found.verdict.dtype == torch.int8
    torch.testing.assert_close(found.width, torch.full((40,), band[1] - band[0]))
    torch.testing.assert_close(found.log_delta, torch.full((40,), sum(band) / 2))
    assert set(labels(found.verdict)) == {"not memorized"}
    assert not bool(found.memorized.any())


def test_a_model_that_repeats_its_points_is_judged_by_what_is_true_there() -> None:
    """LID 0 everywhere: overfitting where the truth is a plane, the data's fault at its copies."""
    points = plane(12)
    truth = samples(points, torch.tensor([0.0, 0.0] + [2.0] * 10))
    model = empirical_denoiser(points, SCHEDULE)
    context = context_of(model, truth, truth)
    # Below a tenth of the nearest distance no other point has any weight left.
    closest = torch.cdist(points, points).fill_diagonal_(math.inf).min()
    assert float(closest) > 0.1
    band = (float(context.log_delta[0]), math.log(0.05))
    found = estimate_points(model, points, context, band)
    assert found.lid.tolist() == [0.0] * 12
    assert labels(found.verdict) == ["DD-Mem, exact"] * 2 + ["OD-Mem, exact"] * 10
    assert bool(found.memorized.all())


def test_without_a_fit_nothing_is_said_and_the_whole_curve_is_read() -> None:
    model, train = plane_model(), samples(plane(5), 2.0)
    context = context_of(model, train, train)
    found = estimate_points(model, train.points, context, None)
    assert set(labels(found.verdict)) == {"fit too poor to say"}
    assert found.lid.tolist() == [2.0] * 5
    torch.testing.assert_close(found.width, torch.full((5,), math.log(100)))


def test_a_random_estimator_tells_its_errors_and_draws_the_same_each_time() -> None:
    """In R^20 the soft count: 2 within three of the standard errors that it states.

    On axes that are not those of the probes, which would see a coordinate plane without error.
    """
    frame = torch.linalg.qr(torch.randn(20, 20, generator=seeded(4))).Q[:, :2]
    model = gaussian_on_subspace(torch.zeros(20), frame, torch.full((2,), 4.0), SCHEDULE)
    train = samples(plane(30, 2) @ frame.T, 2.0)
    context = context_of(model, train, train)
    band = (float(context.log_delta[0]), float(context.log_delta[-2]))
    found = estimate_points(model, train.points, context, band)
    assert found.curve_error.shape == (30, 9)
    assert float(found.curve_error.mean()) > 0
    error = found.curve_error[:, 0].mean() / math.sqrt(30)
    assert abs(float(found.lid.mean()) - 2.0) < 3 * float(error) + 1e-3
    assert torch.equal(found.lid, estimate_points(model, train.points, context, band).lid)
