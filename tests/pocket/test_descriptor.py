"""The losses, the batches and the score of the copy descriptor against their definitions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mmh_core.pocket.descriptor import (
    Descriptor,
    copy_auc,
    describe,
    hard_batch,
    info_nce,
    koleo,
    load_descriptor,
    save_descriptor,
)
from mmh_core.records import MMHError


def test_info_nce_equals_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = F.normalize(torch.randn(2, 3, 4, generator=generator).double(), dim=2)
    both = [*one, *two]
    total = 0.0
    for i, vector in enumerate(both):
        s = [math.exp(float(vector @ other) / 0.2) for other in both]
        total -= math.log(s[(i + 3) % 6] / (sum(s) - s[i]))
    assert float(info_nce(one, two, 0.2)) == pytest.approx(total / 6, rel=1e-12)


def test_koleo_is_minus_the_mean_log_of_the_nearest_distance() -> None:
    line = torch.tensor([[0.0], [1.0], [4.0], [4.5]])
    wanted = -(math.log(1) * 2 + math.log(0.5) * 2) / 4
    assert float(koleo(line)) == pytest.approx(wanted, rel=1e-6)
    # Equal vectors do not make it infinite.
    assert float(koleo(torch.zeros(2, 3))) == pytest.approx(-math.log(1e-6), rel=1e-6)


def test_a_batch_is_distinct_images_half_of_them_grouped() -> None:
    subjects = torch.arange(400) // 4
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        chosen = hard_batch(subjects, 32, 4, generator)
        assert len(chosen) == len(set(chosen.tolist())) == 32
        counts = subjects[chosen].bincount(minlength=100)
        # Four whole groups of four; two seeds of one subject make one of them fewer.
        assert 3 <= (counts == 4).sum() <= 5


def test_a_batch_is_at_most_what_there_is() -> None:
    chosen = hard_batch(torch.zeros(5), 32, 4, torch.Generator().manual_seed(0))
    assert len(chosen) == len(set(chosen.tolist())) <= 5
    assert set(chosen.tolist()) <= set(range(5))


def test_the_score_is_the_area_under_the_curve() -> None:
    # Similarities of pairs .9 and .2, of others .5 and .2: above, above, below, a tie.
    copies, originals = torch.eye(2), torch.tensor([[0.9, 0.2], [0.5, 0.2]])
    assert copy_auc(copies, originals) == (1 + 1 + 0 + 0.5) / 4
    assert copy_auc(torch.eye(3), torch.eye(3)) == 1
    assert copy_auc(torch.ones(3, 2), torch.ones(3, 2)) == 0.5


@pytest.fixture(scope="module")
def net() -> Descriptor:
    """Return a descriptor with random weights."""
    torch.manual_seed(0)
    return Descriptor((8, 16), 6, 16).requires_grad_(False).eval()


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(net: Descriptor) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 3, 16, 16), generator=generator, dtype=torch.uint8)
    whole = describe(net, images)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(describe(net, images, 2), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(describe(net, images.float() / 255), whole, atol=1e-6, rtol=0)
    assert (whole[0] - whole[1]).abs().max() > 1e-3


def test_filters_that_are_their_own_mirror_images_give_a_mirrored_image_the_same_vector(
    net: Descriptor,
) -> None:
    symmetric = Descriptor((8, 16), 6, 16).requires_grad_(False).eval()
    symmetric.load_state_dict(net.state_dict())
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert (describe(symmetric, image) - describe(symmetric, image.flip(3))).abs().max() > 1e-2
    for module in symmetric.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.copy_((module.weight + module.weight.flip(3)) / 2)
    torch.testing.assert_close(
        describe(symmetric, image), describe(symmetric, image.flip(3)), atol=1e-5, rtol=0
    )


def test_saved_and_loaded_it_is_the_same_rounded_to_half(net: Descriptor, tmp_path: Path) -> None:
    save_descriptor(net, tmp_path)
    found = load_descriptor(tmp_path)
    assert found.shape == net.shape
    for name, value in net.state_dict().items():
        assert torch.equal(found.state_dict()[name], value.half().float())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MMHError, match="cannot be read: build or download"):
        load_descriptor(tmp_path)


def test_a_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="side of 4 cannot be halved 3 times"):
        Descriptor((8, 8, 8), 4, 4)
