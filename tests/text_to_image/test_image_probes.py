"""The probes of an image: its own, and no other's."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mmh_core.dimension.probes import rademacher
from mmh_core.text_to_image.image_probes import (
    decoded_generators,
    image_digest,
    probe_generator,
    probe_generators,
)
from tests.text_to_image.conftest import ModelOf


def image(seed: int, height: int = 32, width: int = 32) -> Tensor:
    """Return an image of four areas of one color each, with noise."""
    generator = torch.Generator().manual_seed(seed)
    areas = torch.randint(30, 220, (3, 2, 2), generator=generator).repeat_interleave(2, 1)
    shades = areas.repeat_interleave(height // 4, 1).repeat_interleave(width // 2, 2)
    noise = torch.randint(-20, 20, shades.shape, generator=generator)
    return (shades + noise).clamp(0, 255).to(torch.uint8)


def drawn(generator: torch.Generator) -> int:
    return int(torch.randint(2**40, (1,), generator=generator))


def test_a_model_an_estimator_a_prompt_and_an_image_have_probes_of_their_own() -> None:
    names = list(
        itertools.product(
            ("0" * 64, "f" * 64),
            ("flipd", "dsm", "soft_spectral_count"),
            ("", "a cat", "a cat ", "A cat", "日本", "\ud800"),
            [image_digest(image(seed)) for seed in range(4)],
        )
    )
    assert len({drawn(probe_generator(*name)) for name in names}) == len(names) == 2 * 3 * 6 * 4
    assert all(drawn(probe_generator(*name)) == drawn(probe_generator(*name)) for name in names)


def test_probes_are_kept_forever() -> None:
    """Figures of other days compare: the digest of an image and its first draw are constants."""
    shades = (torch.arange(3 * 8 * 8) % 256).reshape(3, 8, 8).to(torch.uint8)
    digest = image_digest(shades)
    assert digest == "1c8e1bea6c3a4ddc40da30fb6847491ac2c8e02ff4131ff46900e21c11945243"
    assert drawn(probe_generator("0" * 64, "flipd", "a cat", digest)) == 716591656244


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (512, 512), (9, 7)])
def test_images_that_differ_have_other_digests(size: tuple[int, int]) -> None:
    digests = [image_digest(image(seed, *(s - s % 4 for s in size))) for seed in range(30)]
    assert len(set(digests)) == len(digests)
    turned = [image(1).flip(1), image(1).flip(2), image(1).flip(0), image(1)[:, :, :-2]]
    assert len({image_digest(one) for one in [image(1), *turned]}) == 5


def test_a_shade_more_or_less_here_and_there_moves_no_digest() -> None:
    """As a batch of another size does: at most 1 pixel in 500 of 100 images of 32 x 32."""
    generator, moved = torch.Generator().manual_seed(0), 0
    for seed in range(100):
        one = image(seed)
        at = torch.rand(one.shape, generator=generator) < 1 / 500
        by = 2 * torch.randint(2, one.shape, generator=generator) - 1
        other = (one.int() + at * by).clamp(0, 255).to(torch.uint8)
        moved += image_digest(one) != image_digest(other)
    assert moved <= 2


@pytest.mark.parametrize("shade", [0, 3, 7, 8, 127, 128, 255])
def test_one_color_with_noise_has_the_digest_of_the_color(shade: int) -> None:
    plain = torch.full((3, 32, 32), shade, dtype=torch.uint8)
    spotted = plain.clone()
    spotted[:, ::4, ::4] = max(0, shade - 1)
    assert image_digest(plain) == image_digest(spotted)


def test_a_batch_in_any_order_has_each_images_probes(model_of: ModelOf) -> None:
    model = model_of("tiny")
    images = torch.stack([image(seed) for seed in range(5)])
    prompts = ["a", "b", "a", "c", "d"]
    x = torch.zeros(5, 4, 8, 8)
    whole = rademacher(x, 8, probe_generators(model, "flipd", prompts, images))
    assert len({tuple(signs.flatten().tolist()) for signs in whole}) == 5
    for order in ([0], [3], [4, 2, 0, 1, 3], [1, 2]):
        own = probe_generators(model, "flipd", [prompts[i] for i in order], images[order])
        assert torch.equal(rademacher(x[order], 8, own), whole[order])
    # The first of eight probes are those of an estimate with four.
    few = rademacher(x, 4, probe_generators(model, "flipd", prompts, images))
    assert torch.equal(few, whole[:, :4])
    shades = rademacher(x, 8, probe_generators(model, "flipd", prompts, images.float() / 255))
    assert torch.equal(shades, whole)


def test_latents_have_the_probes_of_their_images(model_of: ModelOf) -> None:
    model = model_of("tiny")
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    by_image = probe_generators(model, "dsm", ["a"] * 3, model.decode(latents))
    by_latents = decoded_generators(model, "dsm", "a", latents)
    assert [drawn(one) for one in by_latents] == [drawn(one) for one in by_image]
