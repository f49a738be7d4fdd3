"""The files of the world beside the model: lossless image sheets, label tables, a manifest.

| file | holds |
|---|---|
| world.json | seed, counts, and which world: 1 unless it says 2, with the sizes of its tables |
| pictures/training-00.webp, ... | training images by id, 240 to a sheet, one below the other |
| pictures/held-out-00.webp, ... | held-out images likewise |
| shades.npy | of the second world, in place of images: mean shades, to check drawn ones by |
| training.parquet, held_out.parquet | the labels of `World` |
| prompts.parquet | the captions of the named cast, with their paraphrases |
| manifest.json | SHA-256 of every other file |
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmh_core.files import replacing, write_bytes, write_text
from mmh_core.formats.untrusted import read_json
from mmh_core.installation import cache_folder
from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.second.drawn import (
    WorldImages,
    WorldNumbers,
    image_folder,
    image_steps,
    is_drawn,
    keep,
    numbers_in,
    shades_of,
    training_image,
)
from mmh_core.pocket.world import World, prompts
from mmh_core.records import MMHError, Progress
from mmh_core.text_to_image.weights import MANIFEST, digest

#: Images on a sheet, which WebP limits to a height of 16,383. In one column, because images of
#: one subject then stand below one another, and the file is 5 % smaller than with a square sheet.
_PER_SHEET = 240
#: Of the second world: the mean shades of all images, training images first.
SHADES = "shades.npy"


def write_world(
    folder: Path,
    world: World,
    captions: pd.DataFrame | None = None,
    numbers: WorldNumbers | None = None,
    cache: Path | None = None,
) -> None:
    """Write a world's images and tables into a folder; equal worlds make equal bytes.

    `captions` is the table of prompts, that of the first world's cast unless given. Of a second
    world, which has `numbers`, images are kept in the cache, and drawn where it has none.
    """
    if numbers is None:
        _write_sheets(folder, "training", world.images)
        _write_sheets(folder, "held-out", world.held_out)
        (folder / SHADES).unlink(missing_ok=True)
    else:
        _write_shades(folder, world, numbers, _cache(cache))
    for name, table in (
        ("training", world.labels),
        ("held_out", world.held_out_labels),
        ("prompts", prompts(world.seed) if captions is None else captions),
    ):
        with replacing(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    counts = {"training": len(world.images), "held_out": len(world.held_out)}
    about: dict[str, object] = {"seed": world.seed, "pictures": counts}
    if numbers is not None:
        about = numbers.described()
    text = json.dumps(about, indent=2, sort_keys=True)
    write_text(folder / "world.json", text + "\n")


def read_world(folder: Path, cache: Path | None = None) -> World:
    """Return the world that `write_world` wrote. MMHError for a missing or damaged file.

    Images of a second world come from the cache, that of this user unless given, or are drawn.
    """
    try:
        seed = world_seed(folder)
        tables = [_table(folder / f"{name}.parquet") for name in ("training", "held_out")]
        if world_number(folder) == 2:
            [*_, last] = drawing(folder, cache)
            if last.partial is None:
                raise ValueError("no image was drawn")
            images = [last.partial.training, last.partial.held_out]
        else:
            images = [
                _read_sheets(folder, name, len(table))
                for name, table in zip(("training", "held-out"), tables, strict=True)
            ]
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(folder, error) from error
    return World(seed, images[0], tables[0], images[1], tables[1])


def drawing(folder: Path, cache: Path | None = None) -> Iterator[Progress[WorldImages | None]]:
    """Draw the images of a second world where the cache has none; the last progress has them.

    Errors: MMHError for missing or damaged files, and for images that are drawn otherwise than
    when the model was trained.
    """
    numbers, expected = _drawn(folder)
    yield from image_steps(numbers, expected, _cache(cache))


def has_to_draw(folder: Path, cache: Path | None = None) -> bool:
    """Return whether opening the world in a folder draws its images first. Errors: MMHError."""
    return world_number(folder) == 2 and not is_drawn(*_drawn(folder), _cache(cache))


def read_training_image(folder: Path, number: int, cache: Path | None = None) -> NDArray[np.uint8]:
    """Return one training image (64, 64, 3), without reading all. Errors: MMHError."""
    if world_number(folder) == 2:
        return training_image(number, *_drawn(folder), _cache(cache))
    name, row = sheet_place(number).split("#")
    try:
        image: NDArray[np.uint8] = _sheet(folder / name, (folder / name).stat().st_mtime_ns)[
            int(row)
        ]
    except (OSError, ValueError, IndexError) as error:
        raise _unreadable(folder, error) from error
    return image


# Three megabytes each; a page of a table names images of many.
@lru_cache(maxsize=32)
def _sheet(path: Path, stamp: int) -> NDArray[np.uint8]:
    """Return the images (N, 64, 64, 3) of a sheet, read once per version of the file."""
    from PIL import Image

    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    images: NDArray[np.uint8] = pixels.reshape(-1, SIDE, SIDE, 3)
    return images


def _drawn(folder: Path) -> tuple[WorldNumbers, NDArray[np.uint8]]:
    """Return what the images of a second world are drawn from, and checked by."""
    remedy = "copy the folder again or build it with the command pocket build."
    about = read_json(folder / "world.json", "description of the world", remedy)
    try:
        numbers = numbers_in(about if isinstance(about, dict) else {})
        expected: NDArray[np.uint8] = np.load(folder / SHADES, allow_pickle=False)
        if expected.dtype != np.uint8 or expected.ndim != 2:
            raise ValueError(f"{SHADES} holds {expected.dtype} of {expected.ndim} dimensions")
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(folder, error) from error
    return numbers, expected


def _unreadable(folder: Path, error: Exception) -> MMHError:
    return MMHError(
        f"The world in {folder} cannot be read ({error}): copy the folder again or build it "
        "with the command pocket build."
    )


def _cache(cache: Path | None) -> Path:
    return cache_folder() if cache is None else cache


def world_seed(folder: Path) -> int:
    """Return the seed of the world beside a model. Errors: MMHError."""
    remedy = "copy the folder again or build it with the command pocket build."
    about = read_json(folder / "world.json", "description of the world", remedy)
    seed = about.get("seed") if isinstance(about, dict) else None
    if type(seed) is not int:
        raise MMHError(f"{folder / 'world.json'} names no seed: {remedy}")
    return seed


def world_number(folder: Path) -> int:
    """Return which world lies beside a model, 1 or 2. Errors: MMHError."""
    remedy = "copy the folder again or build it with the command pocket build."
    about = read_json(folder / "world.json", "description of the world", remedy)
    number = about.get("world", 1) if isinstance(about, dict) else None
    if number not in (1, 2):
        raise MMHError(f"{folder / 'world.json'} names no world that is known here: {remedy}")
    return int(number)


def read_prompts(folder: Path) -> pd.DataFrame:
    """Return the captions of the named cast. Errors: MMHError for a missing file."""
    try:
        return pd.read_parquet(folder / "prompts.parquet")
    except (OSError, ValueError) as error:
        raise MMHError(f"{folder / 'prompts.parquet'} cannot be read: build it again.") from error


def sheet_place(number: int, name: str = "training") -> str:
    """Return where image `number` is kept, such as pictures/training-03.webp#17."""
    return f"pictures/{name}-{number // _PER_SHEET:02d}.webp#{number % _PER_SHEET}"


def write_manifest(folder: Path) -> None:
    """List the SHA-256 of every file below the folder, the manifest itself left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    listed = {path.relative_to(folder).as_posix(): digest(path) for path in files}
    write_text(folder / MANIFEST, json.dumps({"files": listed}, indent=1) + "\n")


def _table(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    table["captions"] = [tuple(texts) for texts in table["captions"]]
    return table


def _write_shades(folder: Path, world: World, numbers: WorldNumbers, cache: Path) -> None:
    """Write the mean shades in place of images, and keep the images in the cache."""
    for old in (folder / "pictures").glob("*.webp"):
        old.unlink()
    images = WorldImages(world.images, world.held_out)
    expected = shades_of(images)
    with replacing(folder / SHADES) as temporary:
        np.save(temporary, expected)
    keep(images, image_folder(numbers, expected, cache))


def _write_sheets(folder: Path, name: str, images: NDArray[np.uint8]) -> None:
    from PIL import Image

    for old in (folder / "pictures").glob(f"{name}-*.webp"):
        old.unlink()
    for start in range(0, len(images), _PER_SHEET):
        sheet = Image.fromarray(images[start : start + _PER_SHEET].reshape(-1, SIDE, 3))
        written = io.BytesIO()
        sheet.save(written, "WEBP", lossless=True, method=6, exact=True)
        file = sheet_place(start, name).split("#")[0]
        write_bytes(folder / file, written.getvalue())


def _read_sheets(folder: Path, name: str, count: int) -> NDArray[np.uint8]:
    from PIL import Image

    sheets = []
    for start in range(0, count, _PER_SHEET):
        with Image.open(folder / sheet_place(start, name).split("#")[0]) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
        expected = min(_PER_SHEET, count - start)
        if pixels.shape != (expected * SIDE, SIDE, 3):
            raise ValueError(f"a sheet of {name} images has shape {pixels.shape}")
        sheets.append(pixels.reshape(expected, SIDE, SIDE, 3))
    stacked: NDArray[np.uint8] = np.concatenate(sheets)
    return stacked
