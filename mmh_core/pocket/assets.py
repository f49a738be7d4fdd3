"""The files of the world beside the model: lossless image sheets, label tables, a manifest.

| file | holds |
|---|---|
| world.json | seed, counts, and which world: 1 unless it says 2 |
| pictures/training-00.webp, ... | training images by id, 240 to a sheet, one below the other |
| pictures/held-out-00.webp, ... | held-out images likewise |
| training.parquet, held_out.parquet | the labels of `World` |
| prompts.parquet | the captions of the named cast, with their paraphrases |
| manifest.json | SHA-256 of every other file |
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmh_core.files import replacing, write_bytes, write_text
from mmh_core.formats.untrusted import read_json
from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.world import World, prompts
from mmh_core.records import MMHError
from mmh_core.text_to_image.weights import MANIFEST, digest

#: Images on a sheet, which WebP limits to a height of 16,383. In one column, because images of
#: one subject then stand below one another, and the file is 5 % smaller than with a square sheet.
_PER_SHEET = 240


def write_world(
    folder: Path, world: World, captions: pd.DataFrame | None = None, number: int = 1
) -> None:
    """Write a world's images and tables into a folder; equal worlds make equal bytes.

    `captions` is the table of prompts, that of the first world's cast unless given.
    """
    _write_sheets(folder, "training", world.images)
    _write_sheets(folder, "held-out", world.held_out)
    for name, table in (
        ("training", world.labels),
        ("held_out", world.held_out_labels),
        ("prompts", prompts(world.seed) if captions is None else captions),
    ):
        with replacing(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    counts = {"training": len(world.images), "held_out": len(world.held_out)}
    about: dict[str, object] = {"seed": world.seed, "pictures": counts}
    if number != 1:
        about["world"] = number
    text = json.dumps(about, indent=2, sort_keys=True)
    write_text(folder / "world.json", text + "\n")


def read_world(folder: Path) -> World:
    """Return the world that `write_world` wrote. MMHError for a missing or damaged file."""
    try:
        seed = world_seed(folder)
        tables = [_table(folder / f"{name}.parquet") for name in ("training", "held_out")]
        images = [
            _read_sheets(folder, name, len(table))
            for name, table in zip(("training", "held-out"), tables, strict=True)
        ]
    except (OSError, ValueError, KeyError) as error:
        raise MMHError(
            f"The world in {folder} cannot be read ({error}): copy the folder again or build it "
            "with the command pocket build."
        ) from error
    return World(seed, images[0], tables[0], images[1], tables[1])


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
