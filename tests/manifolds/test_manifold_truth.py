"""Tests of true LID at arbitrary points."""

import math

import pytest
import torch

from mmh_core.manifolds import truth
from mmh_core.manifolds.draws import Component, join
from mmh_core.manifolds.embedding import with_duplicates
from mmh_core.manifolds.surfaces import lollipop, sphere


def test_lid_is_that_of_the_nearest_piece(generator):
    samples = lollipop(7_000, generator=generator)
    points = torch.tensor([[3.1, 3.2], [1.6, 1.62], [0.01, -0.02], [0.8, 0.8], [9.0, 9.0]])
    found = truth.lid_at(points, samples, 0.1)
    # Disc, stick, dot; then a point between dot and stick, and one far away.
    assert torch.equal(found.nan_to_num(-1.0), torch.tensor([2.0, 1.0, 0.0, -1.0, -1.0]))


def test_the_limit_is_inclusive():
    samples = join("x", [Component("p", torch.tensor([[0.0, 0.0]]), 3.0)])
    found = truth.lid_at(torch.tensor([[0.5, 0.0], [0.5001, 0.0]]), samples, 0.5)
    assert found[0] == 3 and found[1].isnan()


def test_every_sample_finds_its_own_lid(generator):
    samples = with_duplicates(sphere(3_000, generator=generator), 3, 5)
    assert torch.equal(truth.lid_at(samples.points, samples, 0.0), samples.lid)


def test_blocks_change_nothing(generator):
    samples = lollipop(300, generator=generator)
    points = 4 * torch.rand(200, 2, generator=generator)
    whole = truth.lid_at(points, samples, 0.3)
    blocks = truth.lid_at(points, samples, 0.3, block=1000)
    # Brute force over all pairs, from differences.
    distance = (points[:, None].double() - samples.points[None].double()).norm(dim=-1)
    expected = samples.lid[distance.argmin(dim=1)]
    expected[distance.min(dim=1).values > 0.3] = math.nan
    assert 20 < int(expected.isnan().sum()) < 180
    assert torch.equal(whole.nan_to_num(-1.0), expected.nan_to_num(-1.0))
    assert torch.equal(blocks.nan_to_num(-1.0), expected.nan_to_num(-1.0))


def test_small_distances_far_from_the_origin_are_resolved():
    offsets = torch.tensor([0.0, 1e-3, 2e-3])
    parts = [
        Component(f"p{k}", torch.tensor([[100.0 + o, 100.0]]), float(k))
        for k, o in enumerate(offsets.tolist())
    ]
    samples = join("x", parts)
    # In float32 the fast form of a squared distance is off by about 1e-3 here, a thousand times
    # the squares of these distances; repeated rows make torch choose the fast form.
    points = samples.points.repeat(40, 1)
    assert torch.equal(truth.lid_at(points, samples, 1e-4), samples.lid.repeat(40))


def test_points_that_are_not_finite_have_no_lid(generator):
    points = torch.tensor([[math.nan, 3.0], [math.inf, 3.0], [3.0, 3.0]])
    found = truth.lid_at(points, lollipop(700, generator=generator), 1e9)
    assert found[:2].isnan().all() and found[2] == 2


def test_images_and_empty_batches_are_accepted(generator):
    images = join("images", [Component("all", torch.rand(6, 1, 2, 2, generator=generator), 5.0)])
    assert truth.lid_at(images.points[:2], images, 0.1).tolist() == [5.0, 5.0]
    assert truth.lid_at(images.points[:0], images, 0.1).shape == (0,)


@pytest.mark.parametrize(
    ("points", "within"),
    [
        (torch.zeros(4, 3), 0.1),
        (torch.zeros(2), 0.1),
        (torch.zeros(4, 2), -0.1),
        (torch.zeros(4, 2), math.nan),
        (torch.zeros(4, 2), math.inf),
    ],
)
def test_impossible_questions_are_refused(points, within, generator):
    with pytest.raises(ValueError, match="it must be"):
        truth.lid_at(points, lollipop(70, generator=generator), within)


def test_an_empty_truth_is_refused():
    nothing = join("x", [Component("p", torch.zeros(0, 2), 1.0)])
    with pytest.raises(ValueError, match="at least 1"):
        truth.lid_at(torch.zeros(1, 2), nothing, 1.0)
