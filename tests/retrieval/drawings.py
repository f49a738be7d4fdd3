"""Draw images that tests can tell apart, alter them, and look for them again."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.retrieval.embedders import Embedder, PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index, search
from mmh_core.retrieval.training_images import training_images
from mmh_core.subject.training_set import TrainingSet

Alteration = Callable[[Tensor], Tensor]

#: Loose in all but what a test is about.
THRESHOLDS = CopyThresholds(
    descriptor=0.9,
    calibrated_l2=1.0,
    ratio=1 / 3,
    near_duplicate=0.03,
    pixel_tolerance=0.04,
    template_share=0.6,
    template_family=4,
)


def drawings(count: int, seed: int = 0, size: int = 64) -> Tensor:
    """Return images (count, 3, size, size) uint8: five discs and bars on a slanted gradient."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    for image in images:
        start, end = random.uniform(0, 1, (2, 3, 1, 1))
        slant = random.uniform(0, 1)
        canvas = start + (end - start) * (slant * x + (1 - slant) * y)
        for kind in range(5):
            cx, cy, reach = *random.uniform(0.1, 0.9, 2), random.uniform(0.08, 0.25)
            disc = (x - cx) ** 2 + (y - cy) ** 2 < reach**2
            bar = (abs(x - cx) < reach) & (abs(y - cy) < reach / 2)
            canvas = np.where(disc if kind % 2 else bar, random.uniform(0, 1, (3, 1, 1)), canvas)
        image[:] = (canvas * 255).round()
    return torch.from_numpy(images)


def of_all_colors(images: Tensor) -> Tensor:
    """Return the images, the last four dark, bright, grey and vivid: no other is beyond them."""
    random = torch.Generator().manual_seed(0)
    size = images.shape[-1]
    light = torch.rand((3, 1, size, size), generator=random) * 0.04
    levels = torch.tensor([0.0, 0.96, 0.48]).reshape(3, 1, 1, 1)
    plain = (light + levels).expand(-1, 3, -1, -1)
    blocks = torch.randint(6, (1, size // 8, size // 8), generator=random)
    pure = torch.cat([torch.eye(3), 1 - torch.eye(3)])[blocks].permute(0, 3, 1, 2)
    vivid = F.interpolate(pure, size=(size, size))
    return torch.cat([images[:-4], (torch.cat([plain, vivid]) * 255).round().to(torch.uint8)])


def labels(count: int) -> pd.DataFrame:
    """Return one row per image."""
    rows = range(count)
    return pd.DataFrame(
        {"id": rows, "caption": [f"c{i}" for i in rows], "file": [f"{i}.png" for i in rows]}
    )


def training_set_of(images: Tensor, embedder: Embedder | None = None) -> TrainingSet:
    """Return images (N, 3, H, W) uint8 as a training set, described by pixels unless said."""
    embedder = embedder or PixelEmbedder()
    index = build_index(embed_all(embedder, images), labels(len(images)), embedder)
    training = training_images(images, index)
    return TrainingSet("drawings", index, embedder, lambda row: images[row], training, THRESHOLDS)


def mirrored(images: Tensor) -> Tensor:
    """Return mirror images."""
    return images.flip(-1)


def cropped(images: Tensor) -> Tensor:
    """Return the middle 84 percent of the width and height at the old size."""
    edge = round(0.08 * images.shape[-1])
    inner = images[..., edge:-edge, edge:-edge]
    return F.interpolate(inner, images.shape[-2:], mode="bilinear", antialias=True).clamp(0, 1)


def compressed(images: Tensor) -> Tensor:
    """Return what JPEG at quality 40 leaves of images."""
    found = []
    for image in images.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=40)
        decoded = np.array(Image.open(stream).convert("RGB"))
        found.append(torch.from_numpy(decoded).permute(2, 0, 1))
    return torch.stack(found).to(torch.float32).div(255)


def found_share(embedder: Embedder, images: Tensor, alteration: Alteration) -> float:
    """Return the share of images (N, 3, H, W) uint8 nearest to their own altered versions."""
    index = build_index(embed_all(embedder, images), labels(len(images)), embedder)
    altered = alteration(images.to(torch.float32).div(255))
    nearest = search(index, embed_all(embedder, altered), 1).ids[:, 0]
    return (nearest == torch.arange(len(images))).to(torch.float64).mean().item()
