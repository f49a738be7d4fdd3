"""Tests of the nearest-neighbor graph, of the estimators on it, and of concordance."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import special, stats

from mmh_core.dimension.neighbors import (
    NeighborGraph,
    concordance,
    default_k,
    duplicates,
    ess,
    knn_graph,
    local_pca,
    mle,
    two_nn,
)

ESTIMATORS = [mle, two_nn, local_pca, ess]
METHODS = ["ess", "mle", "two_nn", "local_pca"]


@pytest.fixture
def generator():
    """Return a fresh generator with a constant seed: every figure below is reproducible."""
    return torch.Generator().manual_seed(0)


def normal(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def uniform(*shape, generator):
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def brute_force(points, k, queries=None):
    """Return indices and distances by sorting all differences, without any shortcut."""
    points = points.flatten(1).double()
    wanted = points if queries is None else queries.flatten(1).double()
    far = torch.stack([(points - one).square().sum(dim=1).sqrt() for one in wanted])
    if queries is None:
        far.fill_diagonal_(torch.inf)
    distances, indices = far.sort(dim=1, stable=True)
    return indices[:, :k], distances[:, :k]


def by_radii(radii, ambient_dim=3):
    """Make a graph that knows only distances, for the estimators that look at nothing else."""
    rows = torch.zeros(radii.shape, dtype=torch.int64)
    points = torch.zeros(len(radii), ambient_dim, dtype=torch.float64)
    return NeighborGraph(rows, radii, points, None)


def around_origin(patches):
    """Make a graph whose q-th neighborhood is the q-th patch (Q, k, D), seen from the origin."""
    count, k, dim = patches.shape
    rows = torch.arange(count * k).reshape(count, k)
    origin = torch.zeros(count, dim, dtype=torch.float64)
    return NeighborGraph(rows, patches.norm(dim=2), patches.flatten(0, 1), origin)


def mean_sine(n):
    """Return the mean sine of the angle of two uniform directions in R^n (0 on the line)."""
    n = np.asarray(n, dtype=float)
    logs = 2 * special.gammaln(n / 2) - special.gammaln((n + 1) / 2)
    return np.where(n > 1, np.exp(logs - special.gammaln(np.maximum(n - 1, 1e-300) / 2)), 0.0)


def skewness_of(lid):
    """Return the skewness that `ess` must have seen, by the reference curve between integers."""
    whole = np.arange(1, 400)
    return np.interp(lid, whole, mean_sine(whole))


# The graph


# Fewer points than candidates, more, and so many that rows are measured in blocks.
@pytest.mark.parametrize("count", [12, 150, 900])
def test_graph_equals_brute_force(generator, count):
    points = normal(count, 3, 4, generator=generator)
    queries = normal(37, 3, 4, generator=generator)
    for asked in (None, queries):
        graph = knn_graph(points, 9, queries=asked)
        indices, distances = brute_force(points, 9, asked)
        assert torch.equal(graph.indices, indices)
        # Two orders of summing 12 squares: a few units in the last place.
        torch.testing.assert_close(graph.distances, distances, rtol=1e-14, atol=0)
        assert torch.equal(graph.points, points.flatten(1))


def test_graph_keeps_every_digit_where_the_fast_formula_has_none(generator):
    # Clouds of width 1e-5 a million apart: |a|^2 - 2 a.b + |b|^2 errs by 1e-4, their squared
    # distances are 1e-10.
    clouds = 1e-5 * normal(160, 5, generator=generator)
    clouds[::2] += 1e6
    graph = knn_graph(clouds, 20)
    indices, distances = brute_force(clouds, 20)
    assert torch.equal(graph.indices, indices)
    torch.testing.assert_close(graph.distances, distances, rtol=1e-14, atol=0)
    queries = clouds[:10] + 1e-5
    again = knn_graph(clouds, 20, queries=queries)
    assert torch.equal(again.indices, brute_force(clouds, 20, queries)[0])


def test_graph_of_float32_images_has_exact_zeros(generator):
    images = torch.rand(60, 3, 8, 8, generator=generator) + 1000
    images[41] = images[7]
    graph = knn_graph(images, 5)
    assert graph.indices[41, 0] == 7
    assert graph.indices[7, 0] == 41
    assert graph.distances[7, 0] == 0
    assert duplicates(graph).nonzero().flatten().tolist() == [7, 41]


def test_graph_excludes_a_point_by_row_and_not_by_distance(generator):
    points = normal(50, 2, generator=generator)
    points[:30] = points[0]
    graph = knn_graph(points, 6)
    assert not (graph.indices == torch.arange(50)[:, None]).any()
    # A copied point has 29 copies, more than k and more than the candidates of the first pass.
    assert duplicates(graph).tolist() == [6] * 30 + [0] * 20
    # The same rows asked as queries find themselves.
    asked = knn_graph(points, 6, queries=points[29:33])
    assert duplicates(asked).tolist() == [6, 1, 1, 1]


def test_neighbors_at_equal_distances_come_in_row_order():
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [9, 9]])
    assert knn_graph(points, 4).indices[0].tolist() == [1, 2, 3, 4]
    axis = torch.arange(12.0)
    graph = knn_graph(torch.cartesian_prod(axis, axis), 60)  # roots of integers: equal or not
    tied = graph.distances.diff(dim=1) == 0
    assert tied.float().mean() > 0.5
    assert (graph.indices.diff(dim=1)[tied] > 0).all()


def test_default_neighborhood_size():
    sizes = [default_k(n) for n in (0, 100, 119, 120, 400, 1999, 2000, 4999, 5000, 10**6)]
    assert sizes == [5, 5, 5, 6, 20, 99, 100, 100, 100, 100]


# Values with known answers


@pytest.mark.parametrize("ambient", [12, 90])  # fewer and more coordinates than neighbors
@pytest.mark.parametrize("dim", [1, 3, 7])
def test_local_pca_is_exact_on_affine_subspaces(generator, dim, ambient):
    frame = torch.linalg.qr(normal(ambient, dim, generator=generator)).Q
    points = normal(600, dim, generator=generator) @ frame.T + 5
    assert (local_pca(knn_graph(points, 60)).lid == dim).all()


@pytest.mark.parametrize("ambient", [3, 12])
def test_local_pca_counts_by_its_threshold(ambient):
    # Pairs at +-sqrt(l) along the axes have covariance proportional to the l.
    axes = torch.diag(torch.tensor([1.0, 0.06, 0.04], dtype=torch.float64).sqrt())
    patch = torch.zeros(1, 6, ambient, dtype=torch.float64)
    patch[0, :, :3] = torch.cat([axes, -axes])
    graph = around_origin(patch)
    assert local_pca(graph).lid.item() == 2
    assert local_pca(graph, threshold=0.1).lid.item() == 1
    assert local_pca(graph, threshold=0.03).lid.item() == 3
    assert local_pca(graph).standard_error.isnan().all()


def test_mle_of_a_hand_made_neighborhood():
    radii = torch.tensor([[math.exp(-3), math.exp(-2), math.exp(-1), 1.0]], dtype=torch.float64)
    estimate = mle(by_radii(radii))
    assert estimate.lid.item() == pytest.approx(2 / 6, rel=1e-14)  # rounding
    assert estimate.standard_error.item() == pytest.approx(2 / 6 / math.sqrt(2), rel=1e-14)
    assert estimate.nfe == 0.0


@pytest.mark.parametrize("dim", [1, 4, 20])
def test_mle_is_unbiased_in_a_uniform_ball(generator, dim):
    # Distances from the center of a uniform ball are U^(1 / dim); the k-th smallest of n of them
    # is the edge of a smaller one, so that sorting 40 and keeping 12 changes nothing.
    k, count = 12, 40_000
    radii = uniform(count, 40, generator=generator).pow(1 / dim).sort(dim=1).values[:, :k]
    estimate = mle(by_radii(radii))
    # Inverse gamma: variance dim^2 / (k - 3) = dim^2 / 9. Four standard errors of the mean.
    assert estimate.lid.mean().item() == pytest.approx(dim, abs=4 * dim / 3 / math.sqrt(count))
    # Its fourth moment is finite: the mean of 40,000 squared errors is known to about 1 %.
    stated = estimate.standard_error.square().mean().item()
    assert stated == pytest.approx(dim**2 / (k - 3), rel=0.05)


def test_mle_inside_a_cube_and_at_its_edge(generator):
    cube = uniform(5000, 3, generator=generator)
    inside = 0.25 + 0.5 * uniform(250, 3, generator=generator)
    # Balls of 20 neighbors have radius .1: none leaves the cube. About 1,000 points lie around
    # the queries, so the mean is known to about 3 / sqrt(1000) = .1; three of those.
    lid = mle(knn_graph(cube, 20, queries=inside)).lid
    assert lid.mean().item() == pytest.approx(3, abs=0.3)
    # From .05 outside a face only a cap is seen, and its volume grows faster than r^3.
    outside = inside.clone()
    outside[:, 0] = -0.05
    assert mle(knn_graph(cube, 20, queries=outside)).lid.mean() > 3.5
    # From .05 inside, the cut ball grows more slowly than a whole one.
    outside[:, 0] = 0.05
    assert mle(knn_graph(cube, 20, queries=outside)).lid.mean() < 2.9


def test_two_nn_of_equal_ratios():
    # All log ratios are c, r of n are kept: lid = (r - 1) / (n c).
    k, c = 20, 0.3
    radii = torch.ones(50, k, dtype=torch.float64)
    radii[:, 1:] = math.exp(c)
    estimate = two_nn(by_radii(radii))
    expected = torch.full((50,), 17 / (20 * c), dtype=torch.float64)
    torch.testing.assert_close(estimate.lid, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(
        estimate.standard_error, expected / math.sqrt(17), rtol=1e-13, atol=0
    )


def test_two_nn_is_unbiased_for_pareto_ratios(generator):
    # Blocks of 50 points are each other's neighbors: 2,000 independent fits.
    dim, k, blocks = 6, 50, 2000
    logs = -uniform(k * blocks, generator=generator).log() / dim
    radii = torch.ones(k * blocks, k, dtype=torch.float64)
    radii[:, 1:] = logs.exp()[:, None]
    rows = torch.arange(k * blocks).reshape(blocks, k).repeat_interleave(k, dim=0)
    graph = NeighborGraph(rows, radii, torch.zeros(k * blocks, 9), None)
    lid = two_nn(graph).lid[::k]
    # 45 kept: variance dim^2 / 43 each. Four standard errors.
    spread = dim / math.sqrt(43)
    assert lid.mean().item() == pytest.approx(dim, abs=4 * spread / math.sqrt(blocks))
    assert lid.std().item() == pytest.approx(spread, rel=0.1)  # 1.6 % each way, doubled thrice


def test_two_nn_seeks_second_neighbors_in_all_the_data(generator):
    square = uniform(800, 2, generator=generator)
    queries = 0.3 + 0.4 * uniform(40, 2, generator=generator)
    among, asked = knn_graph(square, 30), knn_graph(square, 30, queries=queries)
    logs = (among.distances[:, 1] / among.distances[:, 0]).log()[asked.indices].sort(dim=1).values
    expected = 26 / (logs[:, :27].sum(dim=1) + 3 * logs[:, 26])
    torch.testing.assert_close(two_nn(asked).lid, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dim", [2, 5, 75])
def test_ess_of_cross_polytopes(dim):
    # Vertices +-e_i: of the 2 dim - 1 partners of each all but the opposite one are orthogonal.
    axes = torch.eye(dim, dtype=torch.float64)
    lid = ess(around_origin(torch.cat([axes, -axes])[None])).lid.item()
    # A digit of skewness is 2 dim^2 digits of dimension: rounding is far below 1e-12.
    assert skewness_of(lid) == pytest.approx((2 * dim - 2) / (2 * dim - 1), abs=1e-12)


def test_ess_of_polygons_and_simplexes():
    angles = torch.arange(100, dtype=torch.float64) * (2 * math.pi / 100)
    polygon = torch.stack([angles.cos(), angles.sin()], dim=1)
    lid = ess(around_origin(polygon[None])).lid.item()
    # Sum of |sin| over the other 99 corners. Antipodes have area sqrt(rounding) = 1e-8 each.
    assert skewness_of(lid) == pytest.approx(2 / math.tan(math.pi / 100) / 99, abs=1e-9)
    # Offsets of a regular simplex meet at cosine -1 / (k - 1), whatever its size.
    simplex = 1e-100 * torch.eye(12, dtype=torch.float64)[None]
    lid = ess(around_origin(simplex)).lid.item()
    assert skewness_of(lid) == pytest.approx(math.sqrt(1 - 1 / 121), abs=1e-13)


@pytest.mark.parametrize("dim", [2, 3, 10, 60])
def test_ess_has_its_expected_value_in_d_dimensions(generator, dim):
    # Directions with their opposites have mean zero and unit length, so that the expected
    # skewness is exact: (k - 2) / (k - 1) times the mean sine.
    half = torch.nn.functional.normalize(normal(400, 30, dim, generator=generator), dim=2)
    estimate = ess(around_origin(torch.cat([half, -half], dim=1)))
    seen = skewness_of(estimate.lid.numpy())
    expected = float(mean_sine(dim)) * 58 / 59
    assert seen.mean() == pytest.approx(expected, abs=4 * seen.std() / math.sqrt(400))
    assert estimate.standard_error.isnan().all()


def test_ess_of_a_line_is_one(generator):
    line = normal(100, 1, generator=generator) * torch.tensor([1.0, 2.0, -1.0])
    # Powers of two leave no rounding error at all.
    axis = torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64)[None, :, None]
    assert ess(around_origin(axis.expand(1, 4, 1))).lid.item() == 1
    # Areas are square roots of rounding errors: 1e-8 of the largest.
    assert ess(knn_graph(line, 10)).lid == pytest.approx(np.ones(100), abs=1e-6)


# Laws


def test_estimates_do_not_depend_on_units_position_and_axes(generator):
    points = normal(300, 6, generator=generator) * torch.tensor([1.0, 1, 1, 0.7, 0.5, 0.1])
    turned = points @ torch.linalg.qr(normal(6, 6, generator=generator)).Q
    moved = 1e-3 * turned.reshape(300, 2, 3) + 0.5
    for estimator in ESTIMATORS:
        before, after = estimator(knn_graph(points, 25)), estimator(knn_graph(moved, 25))
        # Adding .5 to values near 1e-3 costs three digits of 16.
        torch.testing.assert_close(after.lid, before.lid, rtol=1e-9, atol=0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_batch_equals_loop(generator, estimator):
    # Several blocks of neighborhoods, and each query alone.
    points, queries = normal(250, 5, generator=generator), normal(900, 5, generator=generator)
    batch = estimator(knn_graph(points, 30, queries=queries)).lid
    for row in range(0, len(queries), 100):
        alone = estimator(knn_graph(points, 30, queries=queries[row : row + 1])).lid
        # Products of matrices of other sizes round otherwise; ESS magnifies it by 2 lid^2 = 50.
        torch.testing.assert_close(alone, batch[row : row + 1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_queries_give_no_estimates(generator, estimator):
    points = normal(30, 2, 2, generator=generator)
    assert estimator(knn_graph(points, 5, queries=points[:0])).lid.tolist() == []


# Copies and other degenerate neighborhoods


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_exact_copies_have_dimension_zero(generator, estimator):
    points = normal(300, 4, generator=generator)
    points[100:103] = points[0]  # fewer copies than k
    points[200:240] = points[1]  # more copies than k
    copied = torch.zeros(300, dtype=torch.bool)
    copied[[0, 1, *range(100, 103), *range(200, 240)]] = True
    estimate = estimator(knn_graph(points, 15))
    assert (estimate.lid[copied] == 0).all()
    assert (estimate.standard_error[copied] == 0).all()
    assert estimate.lid.isfinite().all()
    assert (estimate.lid[~copied] > 0).float().mean() > 0.9
    asked = estimator(knn_graph(points, 15, queries=points[98:102]))
    assert (asked.lid == 0).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_degenerate_neighborhoods_have_finite_dimension(generator, estimator):
    same = torch.full((30, 3), 0.1, dtype=torch.float64)
    assert (estimator(knn_graph(same, 5)).lid == 0).all()
    # All neighbors coincide, though not with the query: the sample shows one place.
    expected = {mle: 3.0, two_nn: 0.0, local_pca: 0.0, ess: 0.0}[estimator]
    alone = estimator(knn_graph(same, 7, queries=torch.tensor([[0.3, 0.7, -0.2]])))
    assert alone.lid.tolist() == [expected]
    # All points equally far from one another: ratios are 1 and say "as many as there are".
    # Turned, they are equally far but for rounding.
    for corners in (torch.eye(9), torch.linalg.qr(normal(9, 9, generator=generator)).Q):
        lid = estimator(knn_graph(corners, 5)).lid
        assert lid.isfinite().all()
        if estimator in (mle, two_nn):
            assert (lid == 9).all()
    lattice = torch.cartesian_prod(*[torch.arange(5.0)] * 3)
    assert estimator(knn_graph(lattice, 20)).lid.isfinite().all()


def test_errors_without_meaning_are_nan():
    estimate = mle(by_radii(torch.ones(2, 5, dtype=torch.float64)))
    assert estimate.lid.tolist() == [3, 3]
    assert estimate.standard_error.isnan().all()


# scikit-dimension as oracle


@pytest.mark.parametrize(("dim", "ambient"), [(2, 3), (8, 30), (60, 60)])
def test_agreement_with_scikit_dimension(generator, dim, ambient):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports announce is not our concern
        from skdim import id as oracle

    frame = torch.linalg.qr(normal(ambient, dim, generator=generator)).Q
    points = normal(300, dim, generator=generator) @ frame.T
    points += 0.05 * normal(300, ambient, generator=generator)
    graph, data = knn_graph(points, 50), points.numpy()
    arrays = (graph.distances.numpy(), graph.indices.numpy())
    # It reads the same neighborhoods; 1e-6 is the claim, the rest is rounding.
    close = {"rel": 0, "abs": 1e-6}
    unbiased = oracle.MLE(unbiased=True).fit_transform_pw(data, precomputed_knn_arrays=arrays)
    default = oracle.MLE().fit_transform_pw(data, precomputed_knn_arrays=arrays)
    assert mle(graph).lid.numpy() == pytest.approx(unbiased, **close)
    assert mle(graph).lid.numpy() * (49 / 48) == pytest.approx(default, **close)
    pca = oracle.lPCA(ver="FO", alphaFO=0.05)
    counts = pca.fit_transform_pw(data, precomputed_knn=arrays[1][:50])
    assert (local_pca(graph).lid[:50].numpy() == counts).all()
    skew = oracle.ESS(ver="a", d=1, random_state=0)
    values = [skew.fit_once(data[rows]).dimension_ for rows in arrays[1][:20]]
    assert ess(graph).lid[:20].numpy() == pytest.approx(np.array(values), **close)


# Concordance


def test_concordance_of_known_rankings():
    truth = torch.tensor([1.0, 2, 2, 5, 9])
    assert concordance(torch.full((5,), 3.0), truth) == 0.5
    assert concordance(truth, truth) == 1
    assert concordance(torch.tensor([1, 30, 20, 40, 50]), truth) == 1  # equal truths: any order
    assert concordance(-truth, truth) == 0
    # Nine comparable pairs: (1,2a) won, (1,2b) tie, (1,5), (1,9) won, (2a,5) lost, (2a,9) won,
    # (2b,5) won, (2b,9) won, (5,9) won.
    assert concordance(torch.tensor([1.0, 4, 1, 3, 5]), truth) == pytest.approx(7.5 / 9)


def test_concordance_equals_somers_d(generator):
    truth = torch.randint(0, 6, (200,), generator=generator)
    estimate = truth + torch.randint(0, 8, (200,), generator=generator)
    rank = stats.somersd(truth.numpy(), estimate.numpy()).statistic
    # Several blocks of pairs.
    found = concordance(estimate, truth, block_bytes=1000)
    assert found == pytest.approx((1 + rank) / 2, abs=1e-12)


def test_concordance_leaves_out_unknown_truths():
    truth = torch.tensor([1.0, math.nan, 2.0])
    assert concordance(torch.tensor([1.0, math.nan, 2.0]), truth) == 1


# Bad input


@pytest.mark.parametrize("k", [2, 10, 11])
def test_neighborhood_size_out_of_range(generator, k):
    points = normal(10, 2, generator=generator)
    with pytest.raises(ValueError, match=rf"k={k} .* N=10 .* from 3 to N - 1"):
        knn_graph(points, k)
    with pytest.raises(ValueError, match=rf"k={k} .* N=10"):
        knn_graph(points, k, queries=points[:1])


def test_bad_points():
    points = torch.rand(10, 2, 2)
    with pytest.raises(ValueError, match="N=0"):
        knn_graph(torch.tensor(1.0), 5)
    for value in (math.nan, math.inf, 1e200):
        broken = points.double()
        broken[3, 0, 1] = value
        with pytest.raises(ValueError, match="points hold NaN"):
            knn_graph(broken, 3)
        with pytest.raises(ValueError, match="queries hold NaN"):
            knn_graph(points, 3, queries=broken)
    for queries in (torch.rand(5, 4), torch.rand(2, 2), torch.tensor(0.0)):
        with pytest.raises(ValueError, match=r"queries have shape .* \(Q, \*\(2, 2\)\)"):
            knn_graph(points, 3, queries=queries)
    with pytest.raises(ValueError, match=r"queries have shape \(\)"):
        knn_graph(torch.rand(10), 3, queries=torch.tensor(0.5))


def test_bad_choices():
    points = torch.rand(10, 2)
    for threshold in (0, 1, math.nan):
        with pytest.raises(ValueError, match="threshold="):
            local_pca(knn_graph(points, 3), threshold=threshold)


def test_bad_rankings():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        concordance(torch.rand(3), torch.rand(2))
    with pytest.raises(ValueError, match="NaN"):
        concordance(torch.tensor([1.0, math.nan]), torch.rand(2))
    with pytest.raises(ValueError, match="no two of the 2 known truths differ"):
        concordance(torch.rand(3), torch.tensor([4.0, 4.0, math.nan]))
