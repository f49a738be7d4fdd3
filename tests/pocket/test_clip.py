"""The losses and draws of the tiny CLIP against hand computations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmh_core.pocket.clip import (
    ClipConfig,
    captioned,
    embed_captions,
    embed_images,
    load_clip,
    multi_positive_loss,
    new_clip,
    recall_at_1,
    save_clip,
)
from mmh_core.pocket.fit import Fitting
from mmh_core.pocket.tokenizer import LENGTH
from mmh_core.records import MMHError

SMALL = ClipConfig(
    Fitting(2, 4, 1e-3),
    text_width=16,
    text_layers=1,
    vision_width=16,
    vision_layers=1,
    heads=2,
    width=8,
)


def numbered(captions: list[str]) -> Tensor:
    """Return one number a caption in place of its tokens."""
    return torch.arange(len(captions))[:, None]


def test_distinct_pairs_have_the_loss_of_radford_et_al() -> None:
    # Cosines: image 0 with text 0 is 1, with text 1 is .6; image 1 is 0 and .8.
    images, texts = torch.tensor([[2.0, 0], [0, 3]]), torch.tensor([[1.0, 0], [0.6, 0.8]])
    rows = [[2.0, 1.2], [0.0, 1.6]]
    total = 0.0
    for i in range(2):
        total -= rows[i][i] - math.log(sum(math.exp(v) for v in rows[i]))
        total -= rows[i][i] - math.log(sum(math.exp(row[i]) for row in rows))
    found = multi_positive_loss(images, texts, torch.tensor([4, 7]), torch.tensor(2.0))
    assert float(found) == pytest.approx(total / 4, rel=1e-6)


def test_pairs_of_one_key_share_the_target_in_both_directions() -> None:
    generator = torch.Generator().manual_seed(1)
    images, texts = torch.randn(2, 3, 4, generator=generator).double()
    keys, scale = [5, 2, 5], 3.0
    cosines = [[float(F.cosine_similarity(p, t, dim=0)) for t in texts] for p in images]
    total = 0.0
    for i in range(3):
        mates = [j for j in range(3) if keys[j] == keys[i]]
        across = sum(math.exp(scale * cosines[i][j]) for j in range(3))
        down = sum(math.exp(scale * cosines[j][i]) for j in range(3))
        for j in mates:
            total -= (scale * cosines[i][j] - math.log(across)) / len(mates)
            total -= (scale * cosines[j][i] - math.log(down)) / len(mates)
    found = multi_positive_loss(
        images, texts, torch.tensor(keys), torch.tensor(scale, dtype=torch.float64)
    )
    assert float(found) == pytest.approx(total / 6, rel=1e-12)


def test_captions_are_numbered_once_and_belong_to_their_images() -> None:
    texts = captioned([("x", "y"), ("y",), ("z", "x", "w")], ["p", "q", "p"], numbered)
    assert texts.listed.tolist() == [0, 1, 1, 2, 0, 3]
    assert (texts.first.tolist(), texts.count.tolist()) == ([0, 2, 3], [2, 1, 3])
    assert texts.content.tolist() == [0, 1, 0]
    assert texts.ids.tolist() == [[0], [1], [2], [3]]


def test_captions_of_a_image_are_drawn_uniformly_and_no_others() -> None:
    texts = captioned([("x", "y"), ("y",), ("z", "x", "w")], ["p", "q", "p"], numbered)
    images = torch.tensor([2] * 3000 + [1] * 10)
    drawn = texts.draw(images, torch.Generator().manual_seed(0))
    assert drawn[3000:].tolist() == [1] * 10
    counts = drawn[:3000].bincount(minlength=4)
    assert counts[1] == 0
    # Each is binomial with mean 1000 and spread 26: four spreads.
    assert (counts[[0, 2, 3]] - 1000).abs().max() < 104


@pytest.mark.parametrize("captions", [[], [("x",), ()]])
def test_a_image_without_caption_is_refused(captions: list[tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="needs a caption"):
        captioned(captions, ["p"] * len(captions), numbered)


def test_recall_is_one_for_matches_and_chance_for_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(600, 32, generator=generator), dim=1)
    keys = torch.arange(600)
    assert recall_at_1(vectors, vectors, keys, among=20, generator=generator) == 1
    noise = F.normalize(torch.randn(600, 32, generator=generator), dim=1)
    # Chance is 1 / 4, the spread of a share of 600 is .018: four spreads.
    chance = recall_at_1(noise, vectors, keys, among=4, generator=generator)
    assert chance == pytest.approx(0.25, abs=0.071)
    with pytest.raises(ValueError, match="there are only 600"):
        recall_at_1(vectors, vectors, keys, among=601, generator=generator)


def test_captions_of_equal_content_are_no_rivals() -> None:
    vectors = F.one_hot(torch.tensor([0, 0, 0, 1])).float()
    keys = torch.tensor([3, 3, 3, 8])
    found = recall_at_1(vectors, vectors, keys, among=2, generator=torch.Generator())
    assert found == 1


@pytest.fixture(scope="module")
def clip() -> Any:
    """Return a small CLIP."""
    torch.manual_seed(0)
    return new_clip(50, 16, SMALL).eval()


def test_embeddings_are_unit_rows_whatever_the_batch(clip: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 3, 16, 16), generator=generator, dtype=torch.uint8)
    ids = torch.randint(0, 48, (5, LENGTH), generator=generator)
    ids[:, -1] = 49
    for embed, given in ((embed_images, images), (embed_captions, ids)):
        whole = embed(clip, given)
        torch.testing.assert_close(whole.norm(dim=1), torch.ones(5), atol=1e-6, rtol=0)
        torch.testing.assert_close(embed(clip, given, 2), whole, atol=1e-5, rtol=0)
        assert (whole[0] - whole[1]).abs().max() > 1e-3


def test_only_what_comes_before_a_captions_end_is_read(clip: Any) -> None:
    ids = torch.full((2, LENGTH), 49)
    ids[:, 0], ids[:, 1] = 48, 7
    ids[1, 5:] = 11
    one, two = embed_captions(clip, ids)
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    ids[1, 1] = 8
    assert (embed_captions(clip, ids)[1] - one).abs().max() > 1e-3


def test_both_files_together_give_the_saved_clip_rounded_to_half(
    clip: Any, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    save_clip(clip, tmp_path / "clip")
    (tmp_path / "text_encoder").mkdir()
    text = {f"text_model.{k}": v.half() for k, v in clip.text_model.state_dict().items()}
    save_file(text, tmp_path / "text_encoder" / "model.safetensors")
    found, wanted = load_clip(tmp_path).state_dict(), clip.state_dict()
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value.half().to(found[name].dtype))
    (tmp_path / "clip" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(MMHError, match="cannot be read: build or copy"):
        load_clip(tmp_path)
