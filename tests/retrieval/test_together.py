"""What is computed for many images at once is what each of them gives alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmh_core.retrieval.alignment import _on_grid
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.recolored import recolorings
from mmh_core.retrieval.training_images import training_images
from tests.retrieval.drawings import drawings, labels


@pytest.mark.parametrize(("height", "width"), [(64, 64), (59, 64), (128, 300), (33, 20)])
@pytest.mark.parametrize("short", [10, 16, 57, 64])
def test_images_are_resized_as_torch_resizes_them(height: int, width: int, short: int) -> None:
    images = torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(height))
    resized = _on_grid(images, short)
    size = (resized.shape[2], resized.shape[3])
    assert min(size) == short and max(size) <= 2 * short
    expected = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    # Values in [0, 1]: sums of float32 in another order.
    torch.testing.assert_close(resized, expected, rtol=0, atol=5e-6)


def test_the_best_fit_in_other_colors_is_that_of_each_image_alone() -> None:
    pixels, embedder = drawings(40, size=32), PixelEmbedder(8)
    training = training_images(
        pixels, build_index(embed_all(embedder, pixels), labels(40), embedder)
    )
    grey = pixels[[3, 7, 30]].float().mean(1, keepdim=True).expand(-1, 3, -1, -1) / 255
    images = torch.cat(
        [grey, torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))]
    )
    together = recolorings(images, training)
    for image, match in zip(images, together, strict=True):
        [alone] = recolorings(image[None], training)
        assert (alone.row, alone.ties, alone.outside) == (match.row, match.ties, match.outside)
        assert alone.correlation == pytest.approx(match.correlation, abs=1e-5)
    assert [match.correlation > 0.99 for match in together] == [True] * 3 + [False] * 2
