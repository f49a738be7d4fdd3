"""Measure the copy search on images in other colors.

Run `python benchmarks/recolored.py [--json FILE]`, with the shipped model. Every change is made
to 40 training images (found: a copy or a likely one) and to 60 held-out ones of no template
(false: the same), none of which chose a threshold. Bounds by Clopper and Pearson.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.stats import beta
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from mmh_core.pocket.furnish import open_shipped_data
from mmh_core.subject.calibration import calibration_beside
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.training_set import TrainingSet, pocket_training_set

FOLDER = Path(__file__).parents[1] / "assets" / "pocket-sd"
TRAINED, HELD_OUT = 40, 60
Change = Callable[[Image.Image], Image.Image]


def mapped(change: Callable[[float], float]) -> Change:
    table = [round(min(255.0, max(0.0, change(value)))) for value in range(256)]
    return lambda image: image.point(table * 3)


def hue(turn: int) -> Change:
    def done(image: Image.Image) -> Image.Image:
        values = np.array(image.convert("HSV"))
        values[..., 0] = (values[..., 0].astype(int) + turn) % 256
        return Image.fromarray(values, "HSV").convert("RGB")

    return done


def noisy(image: Image.Image) -> Image.Image:
    values = np.asarray(image) + np.random.default_rng(0).normal(0, 8, (64, 64, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Change] = {
    "as it is": lambda x: x,
    "grey": lambda x: x.convert("L").convert("RGB"),
    "darker (x .5)": mapped(lambda v: v * 0.5),
    "darker (x .8)": mapped(lambda v: v * 0.8),
    "brighter (x 1.5)": mapped(lambda v: v * 1.5),
    "brighter (+ 40)": mapped(lambda v: v + 40),
    "half the contrast": lambda x: ImageEnhance.Contrast(x).enhance(0.5),
    "1.6 times the contrast": lambda x: ImageEnhance.Contrast(x).enhance(1.6),
    "gamma .6": mapped(lambda v: 255 * (v / 255) ** 0.6),
    "gamma 1.8": mapped(lambda v: 255 * (v / 255) ** 1.8),
    "hue turned by 45 degrees": hue(32),
    "hue turned by 180 degrees": hue(128),
    "channels exchanged": lambda x: Image.merge("RGB", x.split()[::-1]),
    "inverted": ImageOps.invert,
    "sepia": lambda x: ImageOps.colorize(x.convert("L"), "#201000", "#ffe8c0"),
    "half the saturation": lambda x: ImageEnhance.Color(x).enhance(0.5),
    "noise of .03": noisy,
    "blurred (radius 1)": lambda x: x.filter(ImageFilter.GaussianBlur(1)),
}


def tensors(images: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(x) for x in images])).permute(0, 3, 1, 2) / 255


def bounds(count: int, total: int) -> tuple[float, float, float]:
    """Return a share with its exact 95 % interval."""
    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return count / total, float(low), float(high)


def words(share: tuple[float, float, float]) -> str:
    return f"{share[0]:.3f} ({share[1]:.3f} to {share[2]:.3f})"


def unseen(count: int, free: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the training and held-out rows without those by which thresholds were chosen."""
    mine, rest = np.arange(count), free
    for trained, held_out in ((60, 200), (40, 100)):
        draw = np.random.default_rng(1)
        mine = np.setdiff1d(mine, draw.choice(count, trained, replace=False))
        rest = np.setdiff1d(rest, draw.choice(free, held_out, replace=False))
    return mine, rest


def told(training_set: TrainingSet, images: list[Image.Image]) -> tuple[int, int, int]:
    kinds = [copy.kind for copy, _ in find_copies(training_set, tensors(images))]
    found = sum(kind in ("exact", "template", "likely") for kind in kinds)
    return found, sum(kind == "unknown" for kind in kinds), sum(kind == "none" for kind in kinds)


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = calibration_beside(FOLDER)
    training_set, world = pocket_training_set(FOLDER, known), open_shipped_data(FOLDER).world
    free = np.flatnonzero(world.held_out_labels.kind.to_numpy() != "template")
    draw = np.random.default_rng(2)
    mine_left, free_left = unseen(len(world.images), free)
    some = world.images[draw.choice(mine_left, TRAINED, replace=False)]
    others = world.held_out[draw.choice(free_left, HELD_OUT, replace=False)]
    rows = []
    print("| change | found | undecided | missed | false | undecided | none | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, change in CHANGES.items():
        start = time.perf_counter()
        mine = told(training_set, [change(Image.fromarray(x)) for x in some])
        rest = told(training_set, [change(Image.fromarray(x)) for x in others])
        cost = (time.perf_counter() - start) / (TRAINED + HELD_OUT)
        found, false = bounds(mine[0], TRAINED), bounds(rest[0], HELD_OUT)
        cells = [words(found), mine[1], mine[2], words(false)]
        print("|", " | ".join(map(str, [name, *cells, *rest[1:], f"{cost:.2f}"])), "|", flush=True)
        training = {"found": found, "undecided": mine[1], "missed": mine[2]}
        held_out = {"false": false, "undecided": rest[1], "none": rest[2]}
        rows.append({"change": name, "training": training, "held_out": held_out, "seconds": cost})
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
