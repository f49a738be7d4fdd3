"""The random probes of an image: drawn from a digest of the model, the prompt and the image.

So the LID of an image is the same alone and among others, in any order, on every page, by command
and from its file, and images of one prompt have probes of their own: a mean over them is more
certain than each of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.pixels import to_uint8

#: Shades that one bin of a quarter's mean shade holds.
_BIN = 8


def image_digest(image: Tensor) -> str:
    """Return the SHA-256 of an image, uint8 (3, H, W), as it looks from far.

    That is its size and for each channel the mean shade of its quarters, in bins of eight: a batch
    of another size moves a pixel here and there by one of 256 shades, which would make a digest of
    the pixels another. One such pixel of 32 x 32 moves it in 1 of 2,000 images. Bins end between
    whole shades, so that it never moves where a quarter has one color.
    """
    bins = []
    for half in torch.tensor_split(image.to(torch.int64), 2, dim=1):
        for quarter in torch.tensor_split(half, 2, dim=2):
            count = quarter[0].numel()
            bins += [
                (2 * int(total) + count) // (2 * _BIN * count) if count else 0
                for total in quarter.sum((1, 2))
            ]
    return hashlib.sha256(f"{tuple(image.shape)} {bins}".encode()).hexdigest()


def probe_generator(sha256: str, estimator: str, prompt: str, digest: str) -> torch.Generator:
    """Return the generator of an image's probes, from digests of the weights and the image."""
    text = "\0".join((sha256, estimator, digest, prompt))
    seed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return torch.Generator().manual_seed(int.from_bytes(seed[:8], "big") >> 1)


def probe_generators(
    model: TextToImage, estimator: str, prompts: Sequence[str], images: Tensor
) -> list[torch.Generator]:
    """Return the generators of images (B, 3, H, W), uint8 or in [0, 1], one prompt for each."""
    if images.is_floating_point():
        images = torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2)
    return [
        probe_generator(model.sha256, estimator, prompt, image_digest(image))
        for prompt, image in zip(prompts, images.cpu(), strict=True)
    ]


def decoded_generators(
    model: TextToImage, estimator: str, prompt: str, latents: Tensor
) -> list[torch.Generator]:
    """Return the generators of the images of latents (B, C, h, w), all of one prompt."""
    images = [model.decode(one).cpu() for one in torch.split(latents, 1)]
    return probe_generators(model, estimator, [prompt] * len(latents), torch.cat(images))
