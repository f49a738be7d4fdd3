"""Tests of frames, isometric embedding and exact duplicates."""

import math

import pytest
import torch

from mmh_core.manifolds.draws import Component, join
from mmh_core.manifolds.embedding import (
    duplicate_locations,
    embed,
    orthonormal_frame,
    with_duplicates,
)
from mmh_core.manifolds.surfaces import lollipop, sphere


def test_frames_have_orthonormal_columns(generator):
    for ambient_dim, dim in [(1, 1), (7, 7), (300, 12)]:
        frame = orthonormal_frame(ambient_dim, dim, generator=generator)
        identity = torch.eye(dim, dtype=torch.float64)
        # Householder QR in float64 is orthonormal to a few units of 1e-16.
        assert (frame.T @ frame - identity).abs().max() < 1e-13


def test_frames_are_reflections_as_often_as_rotations(generator):
    signs = [
        torch.linalg.det(orthonormal_frame(3, 3, generator=generator)).item() > 0
        for _ in range(200)
    ]
    # Binomial(200, 1/2): five standard deviations are 35. Raw QR would give one sign only.
    assert abs(sum(signs) - 100) < 35


@pytest.mark.parametrize(("ambient_dim", "dim"), [(0, 1), (3, 4), (3, 0), (10_001, 2), (2.0, 1)])
def test_impossible_frames_are_refused(ambient_dim, dim, generator):
    with pytest.raises(ValueError, match="it must be a whole number"):
        orthonormal_frame(ambient_dim, dim, generator=generator)


@pytest.mark.parametrize("ambient_dim", [2, 5, 700])
def test_embedding_keeps_distances_lid_and_labels(ambient_dim, generator):
    samples = lollipop(140, generator=generator)
    frame = orthonormal_frame(ambient_dim, 2, generator=generator)
    embedded = embed(samples, frame=frame)
    assert embedded.points.shape == (140, ambient_dim)
    assert embedded.points.dtype == torch.float32
    before, after = torch.pdist(samples.points.double()), torch.pdist(embedded.points.double())
    # Coordinates up to 5.7 in float32, rounded once.
    assert (before - after).abs().max() < 1e-5
    assert torch.equal(embedded.lid, samples.lid)
    assert torch.equal(embedded.component, samples.component)


def test_embedding_flattens_images(generator):
    images = join(
        "images", [Component("all", torch.rand(6, 1, 2, 2, generator=generator), math.nan)]
    )
    embedded = embed(images, frame=torch.eye(9, 4, dtype=torch.float64))
    assert torch.equal(embedded.points[:, :4], images.points.flatten(1))
    assert not embedded.points[:, 4:].any()


@pytest.mark.parametrize("ambient_dim", [5, 61, 333])
def test_equal_rows_stay_equal_bit_for_bit(ambient_dim, generator):
    samples = sphere(50, dim=30, generator=generator)
    samples = with_duplicates(samples, 100, 7)
    frame = orthonormal_frame(max(ambient_dim, 31), 31, generator=generator)
    points = embed(samples, frame=frame).points
    assert torch.equal(points[50:], points[7].expand(100, -1))


@pytest.mark.parametrize(
    "frame",
    [
        torch.eye(5, 3),
        torch.eye(2)[0],
        2 * torch.eye(4, 2),
        torch.ones(4, 2),
        torch.full((4, 2), math.nan),
    ],
)
def test_frames_that_would_distort_are_refused(frame, generator):
    with pytest.raises(ValueError, match=r"frame .* it must be"):
        embed(lollipop(14, generator=generator), frame=frame)


def test_duplicates_have_lid_zero_and_nothing_else_changes(generator):
    samples = sphere(40, generator=generator)
    result = with_duplicates(samples, 9, 3)
    assert len(result.points) == 49
    expected = torch.tensor([i == 3 or i >= 40 for i in range(49)])
    assert torch.equal((result.points == samples.points[3]).all(dim=1), expected)
    assert torch.equal(result.lid, torch.where(expected, 0.0, 2.0))
    assert result.component_names == ("sphere", "duplicate")
    assert torch.equal(result.component, expected.long())
    assert torch.equal(result.points[:40], samples.points)


def test_duplicates_at_coordinates_equal_duplicates_at_the_index(generator):
    samples = sphere(40, generator=generator)
    by_index = with_duplicates(samples, 4, 11)
    by_coordinates = with_duplicates(samples, 4, samples.points[11].clone())
    assert torch.equal(by_index.points, by_coordinates.points)
    assert torch.equal(by_index.lid, by_coordinates.lid)
    assert torch.equal(by_index.component, by_coordinates.component)


def test_duplicates_may_make_a_new_location(generator):
    samples = sphere(40, generator=generator)
    result = with_duplicates(samples, 4, torch.tensor([9.0, 0.0, 0.0]))
    assert result.lid.tolist() == [2.0] * 40 + [0.0] * 4
    assert result.points[40:].tolist() == [[9.0, 0.0, 0.0]] * 4


def test_rows_that_were_equal_before_become_duplicates_too(generator):
    samples = lollipop(70, generator=generator)
    dot = int((samples.component == 2).nonzero()[0])
    result = with_duplicates(samples, 5, dot)
    assert int((result.component == 3).sum()) == 15
    assert int((result.component == 2).sum()) == 0


def test_a_second_location_joins_the_same_component(generator):
    images = join(
        "images", [Component("all", torch.rand(6, 1, 2, 2, generator=generator), math.nan)]
    )
    result = with_duplicates(with_duplicates(images, 2, 0), 3, 4)
    assert result.component_names == ("all", "duplicate")
    assert (result.lid == 0).nonzero().flatten().tolist() == [0, 4, 6, 7, 8, 9, 10]
    assert bool(result.lid[[1, 2, 3, 5]].isnan().all())
    locations = duplicate_locations(result)
    assert sorted(locations.flatten(1).tolist()) == sorted(
        images.points[[0, 4]].flatten(1).tolist()
    )


def test_no_copies_change_nothing(generator):
    samples = sphere(40, generator=generator)
    assert with_duplicates(samples, 0, 3) is samples
    assert duplicate_locations(samples).shape == (0, 3)


@pytest.mark.parametrize(
    ("copies", "at"),
    [
        (-1, 0),
        (2.0, 0),
        (math.nan, 0),
        (1, 40),
        (1, -1),
        (1, torch.zeros(2)),
        (1, torch.tensor([0.0, math.nan, 0.0])),
    ],
)
def test_impossible_duplicates_are_refused(copies, at, generator):
    with pytest.raises(ValueError, match="it must be"):
        with_duplicates(sphere(40, generator=generator), copies, at)
