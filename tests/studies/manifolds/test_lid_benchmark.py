"""The LID benchmark: its closed forms against direct numerics, and a short run of all of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.analytic import gaussian_on_subspace
from mmh_core.diffusion.schedule import VarianceExploding
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.records import Progress
from mmh_core.studies.manifolds.closed_forms import TARGETS, expected_lid
from mmh_core.studies.manifolds.lid_benchmark import CASES, LidBenchmark, lid_benchmark

VARIANCES = torch.tensor([2.0, 0.5, 0.011, 1e-4])
SCALES = [math.log(0.03), math.log(0.1), math.log(0.9)]


@pytest.fixture(scope="module")
def progress() -> Iterator[list[Progress[LidBenchmark]]]:
    """Return everything that one short run on few points yields."""
    with pytest.MonkeyPatch.context() as patch:
        small = dataclasses.replace(CASES["lollipop"], points=700, queries=50)
        patch.setitem(CASES, "lollipop", small)
        yield list(lid_benchmark(("lollipop",), seeds=(3,), steps=3))


@pytest.fixture(scope="module")
def found(progress: list[Progress[LidBenchmark]]) -> LidBenchmark:
    """Return the finished benchmark."""
    return progress[-1].partial


def projector(variances: Tensor, log_delta: float) -> Tensor:
    """Return the Jacobian of the exact denoiser at its mean, by automatic differentiation."""
    dim = len(variances) + 2
    frame = torch.eye(dim, dtype=torch.float64)[:, : len(variances)]
    schedule = VarianceExploding(1e-3, 40.0)
    mean = torch.zeros(dim, dtype=torch.float64)
    model = gaussian_on_subspace(mean, frame, variances.double(), schedule)
    t = schedule.time_at(torch.tensor([log_delta], dtype=torch.float64))
    alpha = schedule.alpha(t)

    def denoised(x: Tensor) -> Tensor:
        return model.x0(alpha * x[None], t)[0]

    found: Tensor = torch.func.jacrev(denoised)(mean)
    return found


def logistic_step(p: float) -> float:
    """Return the step of width .07 at one half, 0 at 0 and 1 at 1."""

    def raw(value: float) -> float:
        return 1 / (1 + math.exp(-(value - 0.5) / 0.07))

    return (raw(p) - raw(0)) / (raw(1) - raw(0))


@pytest.mark.parametrize("log_delta", SCALES)
def test_the_expected_values_are_traces_of_functions_of_the_jacobian(log_delta: float) -> None:
    """Each eigenvalue written out; the Hessian of the log density is `(P - I) / delta^2`."""
    matrix = projector(VARIANCES, log_delta)
    eigenvalues = torch.linalg.eigvalsh(matrix).tolist()
    count = float(sum(p > 0.5 for p in eigenvalues))
    soft = sum(logistic_step(p) for p in eigenvalues)
    delta = math.exp(log_delta)
    kappa = 0.1 / delta**2
    hessian = torch.linalg.eigvalsh((matrix - torch.eye(6)) / delta**2).tolist()
    direct = {
        "spectral_count": count,
        "normal_bundle": count,
        "soft_spectral_count": soft,
        "soft_spectral_count_exact": soft,
        "flipd": float(matrix.trace()),
        "flipd_exact": float(matrix.trace()),
        # Normal directions have the value 1e-4 each, which the closed form leaves out.
        "lhsd": sum(1 / (1 + (abs(h) / kappa) ** 4) for h in hessian) - 2 / (1 + 1e4),
    }
    for name, value in direct.items():
        # float32 in the formula, float64 here.
        assert expected_lid(name, VARIANCES, log_delta) == pytest.approx(value, abs=2e-5), name


@pytest.mark.parametrize("log_delta", SCALES)
def test_the_expected_denoising_loss_is_that_of_many_draws(log_delta: float) -> None:
    """`E |eps - eps_hat|^2` at the mean, where `eps_hat` misses the share P of the noise.

    Of 400,000 draws; the largest standard error of a sum of such squares is .006.
    """
    matrix = projector(VARIANCES, log_delta).float()
    noise = torch.randn(400_000, 6, generator=torch.Generator().manual_seed(1))
    # x0_hat of delta eps is P delta eps, so eps_hat = (delta eps - x0_hat) / delta.
    missed = noise @ matrix.T
    loss = float(missed.square().sum(1).mean())
    assert expected_lid("dsm", VARIANCES, log_delta) == pytest.approx(loss, abs=0.02)


@pytest.mark.parametrize("log_delta", SCALES)
def test_the_expected_window_is_the_mean_of_the_curve(log_delta: float) -> None:
    """The integral of `l / (l + delta^2)` over log delta is `-log(1 + l / delta^2) / -2`.

    The trapezoid over five nodes is off it by h^2 / 12 times the curvature, at most .004 here.
    """
    low, high = math.exp(2 * (log_delta - 0.5)), math.exp(2 * (log_delta + 0.5))
    exact = sum(
        (math.log1p(v / low) - math.log1p(v / high)) / 2 for v in VARIANCES.double().tolist()
    )
    assert expected_lid("window_flipd", VARIANCES, log_delta) == pytest.approx(exact, abs=0.004)


def test_every_estimator_meets_its_closed_form(found: LidBenchmark) -> None:
    """27 rows, of which the worst of normal errors exceeds four once in 600 runs; the seed is
    constant. The exact ones may differ by the .001 that their deviation is counted in."""
    assert len(found.analytic) == 3 * len(ESTIMATORS)
    for row in found.analytic:
        assert row.deviation <= 4, row
    exact = ("Spectral count", "Soft spectral count, whole spectrum", "FLIPD, exact trace")
    for row in found.analytic:
        if row.estimator in exact:
            assert row.measured == pytest.approx(row.expected, abs=1e-4), row


def test_the_parameterisation_makes_no_difference(found: LidBenchmark) -> None:
    """The same score in five guises; float32 leaves a few units in the sixth digit."""
    assert set(TARGETS) == {"eps", "x0", "v", "flow", "edm"}
    for row in found.analytic:
        assert row.across_targets <= 1e-4, row


def test_the_true_dimension_is_the_number_of_wide_directions(found: LidBenchmark) -> None:
    """3 and 7 of the subspaces; at delta .05 a width of .001 does not count."""
    assert [row.true_lid for row in found.analytic] == [3.0] * 9 + [7.0] * 9 + [4.0] * 9


def test_a_short_run_holds_every_row(progress: list[Progress[LidBenchmark]]) -> None:
    found = progress[-1].partial
    (result,) = found.trained
    assert (result.manifold, result.seed, result.steps) == ("lollipop", 3, 3)
    assert (result.points, result.queries, result.width) == (700, 50, 128)
    assert [r.name for r in result.rows] == [*ESTIMATORS, "ess", "local_pca", "mle", "two_nn"]
    for row in result.rows:
        assert row.lid.shape == (50,)
        assert math.isfinite(row.mean_abs_error) and 0 <= row.concordance <= 1
    # The data side needs no training: local PCA of 700 points tells 0, 1 and 2 nearly without
    # error, and three steps teach a network nothing.
    rows = {row.name: row for row in result.rows}
    assert rows["local_pca"].mean_abs_error < 0.1 < rows["spectral_count"].mean_abs_error
    assert [(g.manifold, g.latent_dim) for g in found.generators] == [
        ("sphere", 4),
        ("affine-10", 8),
    ]
    assert all(g.mean_abs_error_count >= 0 and g.noise > 0 for g in found.generators)


def test_progress_runs_up_to_one_and_only_adds(progress: list[Progress[LidBenchmark]]) -> None:
    fractions = [each.fraction for each in progress]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    for kind in ("analytic", "trained", "generators"):
        sizes = [len(getattr(each.partial, kind)) for each in progress]
        assert sizes == sorted(sizes)
    # A row each, the 13 rows of the table, its result, two generators, the end.
    assert len(progress) == 27 + 13 + 1 + 2 + 1


@pytest.mark.parametrize(
    ("cases", "seeds", "steps", "sentence"),
    [
        (("moebius",), (0,), None, r"'moebius'; choose from lollipop, affine-10, affine-100\."),
        (("lollipop",), (), None, r"seeds .* got \(\)\."),
        (("lollipop",), (0, -1), None, r"seeds .* got \(0, -1\)\."),
        (("lollipop",), (2**31,), None, r"seeds .* to 2,147,483,647, got \(2147483648,\)\."),
        (("lollipop",), (0,), 0, r"steps must be at least 1, got 0\."),
    ],
)
def test_bad_wishes_are_refused_at_once(
    cases: tuple[str, ...], seeds: tuple[int, ...], steps: int | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        next(lid_benchmark(cases, seeds=seeds, steps=steps))
