"""Tests of affine mixtures, their bent version, and the multiscale Gaussian."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import lsq_linear

from mmh_core.manifolds.affine import (
    affine_geometry,
    affine_mixture,
    multiscale_gaussian,
    squiggle,
    squiggly_mixture,
)
from mmh_core.manifolds.embedding import orthonormal_frame
from mmh_core.manifolds.specs import geometry_generator

FIELD = [((2, 4, 8), 10), ((10, 25, 50), 100), ((10, 30, 90), 100), ((10, 80, 200), 800)]


def pieces(samples):
    return [
        samples.points[samples.component == k].double()
        for k in range(len(samples.component_names))
    ]


@pytest.mark.parametrize(("dims", "ambient_dim"), FIELD)
def test_frames_are_orthonormal_and_modes_ten_apart(dims, ambient_dim, generator):
    geometry = affine_geometry(dims, ambient_dim, generator=generator)
    assert geometry.dims == dims
    for frame, dim in zip(geometry.frames, dims, strict=True):
        # Householder QR in float64 is orthonormal to a few units of 1e-16 per column.
        identity = torch.eye(dim, dtype=torch.float64)
        assert (frame.T @ frame - identity).abs().max() < 1e-13
    distances = torch.pdist(geometry.modes)
    assert torch.allclose(distances, torch.full((3,), 10.0, dtype=torch.float64), atol=1e-12)
    assert geometry.modes.sum(dim=0).abs().max() < 1e-12


def test_another_distance_is_kept(generator):
    geometry = affine_geometry((1, 1, 2, 3), 5, distance=2.5, generator=generator)
    assert torch.allclose(torch.pdist(geometry.modes), torch.full((6,), 2.5).double(), atol=1e-12)


@pytest.mark.parametrize("distribution", ["uniform", "gaussian", "laplace"])
@pytest.mark.parametrize(("dims", "ambient_dim"), FIELD[:3])
def test_each_piece_has_the_rank_that_it_declares(dims, ambient_dim, distribution, generator):
    geometry = affine_geometry(dims, ambient_dim, generator=generator)
    samples = affine_mixture(
        900, geometry=geometry, distribution=distribution, generator=generator
    )
    assert samples.component.bincount().tolist() == [300, 300, 300]
    for points, dim, k in zip(pieces(samples), dims, range(3), strict=True):
        values = torch.linalg.svdvals(points - points.mean(dim=0))
        # float32 rounding of coordinates up to 15 leaves singular values of at most
        # sqrt(300 * 100) * 1e-6 = 2e-4; true ones exceed (sqrt 300 - sqrt 90) * .57 = 4.
        assert int((values > 0.01).sum()) == dim
        assert (samples.lid[samples.component == k] == dim).all()


@pytest.mark.parametrize(
    ("distribution", "law"),
    [("uniform", stats.uniform(-1, 2)), ("gaussian", stats.norm), ("laplace", stats.laplace)],
)
def test_coordinates_along_the_frame_follow_the_distribution(distribution, law, generator):
    geometry = affine_geometry((2, 4, 8), 10, generator=generator)
    samples = affine_mixture(
        6_000, geometry=geometry, distribution=distribution, generator=generator
    )
    for points, frame, mode in zip(pieces(samples), geometry.frames, geometry.modes, strict=True):
        latent = (points - mode) @ frame
        assert stats.kstest(latent.flatten().numpy(), law.cdf).pvalue > 1e-3
        # The remainder off the frame is float32 rounding of coordinates up to 20.
        assert (points - mode - latent @ frame.T).abs().max() < 1e-5


@pytest.mark.parametrize(("dims", "ambient_dim"), FIELD)
def test_uniform_pieces_of_the_catalogue_touch_no_one_another(dims, ambient_dim):
    geometry = affine_geometry(dims, ambient_dim, generator=geometry_generator())
    for i in range(3):
        for j in range(i):
            frames = np.hstack([geometry.frames[i].numpy(), -geometry.frames[j].numpy()])
            between = (geometry.modes[j] - geometry.modes[i]).numpy()
            # The distance of two cubes is a bounded least-squares problem; 3 is far from touching.
            nearest = lsq_linear(frames, between, bounds=(-1, 1))
            assert math.sqrt(2 * nearest.cost) > 3


def test_squiggle_is_an_orientation_preserving_diffeomorphism(generator):
    geometry = affine_geometry((2, 4, 8), 10, generator=generator)
    samples = affine_mixture(60, geometry=geometry, generator=generator)
    for point, k in zip(samples.points.double(), samples.component.tolist(), strict=True):
        jacobian = torch.autograd.functional.jacobian(squiggle, point)
        # |amplitude * frequency| = .8, so every singular value is at least .2.
        assert torch.linalg.det(jacobian) > 0.2**10
        assert torch.linalg.svdvals(jacobian).min() > 0.2 - 1e-9
        # The tangent space keeps its dimension: this is why LID is unchanged.
        assert torch.linalg.matrix_rank(jacobian @ geometry.frames[k]) == geometry.dims[k]


def test_squiggle_is_one_to_one():
    line = torch.linspace(-20, 20, 100_001, dtype=torch.float64)
    # Strictly increasing in each coordinate, hence invertible; the slope is at least .2.
    steps = squiggle(line).diff()
    assert (steps >= 0.2 * line.diff() - 1e-12).all()


def test_squiggly_is_the_affine_mixture_bent(generator):
    geometry = affine_geometry((2, 4, 8), 10, generator=generator)
    flat = affine_mixture(300, geometry=geometry, generator=torch.Generator().manual_seed(5))
    bent = squiggly_mixture(
        300,
        geometry=geometry,
        amplitude=0.2,
        frequency=-3.0,
        generator=torch.Generator().manual_seed(5),
    )
    expected = flat.points + 0.2 * (-3.0 * flat.points).sin()
    # Only rounding differs: coordinates up to 10 in float32.
    assert torch.allclose(bent.points, expected, atol=5e-6)
    assert torch.equal(bent.lid, flat.lid)
    # It is really bent: the 2-D piece no longer lies in a plane.
    piece = bent.points[bent.component == 0]
    assert torch.linalg.svdvals(piece - piece.mean(dim=0))[2] > 0.1


@pytest.mark.parametrize(
    ("amplitude", "frequency", "message"),
    [
        (0.5, 2.0, r"amplitude \* frequency is 1; it must be above -1 and below 1"),
        (-1.0, 1.0, r"amplitude \* frequency is -1"),
        (math.nan, 1.0, "^amplitude is nan; it must be"),
        (1e-9, math.inf, "^frequency is inf; it must be"),
    ],
)
def test_folding_maps_are_refused(amplitude, frequency, message):
    with pytest.raises(ValueError, match=message):
        squiggle(torch.zeros(3), amplitude=amplitude, frequency=frequency)


def test_multiscale_gaussian_has_its_spectrum_along_its_frame(generator):
    eigenvalues = (4.0, 1.0, 0.01, 0.0)
    frame = orthonormal_frame(4, 4, generator=generator)
    samples = multiscale_gaussian(
        40_000, eigenvalues=eigenvalues, threshold=0.1, frame=frame, generator=generator
    )
    along = samples.points.double() @ frame
    # A variance has a relative standard error of sqrt(2 / 40,000) = .7 %.
    assert along.var(dim=0).numpy() == pytest.approx(eigenvalues, rel=0.03, abs=1e-10)
    correlation = torch.corrcoef(along[:, :3].T) - torch.eye(3)
    # Correlations of independent columns have a standard error of .005.
    assert correlation.abs().max() < 0.02
    assert (samples.lid == 2).all()


@pytest.mark.parametrize(("threshold", "lid"), [(0.0, 3), (0.005, 3), (0.01, 2), (1.0, 1), (9, 0)])
def test_multiscale_lid_counts_eigenvalues_above_the_threshold(threshold, lid, generator):
    samples = multiscale_gaussian(
        5, eigenvalues=(4.0, 1.0, 0.01, 0.0), threshold=threshold, generator=generator
    )
    assert (samples.lid == lid).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"eigenvalues": ()},
        {"eigenvalues": (1.0, -1.0)},
        {"eigenvalues": (math.nan,)},
        {"threshold": -0.1},
        {"threshold": math.inf},
        {"frame": torch.eye(3)},
        {"count": 1},
    ],
)
def test_impossible_gaussians_are_refused(changes, generator):
    options = {"count": 10, "eigenvalues": (1.0, 0.1), "threshold": 0.5} | changes
    with pytest.raises(ValueError, match="it must be"):
        multiscale_gaussian(**options, generator=generator)


@pytest.mark.parametrize(
    ("dims", "ambient_dim", "options", "label"),
    [
        ((), 10, {}, "the number of dims is 0"),
        ((0, 2), 10, {}, "dim is 0"),
        ((11,), 10, {}, "dim is 11"),
        ((1, 1, 1), 2, {}, "the number of dims is 3"),
        ((2,), 10_001, {}, "ambient_dim is 10001"),
        ((2,), 0, {}, "ambient_dim is 0"),
        ((2,), 3, {"distance": -1.0}, "distance is -1.0"),
        ((2,), 3, {"distance": math.nan}, "distance is nan"),
    ],
)
def test_impossible_geometries_are_refused(dims, ambient_dim, options, label, generator):
    with pytest.raises(ValueError, match=f"^{label}; it must be"):
        affine_geometry(dims, ambient_dim, **options, generator=generator)


def test_an_unknown_distribution_is_refused(generator):
    geometry = affine_geometry((1,), 2, generator=generator)
    with pytest.raises(ValueError, match=r"'cauchy'; the choices are uniform, gaussian, laplace"):
        affine_mixture(10, geometry=geometry, distribution="cauchy", generator=generator)
