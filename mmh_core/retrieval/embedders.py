"""Turn images into descriptors: unit vectors whose inner product is a similarity.

Every embedder takes images (B, 3, H, W) float32 in [0, 1] and returns (B, dim) float32 of
length 1. Similarities of different embedders, or of one under different preparation of the
images, do not compare: `digest` tells embedders apart and `preprocessing` is to be printed
beside every figure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmh_core.files import sha256_of
from mmh_core.installation import PROGRAM, assets
from mmh_core.records import MMHError

POCKET_DESCRIPTOR = assets() / "pocket-sd" / "descriptor"
#: Pixels embedded at a time by `embed_all`, 32 images of 64 x 64: twice as many leave the
#: processor's cache and take the shipped world's descriptor half as long again.
BATCH_PIXELS = 2**17


class Embedder(Protocol):
    """A map of images (B, 3, H, W) in [0, 1] to descriptors (B, dim) float32 of length 1."""

    @property
    def name(self) -> str:
        """Return a short name for people."""

    @property
    def dim(self) -> int:
        """Return the number of coordinates of a descriptor."""

    @property
    def digest(self) -> str:
        """Return the SHA-256 of whatever decides the descriptors."""

    @property
    def preprocessing(self) -> str:
        """Return in words what happens to an image first."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return one descriptor per image."""


@dataclass(frozen=True)
class PixelEmbedder:
    """The embedder of an image's own pixels: 16 x 16 area means, centered, normalized.

    The resolution is fixed, and so is the centering: one mean over all pixels and channels, so
    that brightness and contrast drop out and hue stays. dim = 768. Smaller images are enlarged
    by repeating pixels.

    It knows where things are and nothing else: re-compression, blur and a change of brightness
    hardly move it, while a mirror image or a crop of an image is another image to it. An image
    of one color has nothing left after centering and gets the one direction that no other image
    has, so such images are like one another and like nothing else.
    """

    name: Literal["pixels"] = "pixels"

    SIDE = 16

    @property
    def dim(self) -> int:
        """Return 3 x 16 x 16."""
        return 3 * self.SIDE**2

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the recipe."""
        return hashlib.sha256(f"{self.name}: {self.preprocessing}".encode()).hexdigest()

    @property
    def preprocessing(self) -> str:
        """Return the recipe in words."""
        return f"area means on {self.SIDE} x {self.SIDE}, centered"

    def __call__(self, images: Tensor) -> Tensor:
        """Return descriptors (B, 768)."""
        check_images(images)
        small = F.adaptive_avg_pool2d(images, self.SIDE).flatten(1)
        centered = small - small.mean(dim=1, keepdim=True)
        flat = centered.abs().amax(dim=1, keepdim=True) < 1e-4  # a fortieth of an 8-bit step
        return F.normalize(torch.where(flat, torch.ones_like(centered), centered))


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a network's input: resizing, then `(x - mean) / std` per channel.

    `fit="square"` makes them size x size whatever their proportions; `fit="short edge"` keeps
    the proportions and gives the shorter edge this length. Bilinear with antialiasing.
    """

    size: int
    fit: Literal["square", "short edge"] = "square"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def words(self) -> str:
        """Return in words what is done."""
        to = f"{self.size} x {self.size}" if self.fit == "square" else f"short edge {self.size}"
        plain = self.mean == (0.0, 0.0, 0.0) and self.std == (1.0, 1.0, 1.0)
        colors = "" if plain else f", minus {self.mean} over {self.std}"
        return f"bilinear to {to}{colors}"

    def __call__(self, images: Tensor) -> Tensor:
        """Return the prepared images (B, 3, h, w)."""
        height, width = images.shape[-2:]
        size = (self.size, self.size)
        if self.fit == "short edge":
            short = min(height, width)
            size = (self.size * height // short, self.size * width // short)
        resized = images
        if (height, width) != size:
            resized = F.interpolate(
                images, size, mode="bilinear", antialias=True, align_corners=False
            )
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (resized - mean) / std


@dataclass(frozen=True, eq=False)
class NetworkEmbedder:
    """The embedder by a network (B, 3, h, w) -> (B, dim), whose output is normalized here.

    The network is used as it is, on the device it is on, and must be in evaluation mode with its
    parameters frozen; gradients reach images that ask for them. Raises ValueError otherwise.
    """

    name: str
    network: nn.Module
    prepare: Preprocessing
    dim: int
    digest: str

    def __post_init__(self) -> None:
        """Refuse a network that would describe the same image differently the next time."""
        if any(module.training for module in self.network.modules()):
            raise ValueError(f"{self.name} is in training mode: call eval() on it first.")
        if any(parameter.requires_grad for parameter in self.network.parameters()):
            raise ValueError(f"{self.name} is not frozen: call requires_grad_(False) on it first.")

    @property
    def preprocessing(self) -> str:
        """Return in words what happens to an image first."""
        return self.prepare.words

    def __call__(self, images: Tensor) -> Tensor:
        """Return descriptors (B, dim) on the device of the images."""
        check_images(images)
        first = next(self.network.parameters(), images)
        features = self.network(self.prepare(images).to(first.device, first.dtype))
        if features.shape != (len(images), self.dim):
            raise ValueError(
                f"{self.name} gave {tuple(features.shape)}, not {(len(images), self.dim)}: "
                "its network or dim is wrong."
            )
        return F.normalize(features.to(images.device, torch.float32))


def pocket_embedder(folder: Path = POCKET_DESCRIPTOR) -> NetworkEmbedder:
    """Load the shipped world's own copy descriptor, for images of 64 x 64; dim 128 as shipped.

    Trained in SSCD's manner (Pizzi et al. 2022) on images of that world; it is not SSCD and
    means little on other images. Raises MMHError where the folder is missing or damaged.
    """
    if not folder.is_dir():
        raise MMHError(
            f"There is no copy descriptor in {folder}: run `{PROGRAM} pocket build`, or choose "
            "another embedder."
        )
    from mmh_core.pocket.descriptor import load_descriptor

    network = load_descriptor(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    dim = network.outlet.out_features
    return NetworkEmbedder("pocket", network, Preprocessing(64), dim, files_digest(files))


def similarity_to_others(descriptors: Tensor) -> Tensor:
    """Return the mean cosine of each descriptor (N, dim) with the N - 1 others, float64 (N,).

    Its mean is the mean over all pairs; NaN for a single one.
    """
    unit = F.normalize(descriptors.double(), dim=1)
    others = len(unit) - 1
    return ((unit @ unit.T).sum(1) - 1) / (others or float("nan"))


def embed_all(embedder: Embedder, images: Tensor) -> Tensor:
    """Describe many images of one size, some at a time: (N, 3, H, W) -> (N, dim) float32.

    Bytes (uint8) are divided by 255 a batch at a time, so that a large set stays small.
    """
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}: it must be (N, 3, H, W).")
    size = max(1, BATCH_PIXELS // (images.shape[2] * images.shape[3]))
    parts = [torch.empty(0, embedder.dim, device=images.device)]
    for start in range(0, len(images), size):
        parts.append(embedder(as_floats(images[start : start + size])))
    return torch.cat(parts)


def as_floats(images: Tensor) -> Tensor:
    """Return bytes as float32 in [0, 1], anything else as it is."""
    return images.to(torch.float32).div(255) if images.dtype == torch.uint8 else images


def check_images(images: Tensor) -> None:
    """Raise ValueError unless images are (B, 3, H, W) float32 in [0, 1] and not empty."""
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"images have shape {tuple(images.shape)}: it must be (B, 3, H, W).")
    if images.dtype != torch.float32:
        raise ValueError(f"images are {images.dtype}: they must be float32 in [0, 1].")
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError("images hold values outside [0, 1] or NaN: scale or clamp them first.")


def files_digest(files: Iterable[Path]) -> str:
    """Return one SHA-256 of the names and contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
