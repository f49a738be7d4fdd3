"""The truth of the second world: LID* of images and captions, and copies by chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmh_core.pocket.scenes import Scene
from mmh_core.pocket.second.finish import draw_all, parameters, render
from mmh_core.pocket.second.images import (
    family,
    held_out_scene,
    row_images,
    trained_scene,
)
from mmh_core.pocket.second.tables import Tables
from mmh_core.pocket.true_lid import VISIBLE, values_of_slopes

#: Two images are the same to the eye when they differ by less, root mean square over values.
COPY_RMS = 0.04
#: Held-out images behind LID* and the chance of a copy of one caption.
LID_IMAGES, CHANCE_IMAGES = 3, 24
#: LID* from which a caption is wide: copies by chance are rare. A property of the family alone, so
#: that choosing wide captions cannot bring back what their doses were dealt apart from.
WIDE = 5.0


def wide_captions(truth: pd.DataFrame) -> set[int]:
    """Return the ids of the captions whose measured LID* is wide."""
    return set(truth[truth.lid >= WIDE].caption)


def singular_values(scene: Scene, free: Sequence[str]) -> np.ndarray:
    """Return the singular values, falling, of the Jacobian of painter and finish over sqrt(D)."""
    return values_of_slopes(scene, free, parameters(scene.painter), render)


def lid_star(scene: Scene, free: Sequence[str]) -> int:
    """Return LID* of an image given its caption: directions of at least one gray level of 255.

    A direction counts when moving along it over the whole range of the parameters would change
    the image by at least 1/255, root mean square. 0 where nothing is free.
    """
    return int((singular_values(scene, free) >= VISIBLE).sum())


def distances(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the root mean square difference (N, M) of uint8 images, in units of 255."""
    one, two = (each.reshape(len(each), -1).astype(np.float32) / 255 for each in (images, others))
    square = (one**2).sum(1)[:, None] + (two**2).sum(1) - 2 * one @ two.T
    root: np.ndarray = np.sqrt(square.clip(0) / one.shape[1])
    return root


def chance_of_copy(scenes: Sequence[Scene], images: np.ndarray) -> float:
    """Return the share of a family's own images that equal one of some images to the eye.

    What a perfect model of the family would copy without having memorized anything.
    """
    if not len(images):
        return 0.0
    return float((distances(draw_all(scenes), images).min(1) < COPY_RMS).mean())


@dataclass(frozen=True)
class CaptionTruth:
    """The truth of one caption: its number, LID* (mean over images) and the chance of a copy."""

    caption: int
    lid: float
    chance: float


def caption_truths(tables: Tables, numbers: Sequence[int]) -> Iterator[CaptionTruth]:
    """Yield the truth of captions of the table, one after another.

    The chance of a copy is taken against up to 40 training images, or, of a caption without any,
    against one image of its family.
    """
    rows = tables.rows
    order = np.argsort(rows.caption.to_numpy(), kind="stable")
    sorted_captions = rows.caption.to_numpy()[order]
    for number in numbers:
        made = family(tables, number)
        scenes = [held_out_scene(tables, number, i) for i in range(CHANCE_IMAGES)]
        lid = np.mean([lid_star(scene, made.free) for scene in scenes[:LID_IMAGES]])
        low, high = np.searchsorted(sorted_captions, [number, number + 1])
        own = order[low:high][:40]
        if len(own):
            images = row_images(tables, own.tolist())
        else:
            images = draw_all([trained_scene(tables, number, 0)])
        yield CaptionTruth(number, float(lid), chance_of_copy(scenes, images))


def explained_by_cells(captions: pd.DataFrame) -> float:
    """Return the share of LID*'s variance that a constant for each painter and role explains."""
    lid = captions.lid - captions.lid.mean()
    within = captions.lid - captions.groupby(["painter", "role"]).lid.transform("mean")
    return float(1 - (within**2).sum() / (lid**2).sum())
