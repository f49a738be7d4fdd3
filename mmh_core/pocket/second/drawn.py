"""The images beside a model of the second world: drawn from their numbers, and kept in a cache.

They are not shipped, 44 MB as lossless sheets: the renderer is deterministic. They are drawn when
they are first opened, and kept for this user where the system keeps such files, or in memory where
nothing can be written. What is shipped of them is the mean shade of every image's quarters, so
that images that are drawn otherwise are refused, and rounding on another processor is not.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmh_core.files import lock_if_free, replacing
from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.scenes import Scene
from mmh_core.pocket.second.doses import Sizes
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import held_out_scene, open_images, row_images
from mmh_core.pocket.second.tables import Tables, build_tables
from mmh_core.records import MMHError, Progress

Images = NDArray[np.uint8]

#: Open images held out, by number, and the number of a caption's held-out image.
OPEN_START, _HELD_OUT = 940_000_000, 3_000
#: Images drawn between two reports, about a second's work.
_DRAWN = 512
#: Largest difference of a quarter's mean shade, of 256: rounding, and no other image.
_SHADE = 1
#: Seconds between two looks whether somebody else is finished, and how many looks at most.
_LOOK, _LOOKS = 0.5, 1_200


@dataclass(frozen=True)
class WorldNumbers:
    """What the images are drawn from: seed and sizes of the tables, and how many there are."""

    seed: int
    sizes: Sizes
    training: int
    held_out: int

    def described(self) -> dict[str, object]:
        """Return what `world.json` says of it."""
        counts = {"training": self.training, "held_out": self.held_out}
        return {"seed": self.seed, "world": 2, "sizes": asdict(self.sizes), "pictures": counts}


@dataclass(frozen=True, eq=False)
class WorldImages:
    """The training images and the held-out ones, both (N, 64, 64, 3) uint8."""

    training: Images
    held_out: Images


def numbers_in(about: Mapping[str, object]) -> WorldNumbers:
    """Return the numbers that `world.json` names. Errors: ValueError for other content."""
    sizes, counts = about.get("sizes"), about.get("pictures")
    if not isinstance(sizes, dict) or not isinstance(counts, dict):
        raise ValueError("it does not say from which numbers the images are drawn")
    whole = [about.get("seed"), *sizes.values(), counts.get("training"), counts.get("held_out")]
    if any(type(value) is not int or value < 0 for value in whole):
        raise ValueError("the numbers of its images are no whole numbers")
    try:
        return WorldNumbers(
            int(str(about["seed"])), Sizes(**sizes), counts["training"], counts["held_out"]
        )
    except TypeError as error:
        raise ValueError(f"its sizes are not those of this version ({error})") from error


def held_out_captions(tables: Tables) -> list[int]:
    """Return the captions of which one image is held out beside a model."""
    captions = tables.captions
    return [int(each) for each in captions[captions.group.isin(("trained", "held-out"))].id]


def held_out_scenes(tables: Tables, count: int) -> list[Scene]:
    """Return the scenes of `count` held-out images: one of each such caption, then open ones."""
    captions = held_out_captions(tables)
    scenes = [held_out_scene(tables, caption, _HELD_OUT) for caption in captions]
    opened = open_images(tables, OPEN_START, max(0, count - len(scenes)))
    return [*scenes, *(each.scene for each in opened)][:count]


def shades(images: Images) -> Images:
    """Return for each image (N, 64, 64, 3) the mean shades (N, 12) of its quarters by channel."""
    half = SIDE // 2
    parts = images.reshape(len(images), 2, half, 2, half, 3)
    total = parts.sum((2, 4), dtype=np.uint32).reshape(len(images), 12)
    means: Images = (total / half**2).round().astype(np.uint8)
    return means


def shades_of(images: WorldImages) -> Images:
    """Return the mean shades of all images, training images first."""
    return np.concatenate([shades(images.training), shades(images.held_out)])


def drawing_steps(numbers: WorldNumbers) -> Iterator[Progress[WorldImages | None]]:
    """Draw all images; the last progress has them."""
    yield Progress(0.0, _WORDS, None)
    tables = build_tables(numbers.seed, numbers.sizes)
    scenes = held_out_scenes(tables, numbers.held_out)
    total = numbers.training + numbers.held_out
    images = np.empty((total, SIDE, SIDE, 3), np.uint8)
    for start in range(0, total, _DRAWN):
        stop = min(start + _DRAWN, total)
        rows = range(start, min(stop, numbers.training))
        if len(rows):
            images[rows.start : rows.stop] = row_images(tables, rows)
        if stop > numbers.training:
            first = max(start, numbers.training)
            others = scenes[first - numbers.training : stop - numbers.training]
            images[first:stop] = draw_all(others)
        yield Progress(0.98 * stop / total, _WORDS, None)
    made = WorldImages(images[: numbers.training], images[numbers.training :])
    yield Progress(1.0, _WORDS, made)


_WORDS = "Rendering the training images, once on this machine"
#: The images of the last world that could not be written anywhere, by its place.
_in_memory: dict[Path, WorldImages] = {}


def image_steps(
    numbers: WorldNumbers, expected: Images, cache: Path
) -> Iterator[Progress[WorldImages | None]]:
    """Return the images from the folder `cache`, or draw them and keep them there.

    The last progress has them. `expected` (N, 12) are the mean shades of all images. Who opens
    them while somebody else draws waits for it. Where the folder cannot be written, the images
    stay in memory for this process. Errors: MMHError for images that are drawn otherwise.
    """
    place = image_folder(numbers, expected, cache)
    images = _kept(place, numbers)
    with ExitStack() as held:
        for _ in range(_LOOKS):
            if images is not None or _locked(place, held):
                break
            yield Progress(0.0, "Waiting for another process that renders these images", None)
            time.sleep(_LOOK)
            images = _kept(place, numbers)
        # Somebody may have finished between the look and the lock.
        images = _kept(place, numbers) if images is None else images
        if images is None:
            for progress in drawing_steps(numbers):
                images = progress.partial
                yield Progress(progress.fraction, progress.message, None)
            if images is None:
                raise ValueError("No image was drawn.")
            _check(images, expected)
            keep(images, place)
    yield Progress(1.0, "The training images are there", images)


def image_folder(numbers: WorldNumbers, expected: Images, cache: Path) -> Path:
    """Return where the images of these numbers and shades are kept."""
    digest = hashlib.sha256(repr(numbers).encode() + expected.tobytes()).hexdigest()
    return cache / f"images-{digest[:16]}"


def keep(images: WorldImages, place: Path) -> None:
    """Keep drawn images in a folder, or in memory where it cannot be written."""
    try:
        for name, part in _parts(images):
            digest = _digest(part)
            with replacing(place / f"{name}-{digest}.npy") as temporary:
                np.save(temporary, part)
    except (MMHError, OSError):
        _in_memory.clear()
        _in_memory[place] = images


def is_drawn(numbers: WorldNumbers, expected: Images, cache: Path) -> bool:
    """Return whether the images are drawn already, as far as names of files tell."""
    place = image_folder(numbers, expected, cache)
    names = ("training", "held-out")
    return place in _in_memory or all(any(place.glob(f"{name}-*.npy")) for name in names)


def training_image(number: int, numbers: WorldNumbers, expected: Images, cache: Path) -> Images:
    """Return one training image (64, 64, 3), without reading the others where they are kept."""
    for path in image_folder(numbers, expected, cache).glob("training-*.npy"):
        try:
            image: Images = np.array(np.load(path, mmap_mode="r")[number])
        except (OSError, ValueError, IndexError):
            continue
        if image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8:
            return image
    [*_, last] = image_steps(numbers, expected, cache)
    if last.partial is None:
        raise ValueError("No image was drawn.")
    single: Images = last.partial.training[number]
    return single


def _locked(place: Path, held: ExitStack) -> bool:
    """Take the lock of a folder, if it can be had; whoever cannot write needs none."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        unlock = lock_if_free(place)
    except OSError:
        return True
    if unlock is None:
        return False
    held.callback(unlock)
    return True


def _kept(place: Path, numbers: WorldNumbers) -> WorldImages | None:
    """Return images that are kept as they were written, None without."""
    if place in _in_memory:
        return _in_memory[place]
    training = _part(place, "training", numbers.training)
    held_out = None if training is None else _part(place, "held-out", numbers.held_out)
    return None if training is None or held_out is None else WorldImages(training, held_out)


def _part(place: Path, name: str, count: int) -> Images | None:
    for path in sorted(place.glob(f"{name}-*.npy")):
        try:
            images = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue
        whole = images.shape == (count, SIDE, SIDE, 3) and images.dtype == np.uint8
        digest = _digest(images) if whole else ""
        if whole and path.stem == f"{name}-{digest}":
            kept: Images = images
            return kept
    return None


def _parts(images: WorldImages) -> Iterator[tuple[str, Images]]:
    yield "held-out", images.held_out
    yield "training", images.training


def _digest(images: Images) -> str:
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()[:16]


def _check(images: WorldImages, expected: Images) -> None:
    """Refuse images that are drawn otherwise than those that the model was trained with."""
    shades = shades_of(images)
    if shades.shape != expected.shape:
        raise MMHError(
            f"{len(shades):,} images are drawn, and the shipped model names {len(expected):,}: "
            "copy its folder again."
        )
    apart = np.abs(shades.astype(np.int16) - expected).max(1) > _SHADE
    if apart.any():
        raise MMHError(
            f"{int(apart.sum()):,} of the {len(shades):,} images of the shipped model are drawn "
            "otherwise on this machine than when it was trained, so that copies of them would not "
            "be recognized: install the versions that requirements.txt names, and copy the folder "
            "of the model again."
        )
