"""Descriptors have the values that their recipes promise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmh_core.records import MMHError
from mmh_core.retrieval.embedder_choice import load_embedder
from mmh_core.retrieval.embedders import (
    NetworkEmbedder,
    PixelEmbedder,
    Preprocessing,
    embed_all,
    files_digest,
    similarity_to_others,
)
from tests.retrieval.drawings import compressed, cropped, drawings, found_share, mirrored


class MeanColor(nn.Module):
    """Return the mean of every channel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def test_pixels_of_a_known_image() -> None:
    # Halves of 0 and 1: the means are 0 and 1, centered -.5 and .5, over sqrt(768) / 2.
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 1
    found = PixelEmbedder()(image).view(3, 16, 16)
    wanted = torch.full((3, 16, 16), 768**-0.5)
    wanted[..., :8] *= -1
    torch.testing.assert_close(found, wanted, atol=1e-7, rtol=0)


def test_pixels_do_not_change_with_brightness_and_contrast() -> None:
    some = drawings(6).to(torch.float32).div(255)
    change = PixelEmbedder()(0.1 + 0.7 * some) - PixelEmbedder()(some)
    # Rounding of sums of 16 values of order 1, in coordinates of order .04.
    assert change.abs().max() < 1e-6


def test_flat_images_are_alike_and_like_nothing_else() -> None:
    flat = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(3, 3, 20, 20)
    vectors = PixelEmbedder()(flat)
    torch.testing.assert_close(vectors @ vectors.T, torch.ones(3, 3))
    others = PixelEmbedder()(drawings(4).to(torch.float32).div(255))
    assert (others @ vectors.T).abs().max() < 1e-5


def test_a_color_alone_gives_no_flat_image() -> None:
    red, blue = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    red[:, 0], blue[:, 2] = 1, 1
    # Centered, the two are (2, -1, -1) / 3 and (-1, -1, 2) / 3 everywhere: cosine -1/2.
    similarity = (PixelEmbedder()(red) * PixelEmbedder()(blue)).sum()
    torch.testing.assert_close(similarity, torch.tensor(-0.5))


def test_a_network_sees_prepared_images_and_its_output_is_normalized() -> None:
    prepare = Preprocessing(8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    embedder = NetworkEmbedder("mean color", MeanColor().eval(), prepare, 3, "0")
    colors = torch.tensor([[0.6, 0.7, 0.3], [0.1, 0.2, 0.8]])
    found = embedder(colors[:, :, None, None].expand(2, 3, 5, 9))
    # (.6 - .1) / .5 = 1, (.7 - .2) / .25 = 2, (.3 - .3) / 1 = 0, over sqrt(5); then (0, 0, 1).
    wanted = torch.tensor([[1, 2, 0], [0, 0, 1]]) / torch.tensor([[5**0.5], [1.0]])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_resizing_keeps_proportions_only_when_told_to() -> None:
    image = torch.rand(1, 3, 30, 45)
    assert Preprocessing(20)(image).shape == (1, 3, 20, 20)
    assert Preprocessing(20, "short edge")(image).shape == (1, 3, 20, 30)
    assert Preprocessing(20, "short edge")(image.mT).shape == (1, 3, 30, 20)
    # 288 * 55 / 33 is 480, and 479.99 by way of the rounded quotient.
    assert Preprocessing(288, "short edge")(torch.rand(1, 3, 33, 55)).shape == (1, 3, 288, 480)
    assert torch.equal(Preprocessing(30)(image[..., :30]), image[..., :30])


def test_shrinking_averages_instead_of_skipping() -> None:
    lines = torch.zeros(1, 3, 64, 64)
    lines[..., ::8, :] = 1
    # An eighth is light. Without antialiasing the samples fall between the lines and see none.
    inner = Preprocessing(8)(lines)[..., 1:-1, :]
    torch.testing.assert_close(inner, torch.full_like(inner, 1 / 8))


def test_a_network_that_may_change_is_refused() -> None:
    with pytest.raises(ValueError, match="training mode"):
        NetworkEmbedder("x", nn.Sequential(nn.Dropout()), Preprocessing(8), 3, "0")
    with pytest.raises(ValueError, match="not frozen"):
        NetworkEmbedder("x", nn.Linear(3, 3).eval(), Preprocessing(8), 3, "0")
    wrong = NetworkEmbedder("x", MeanColor().eval(), Preprocessing(8), 4, "0")
    with pytest.raises(ValueError, match=r"gave \(1, 3\), not \(1, 4\)"):
        wrong(torch.rand(1, 3, 8, 8))


def test_gradients_reach_images_that_ask_for_them() -> None:
    embedder = NetworkEmbedder("mean color", MeanColor().eval(), Preprocessing(4), 3, "0")
    images = torch.rand(1, 3, 4, 4, requires_grad=True)
    embedder(images)[0, 0].backward()
    mean = images.detach().mean(dim=(2, 3))[0]
    # d (m0 / |m|) / dm = (e0 - m0 m / |m|^2) / |m|, spread over 16 pixels.
    wanted = (torch.tensor([1.0, 0, 0]) - mean[0] * mean / mean.dot(mean)) / mean.norm() / 16
    assert images.grad is not None
    torch.testing.assert_close(images.grad[0], wanted[:, None, None].expand(3, 4, 4))


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.rand(3, 8, 8), "shape"),
        (torch.rand(1, 4, 8, 8), "shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 8, 8), 1.01), "outside"),
        (torch.full((1, 3, 8, 8), torch.nan), "outside"),
    ],
)
def test_other_tensors_are_refused(images: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PixelEmbedder()(images)


def test_many_at_once_equal_one_at_a_time() -> None:
    some = drawings(70)
    one_by_one = [PixelEmbedder()(image[None].to(torch.float32) / 255) for image in some]
    # 70 images of 64 x 64 make two batches.
    torch.testing.assert_close(embed_all(PixelEmbedder(), some), torch.cat(one_by_one))
    assert embed_all(PixelEmbedder(), some[:0]).shape == (0, 768)


def test_pixels_find_a_copy_after_compression_and_not_after_mirroring() -> None:
    images = drawings(200)
    assert found_share(PixelEmbedder(), images, compressed) == 1
    assert found_share(PixelEmbedder(), images, cropped) > 0.5
    assert found_share(PixelEmbedder(), images, mirrored) < 0.5


def test_an_embedder_is_chosen_in_words() -> None:
    assert load_embedder("pixels") == PixelEmbedder()
    for choice in ("", "pixel", "pixels:3", "clip", "clip:", "sscd", "pocketful", "pocket:"):
        with pytest.raises(MMHError, match="no embedder"):
            load_embedder(choice)
    with pytest.raises(MMHError, match=r"no copy descriptor in /nowhere.*pocket build"):
        load_embedder("pocket:/nowhere")


def test_digests_tell_contents_and_names_apart(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    before = files_digest([a, b])
    assert before == files_digest([a, b])
    b.write_bytes(b"3")
    assert files_digest([a, b]) != before
    b.write_bytes(b"2")
    assert files_digest([a, b]) == before
    assert files_digest([a, b.rename(tmp_path / "c")]) != before


def test_the_similarity_to_others_is_the_mean_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(4, 5, generator=generator)
    pairs = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=2)
    expected = [(pairs[i].sum() - pairs[i, i]) / 3 for i in range(4)]
    found = similarity_to_others(vectors)
    assert found.tolist() == pytest.approx([float(one) for one in expected], abs=1e-6)
    assert similarity_to_others(vectors[:1]).isnan().all()
