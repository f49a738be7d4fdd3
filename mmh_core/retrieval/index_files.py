"""Keep an index as a folder: vectors.npy, labels.parquet and index.json with their SHA-256.

The folder is written under another name beside its place and put there whole: readers see the old
index or the new one. Vectors may be mapped into memory instead of read, so that a large index
opens at once and processes share it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmh_core.files import sha256_of
from mmh_core.folders import names_in_place, replacing_folder
from mmh_core.formats.untrusted import error_text, parse_json
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError
from mmh_core.retrieval.folder_files import SkippedFile
from mmh_core.retrieval.image_names import printable_path
from mmh_core.retrieval.index import Index, checked_labels, unit_rows

FORMAT = "mmh-index-1"
VECTORS, LABELS, META = "vectors.npy", "labels.parquet", "index.json"
FILES = (VECTORS, LABELS, META)
AGAIN = "build the index again or restore the folder."
#: Bytes of index.json: the names of a million files that are not indexed fit.
MOST_META = 2**28
#: Numbers whose squares are added up at once.
LENGTH_NUMBERS = 2**24


def save_index(
    index: Index,
    folder: Path,
    *,
    storage: Literal["float32", "float16"] = "float32",
    files: int | None = None,
    left_out: Sequence[SkippedFile] = (),
) -> None:
    """Write an index to `folder`, whole or not at all, in place of an index that is there.

    Where it was made from a folder, `files` is the number of all files there and `left_out` what
    of them is not indexed; both are kept in index.json for people to read.

    `storage="float16"` halves the file; similarities then move by some .0005, and the index cannot
    be mapped into memory. Raises MMHError where `folder` holds anything but an index, or the disk
    refuses; everything is then as it was.
    """
    if storage not in ("float32", "float16"):
        raise ValueError(f"storage={storage!r}: it must be 'float32' or 'float16'.")
    check_place(folder)
    with replacing_folder(folder) as new_folder:
        np.save(
            new_folder / VECTORS, index.vectors.astype(storage, copy=False), allow_pickle=False
        )
        index.labels.to_parquet(new_folder / LABELS, index=False)
        meta = {
            "format": FORMAT,
            "embedder": index.embedder,
            "digest": index.digest,
            "preprocessing": index.preprocessing,
            "count": len(index),
            "dim": index.dim,
            "storage": storage,
            "sha256": {name: sha256_of(new_folder / name) for name in (VECTORS, LABELS)},
        }
        if files is not None:
            meta |= {"files": files, "skipped": [asdict(entry) for entry in left_out]}
        (new_folder / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def load_index(folder: Path, *, memory_map: bool = True, verify: bool = True) -> Index:
    """Read an index; with `memory_map` its vectors stay in the file until they are needed.

    `verify` compares the SHA-256 of the files and the lengths of the vectors, which reads them
    twice (about two seconds per GB). Vectors stored as float16 are always read, brought back to
    length 1 in float32. Raises MMHError for a folder that is missing, of another format, damaged,
    or does not match its checksums.
    """
    meta = _meta(folder)
    try:
        if verify:
            for name in (VECTORS, LABELS):
                if sha256_of(folder / name) != meta["sha256"][name]:
                    raise MMHError(f"{folder / name} does not match its checksum: {AGAIN}")
        index = _assemble(folder, meta, memory_map and meta["storage"] == "float32")
        if verify:
            _check_lengths(index)
        return index
    except MMHError:
        raise
    # Of NumPy, Arrow and pandas, on files that anybody may have written.
    except Exception as error:
        raise MMHError(
            f"The index in {folder} is damaged ({error_text(error)}): {AGAIN}"
        ) from error


def check_place(folder: Path) -> None:
    """Raise MMHError unless an index may be written here: nothing there, or an index alone."""
    names = names_in_place(folder, "the index")
    if names and (META not in names or not names <= set(FILES)):
        raise MMHError(
            f"{folder} holds other things than an index: name a new folder, so that nothing of "
            "yours is replaced."
        )


def _meta(folder: Path) -> dict[str, Any]:
    path = folder / META
    # Not there either: names too long, or with a null character.
    if not os.path.isfile(path):
        raise MMHError(
            f"{printable_path(folder)} holds no index: build one with `{PROGRAM} index IMAGES "
            "--out INDEX`, and name the folder that it wrote."
        )
    try:
        with path.open("rb") as file:
            data = file.read(MOST_META + 1)
        if len(data) > MOST_META:
            raise ValueError(f"it is larger than {MOST_META // 2**20} MiB")
        meta = parse_json(data)
    except (OSError, ValueError) as error:
        raise MMHError(
            f"{printable_path(path)} is damaged ({error_text(error)}): {AGAIN}"
        ) from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise MMHError(f"{folder} holds no index of this version: {AGAIN}")
    _check_shape(path, meta)
    return meta


def _check_shape(path: Path, meta: dict[str, Any]) -> None:
    """Raise MMHError unless every field has the type and the range that `save_index` writes."""
    sums = meta.get("sha256")
    fits = (
        all(type(meta.get(name)) is str for name in ("embedder", "digest", "preprocessing"))
        and all(type(meta.get(name)) is int and meta[name] > 0 for name in ("count", "dim"))
        and meta.get("storage") in ("float32", "float16")
        and isinstance(sums, dict)
        and all(type(sums.get(name)) is str for name in (VECTORS, LABELS))
    )
    if not fits:
        raise MMHError(f"{path} is damaged (a field is missing or of another kind): {AGAIN}")


def _assemble(folder: Path, meta: dict[str, Any], mapped: bool) -> Index:
    import pandas as pd

    stored = np.load(folder / VECTORS, mmap_mode="r" if mapped else None, allow_pickle=False)
    if stored.shape != (meta["count"], meta["dim"]) or stored.dtype != meta["storage"]:
        raise ValueError(f"{VECTORS} holds {stored.dtype} {stored.shape}")
    vectors = stored if meta["storage"] == "float32" else unit_rows(stored)
    labels = checked_labels(pd.read_parquet(folder / LABELS), len(vectors))
    return Index(vectors, labels, meta["embedder"], meta["digest"], meta["preprocessing"])


def _check_lengths(index: Index) -> None:
    """Raise ValueError unless all vectors have length 1: a NaN would be similar to nothing."""
    size = max(1, LENGTH_NUMBERS // index.dim)
    for start in range(0, len(index), size):
        some = index.vectors[start : start + size]
        lengths = np.sqrt(np.einsum("nd,nd->n", some, some))
        # Rounding to float32 moves a length by some 1e-7, and a sum of 10,000 squares by 1e-6.
        if not (np.abs(lengths - 1) < 1e-3).all():
            raise ValueError(f"{VECTORS} holds a vector that does not have length 1")
