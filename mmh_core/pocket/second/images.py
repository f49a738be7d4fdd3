"""Images of the second world, rendered from their numbers whenever they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.pocket.augmentations import color_shift, crop, flip, jpeg, uniform
from mmh_core.pocket.scenes import Scene
from mmh_core.pocket.second.drawing import CELLS, CaptionWriter, random_caption
from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption, ImageFamily, family_of
from mmh_core.pocket.second.finish import draw_all, parameters
from mmh_core.pocket.second.tables import Tables

Images = NDArray[np.uint8]

#: Greatest shift of a near-duplicate in pixels, and the range of its noise's standard deviation.
SHIFT, NOISE = 4, (0.015, 0.045)
#: Streams of random numbers: trained images, held-out ones, fresh ones, and open captions.
_TRAINED, _HELD_OUT, _FRESH, _OPEN = 10, 11, 12, 13


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to `SHIFT` pixels, and repeat its edge."""
    moved = []
    for image in images:
        dx, dy = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
        wide = F.pad(image[None], (SHIFT,) * 4, mode="replicate")[0]
        height, width = image.shape[1:]
        moved.append(wide[:, SHIFT + dy :, SHIFT + dx :][:, :height, :width])
    return torch.stack(moved)


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise whose standard deviation is drawn from `NOISE`."""
    level = uniform(len(images), *NOISE, generator).to(images)
    return (images + level * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def half_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, flip(images, generator), images)


#: Changes of a near-duplicate, by the name of its level.
NEAR: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "crop": crop,
    "shift": shift,
    "flip": half_flip,
    "color": color_shift,
    "noise": noise,
    "JPEG": jpeg,
}


def caption_of(tables: Tables, number: int) -> GrammarCaption:
    """Return a caption of the table. Errors: ValueError for one outside of the world."""
    caption = tables.grammar[number]
    if caption is None:
        raise ValueError(f"Caption {number} has no images in the world.")
    return caption


def family(tables: Tables, number: int) -> ImageFamily:
    """Return the family of a caption of the table."""
    return family_of(caption_of(tables, number), tables.seed)


def trained_scene(tables: Tables, number: int, image: int) -> Scene:
    """Return an image of a caption as it is in the training set, before any change.

    The images of a template differ from its first one in one attribute alone.
    """
    made = family(tables, number)
    scene = made.scene(np.random.default_rng([tables.seed, _TRAINED, number, image]))
    if tables.captions.role[number] != "template" or image == 0:
        return scene
    first = made.scene(np.random.default_rng([tables.seed, _TRAINED, number, 0]))
    varied = tables.captions.varied[number]
    changed = [each for each in GRAMMARS[made.painter].details if each.name == varied]
    return _mixed(made, first, scene, [n for each in changed for n in each.parameters])


def _mixed(made: ImageFamily, first: Scene, other: Scene, varied: Sequence[str]) -> Scene:
    """Return the first scene with the varied parameters of another."""
    names = parameters(made.painter)
    pairs = zip(names, first.values, other.values, strict=True)
    return Scene(made.painter, first.style, tuple(b if n in varied else a for n, a, b in pairs))


def held_out_scene(tables: Tables, number: int, image: int) -> Scene:
    """Return an image of a caption's family that no model is trained with."""
    rng = np.random.default_rng([tables.seed, _HELD_OUT, number, image])
    return family(tables, number).scene(rng)


def fresh_scene(tables: Tables, number: int, image: int) -> Scene:
    """Return an image of a caption whose training images are drawn anew without end."""
    return family(tables, number).scene(
        np.random.default_rng([tables.seed, _FRESH, number, image])
    )


@dataclass(frozen=True)
class OpenImage:
    """An image of an open caption: both are drawn once and never again."""

    caption: GrammarCaption
    scene: Scene


def open_images(tables: Tables, start: int, count: int) -> Iterator[OpenImage]:
    """Yield open images by number: without end, each with a caption outside of the tables."""
    taken = CaptionWriter(tables.seed, set(tables.captions.text))
    for number in range(start, start + count):
        rng = np.random.default_rng([tables.seed, _OPEN, number])
        cell = CELLS[int(rng.integers(len(CELLS)))]
        while True:
            caption = random_caption(cell, float(rng.random()), rng)
            fixed = frozenset(caption.fixed)
            if caption.text in taken.used or any(p <= fixed for p in taken.pairs[cell.painter]):
                continue
            break
        yield OpenImage(caption, family_of(caption, tables.seed).scene(rng))


def row_images(tables: Tables, rows: Sequence[int]) -> Images:
    """Return the images (N, 64, 64, 3) of rows of the training table."""
    table = tables.rows.iloc[list(rows)]
    numbers = zip(table.caption.tolist(), table.image.tolist(), strict=True)
    images = draw_all([trained_scene(tables, caption, image) for caption, image in numbers])
    for i, (name, own) in enumerate(zip(table["transform"], table.transform_seed, strict=True)):
        if name:
            images[i] = changed(images[i], name, int(table.caption.iloc[i]), int(own))
    return images


def changed(image: Images, name: str, caption: int, seed: int) -> Images:
    """Return a near-duplicate (64, 64, 3) of an image: number `seed` of this caption."""
    generator = torch.Generator().manual_seed(1_000_003 * caption + seed)
    unit = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None] / 255
    change = NEAR[name](unit, generator)[0].clamp(0, 1)
    rounded: Images = (change * 255).round().byte().numpy().transpose(1, 2, 0)
    return rounded
