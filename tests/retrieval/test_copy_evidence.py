"""Planted copies are copies, templates are templates, and every measure is its formula."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import CopyEvidence, copy_evidence
from mmh_core.retrieval.copy_thresholds import CopyThresholds, calibrated
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.training_images import TrainingImages, training_images
from tests.retrieval.drawings import THRESHOLDS, compressed, drawings, labels

PIXELS = PixelEmbedder()


def floats(images: Tensor) -> Tensor:
    return images.to(torch.float32) / 255


def trained_on(images: Tensor, copies: list[int] | None = None) -> TrainingImages:
    table = labels(len(images))
    if copies is not None:
        table = table.assign(copies=copies)
    return training_images(images, build_index(embed_all(PIXELS, images), table, PIXELS))


def weighed(
    images: Tensor, training: TrainingImages, limits: CopyThresholds = THRESHOLDS
) -> CopyEvidence:
    return copy_evidence(images, PIXELS, training, limits)


def product(*colors: tuple[int, int, int]) -> Tensor:
    """Return a template: one drawing whose middle, a ninth of it, takes these colors."""
    images = drawings(1, seed=5).repeat(len(colors), 1, 1, 1)
    images[:, :, 21:42, 21:42] = torch.tensor(colors, dtype=torch.uint8)[:, :, None, None]
    return images


#: A grid of 27 colors, 100 levels apart.
GRID = tuple(itertools.product((20, 120, 220), repeat=3))


def test_planted_copies_are_exact_and_others_are_not() -> None:
    images = drawings(120)
    training = trained_on(images[:100])
    planted = floats(images[[3, 70, 44]])
    others = floats(images[100:110])
    found = weighed(torch.cat([planted, compressed(planted), others]), training)
    assert found.kind[:6] == ("exact",) * 6
    assert found.nearest[:6].tolist() == [3, 70, 44] * 2
    assert found.pixel_nearest[:6].tolist() == [3, 70, 44] * 2
    assert set(found.kind[6:]) == {"none"}
    assert found.distance[:3].tolist() == [0, 0, 0]
    assert found.calibrated_l2[:3].tolist() == [0, 0, 0]
    assert (found.distance[3:6] > 0).all()
    assert found.reason[0].startswith("A copy of training image 3: similarity 1.000 (threshold")
    assert found.reason[6].startswith("No training image is near: the best similarity, ")


def test_distances_calibrated_l2_and_ratio_equal_brute_force() -> None:
    training = drawings(70, seed=1)
    queries = floats(drawings(5, seed=2))
    found = weighed(queries, trained_on(training))
    x, n = queries.flatten(1).double().numpy(), floats(training).flatten(1).double().numpy()
    far = np.sort(np.sqrt(((x[:, None] - n[None]) ** 2).sum(axis=2)), axis=1)
    # float64 on both sides; sums of 12,288 terms in another order.
    assert np.allclose(found.distance, far[:, 0], rtol=1e-13)
    assert np.allclose(found.calibrated_l2, far[:, 0] / (0.5 * far[:, :50].mean(1)), rtol=1e-13)
    assert np.allclose(found.ratio, far[:, 0] / far[:, 1], rtol=1e-13)


def test_a_batch_equals_a_loop() -> None:
    images = drawings(60, seed=3)
    training = trained_on(images[:50])
    queries = torch.cat([floats(images[48:55]), compressed(floats(images[:2]))])
    together = weighed(queries, training).frame()
    single = [weighed(query[None], training).frame() for query in queries]
    # pixel_similarity and similarity come from float32 descriptors, whose last digits may move.
    for i, alone in enumerate(single):
        assert (
            alone.drop(columns=["similarity", "pixel_similarity"])
            .iloc[0]
            .equals(together.drop(columns=["similarity", "pixel_similarity"]).iloc[i].rename(0))
        )
        assert abs(alone["similarity"][0] - together["similarity"][i]) < 1e-6


def test_copies_within_the_training_set_collapse_into_one() -> None:
    images = drawings(80, seed=4)
    # The last image stands there 60 times: its copies must not calibrate against one another.
    many = torch.cat([images, images[-1:].repeat(59, 1, 1, 1)])
    query = compressed(floats(images[-1:]))
    once, often = weighed(query, trained_on(images)), weighed(query, trained_on(many))
    assert often.kind == once.kind == ("exact",)
    for name in ("distance", "calibrated_l2", "ratio", "near_duplicates", "nearest"):
        # Described in another batch: sums in another order.
        torch.testing.assert_close(getattr(often, name), getattr(once, name), rtol=1e-4, atol=1e-5)
    assert (once.multiplicity.item(), often.multiplicity.item()) == (1, 60)
    assert len(trained_on(many)) == 80


def test_copies_are_added_up_over_labels_and_equal_rows() -> None:
    images = drawings(4)[[0, 1, 0, 2, 1]]
    training = trained_on(images, copies=[5, 1, 7, 1, 2])
    assert training.multiplicity.tolist() == [12, 3, 1]
    assert training.index.ids.tolist() == [0, 1, 3]
    assert torch.equal(training.pixels, drawings(3))
    assert weighed(floats(drawings(1)), training).multiplicity.tolist() == [12]


def test_a_copy_of_an_image_with_many_versions_is_as_near_as_one_of_an_image_without() -> None:
    images = drawings(160, seed=3)
    noise = torch.Generator().manual_seed(0)
    versions = floats(images[:1]) + 0.04 * torch.randn(64, *images.shape[1:], generator=noise)
    bytes_of = (versions.clamp(0, 1) * 255).round().to(torch.uint8)
    copy = compressed(floats(images[:1]))
    alone = weighed(copy, trained_on(images))
    beside = trained_on(torch.cat([images, bytes_of]))
    merging = dataclasses.replace(THRESHOLDS, version_correlation=0.95)
    # Its own versions are all that is near, so nothing says how near the copy is.
    assert weighed(copy, beside).calibrated_l2 > 2 * alone.calibrated_l2
    merged = weighed(copy, beside, merging)
    assert merged.calibrated_l2.item() == pytest.approx(alone.calibrated_l2.item(), rel=0.02)
    assert merged.kind == alone.kind == ("exact",)
    # Without versions around, and without enough others, nothing changes.
    assert weighed(copy, trained_on(images), merging).calibrated_l2 == alone.calibrated_l2
    few = trained_on(torch.cat([images[:4], bytes_of]))
    assert weighed(copy, few, merging).calibrated_l2 == weighed(copy, few).calibrated_l2


def test_versions_of_the_nearest_are_counted_by_distance() -> None:
    images = drawings(30, seed=6)
    versions = images[:1].repeat(3, 1, 1, 1).to(torch.int16)
    # One level, ten levels and just beyond 0.03 of 255 in every value.
    versions += torch.tensor([1, 7, 8])[:, None, None, None] * (1 - 2 * (versions > 127).short())
    training = trained_on(torch.cat([images, versions.to(torch.uint8)]))
    assert weighed(floats(images[:1]), training).near_duplicates.tolist() == [2]
    assert weighed(floats(images[1:2]), training).near_duplicates.tolist() == [0]
    # They are versions of the training image, however far the image asked about is from it.
    darker = weighed(0.6 * floats(images[:1]), training)
    assert darker.deviation.item() > 0.03
    assert darker.near_duplicates.tolist() == [2]


def test_a_template_is_told_from_copies_of_its_images() -> None:
    training = trained_on(torch.cat([drawings(60), product(*GRID)]))
    between = tuple(itertools.product((70, 170), repeat=3))
    found = weighed(floats(product(*between)), training)
    assert found.kind == ("template",) * 8
    # All but the 21 x 21 pixels of the middle agree. Eight colors are equally near; the next ones
    # are too far for the descriptor.
    assert found.agreeing.tolist() == [1 - (21 / 64) ** 2] * 8
    assert found.family.tolist() == [8] * 8
    assert found.ratio.tolist() == pytest.approx([1] * 8)
    assert "with a part changed: 89% of its pixels agree" in found.reason[0]
    # In pixels alone they pass for copies: it is the family that tells.
    assert (found.calibrated_l2 <= THRESHOLDS.calibrated_l2).all()
    assert weighed(floats(product(*GRID[:3])), training).kind == ("exact",) * 3


def test_a_member_of_a_family_has_to_be_near_by_itself_and_not_by_chance() -> None:
    training = trained_on(torch.cat([drawings(60), product(*GRID)]))
    # 20 levels of one channel from one color and 80 from the next: d1 / d2 is 1/4.
    query = floats(product((40, 20, 20)))
    deviation = 20 / 255 * math.sqrt(21**2 / 64**2 / 3)
    found = weighed(query, training)
    assert found.ratio.item() == pytest.approx(1 / 4, rel=1e-6)
    assert found.deviation.item() == pytest.approx(deviation, rel=1e-6)
    assert found.kind == ("exact",)
    below = dataclasses.replace(THRESHOLDS, near_duplicate=0.9 * deviation)
    assert weighed(query, training, below).kind == ("template",)
    alone = dataclasses.replace(below, template_family=28)
    assert weighed(query, training, alone).kind == ("exact",)
    farther = dataclasses.replace(THRESHOLDS, ratio=0.24)
    assert weighed(query, training, farther).kind == ("template",)


def test_one_training_image_of_a_layout_makes_a_template_too() -> None:
    base = drawings(40, seed=7)
    changed = base[:1].clone()
    changed[:, :, 20:44, 20:44] = 255 - changed[:, :, 20:44, 20:44]
    limits = dataclasses.replace(THRESHOLDS, descriptor=0.7, calibrated_l2=0.1)
    found = weighed(floats(changed), trained_on(base), limits)
    assert found.kind == ("template",)
    assert found.family.tolist() == [1]
    assert found.agreeing.item() == pytest.approx(1 - (24 / 64) ** 2, abs=0.02)


def test_a_similar_image_without_pixels_or_layout_in_common_is_left_to_the_eye() -> None:
    base = drawings(40, seed=8)
    # Brightness drops out of this descriptor, so that all pixels change and the similarity not.
    darker = 0.6 * floats(base[:1])
    found = weighed(darker, trained_on(base))
    assert found.kind == ("none",)
    assert found.similarity.item() > 0.999
    assert "compare the two by eye" in found.reason[0]


def test_with_one_training_image_only_a_true_copy_is_exact() -> None:
    training = trained_on(drawings(1))
    copy, altered = floats(drawings(1)), 0.6 * floats(drawings(1))
    found = weighed(torch.cat([copy, altered, floats(drawings(2)[1:])]), training)
    assert found.kind == ("exact", "unknown", "none")
    assert found.calibrated_l2[0] == found.ratio[0] == 0
    assert found.calibrated_l2[1:].isnan().all()
    assert found.ratio[1:].isnan().all()
    assert "too few to calibrate" in found.reason[1]


def test_fewer_than_fifty_calibrate_with_all_there_are() -> None:
    training = drawings(3)
    query = floats(drawings(4)[3:])
    far = torch.cdist(query.flatten(1).double(), floats(training).flatten(1).double())[0]
    found = weighed(query, trained_on(training))
    assert found.calibrated_l2.item() == pytest.approx((far.min() / (0.5 * far.mean())).item())


def test_exact_needs_the_descriptor_of_the_same_image() -> None:
    # Nearest in pixels is a flat gray, whose descriptor is like nothing: a blurred world's trap.
    faint = floats(drawings(1)) * 0.02 + 0.5
    training = torch.cat([torch.full((1, 3, 64, 64), 128, dtype=torch.uint8), drawings(60)])
    found = weighed(faint, trained_on(training))
    assert found.pixel_nearest.tolist() == [0]
    assert found.calibrated_l2.item() < 0.1
    assert found.nearest.tolist() == [1]
    assert found.similarity.item() > 0.9
    assert found.pixel_similarity.item() < 0.1
    assert found.kind == ("none",)


def test_other_embedders_sizes_and_dtypes_are_refused() -> None:
    images = drawings(5)
    training = trained_on(images)
    other = dataclasses.replace(training.index, digest="0")
    with pytest.raises(MMHError, match="another embedder"):
        weighed(floats(images), dataclasses.replace(training, index=other))
    with pytest.raises(ValueError, match="the training images have"):
        weighed(floats(images)[..., 1:], training)
    with pytest.raises(ValueError, match="must be uint8"):
        training_images(floats(images), training.index)
    with pytest.raises(ValueError, match="4 images for 5 rows"):
        training_images(images[:4], training.index)


@pytest.mark.parametrize(
    "change",
    [
        {"descriptor": 1.1},
        {"calibrated_l2": math.nan},
        {"calibrated_l2": math.inf},
        {"ratio": -0.1},
        {"near_duplicate": 2.0},
        {"template_family": 1},
    ],
)
def test_thresholds_that_decide_nothing_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(change))}=.*must be from"):
        dataclasses.replace(THRESHOLDS, **change)  # type: ignore[arg-type]


def test_calibration_lets_the_stated_share_of_images_that_copy_nothing_pass_both_rules() -> None:
    draws = torch.Generator().manual_seed(0)
    similarity = torch.rand(300, generator=draws, dtype=torch.float64)
    distance = 1 + torch.rand(300, generator=draws, dtype=torch.float64)
    agreeing = torch.rand(300, generator=draws, dtype=torch.float64)
    found = calibrated(THRESHOLDS, similarity, distance, agreeing, share=0.02)
    proposed = similarity >= found.descriptor
    assert proposed.sum() == 150
    # Six are 2 % of all 300, and no more than these are confirmed by either rule.
    assert (proposed & (distance <= found.calibrated_l2)).sum() == 6
    assert (proposed & (agreeing >= found.template_share)).sum() == 6
    changed = ("descriptor", "calibrated_l2", "template_share")
    kept = {name: getattr(THRESHOLDS, name) for name in changed}
    assert dataclasses.replace(found, **kept) == THRESHOLDS


def test_calibration_refuses_what_says_nothing() -> None:
    values = torch.linspace(0, 0.9, 99)
    with pytest.raises(ValueError, match=r"99 held-out images.*at least 100"):
        calibrated(THRESHOLDS, values, values, values)
    with pytest.raises(ValueError, match="finite"):
        calibrated(THRESHOLDS, torch.full((100,), torch.nan), torch.ones(100), torch.ones(100))
    with pytest.raises(ValueError, match="exact copies"):
        calibrated(THRESHOLDS, torch.ones(100), torch.ones(100), torch.zeros(100))
    with pytest.raises(ValueError, match="exact copies"):
        calibrated(THRESHOLDS, torch.rand(100), torch.zeros(100), torch.zeros(100))
    with pytest.raises(ValueError, match="share=0"):
        calibrated(THRESHOLDS, values, values, values, share=0)
