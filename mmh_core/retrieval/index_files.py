"""Keep an index as a folder: vectors.npy, labels.parquet and index.json with their SHA-256.

The folder is written under another name beside its place and put there whole: readers see the old
index or the new one. Vectors may be mapped into memory instead of read, so that a large index
opens at once and processes share it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from mmh_core.records import MMHError
from mmh_core.retrieval.index import Index, checked_labels, unit_rows

FORMAT = "mmh-index-1"
VECTORS, LABELS, META = "vectors.npy", "labels.parquet", "index.json"
FILES = (VECTORS, LABELS, META)
AGAIN = "build the index again or restore the folder."


def save_index(
    index: Index, folder: Path, *, storage: Literal["float32", "float16"] = "float32"
) -> None:
    """Write an index to `folder`, whole or not at all, in place of an index that is there.

    `storage="float16"` halves the file; similarities then move by some .0005, and the index cannot
    be mapped into memory. Raises MMHError where `folder` holds anything but an index, or the disk
    refuses; everything is then as it was.
    """
    if storage not in ("float32", "float16"):
        raise ValueError(f"storage={storage!r}: it must be 'float32' or 'float16'.")
    with replacing_folder(folder) as place:
        np.save(place / VECTORS, index.vectors.astype(storage, copy=False), allow_pickle=False)
        index.labels.to_parquet(place / LABELS, index=False)
        meta = {
            "format": FORMAT,
            "embedder": index.embedder,
            "digest": index.digest,
            "preprocessing": index.preprocessing,
            "count": len(index),
            "dim": index.dim,
            "storage": storage,
            "sha256": {name: _sha256(place / name) for name in (VECTORS, LABELS)},
        }
        (place / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def load_index(folder: Path, *, memory_map: bool = True, verify: bool = True) -> Index:
    """Read an index; with `memory_map` its vectors stay in the file until they are needed.

    `verify` compares the SHA-256 of the files, which reads them once (about a second per GB).
    Vectors stored as float16 are always read, brought back to length 1 in float32. Raises MMHError
    for a folder that is missing, of another format, damaged, or does not match its checksums.
    """
    meta = _meta(folder)
    try:
        if verify:
            for name in (VECTORS, LABELS):
                if _sha256(folder / name) != meta["sha256"][name]:
                    raise MMHError(f"{folder / name} does not match its checksum: {AGAIN}")
        return _assemble(folder, meta, memory_map and meta["storage"] == "float32")
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MMHError(f"The index in {folder} is damaged ({error}): {AGAIN}") from error


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, and put it in its place when the block ends well.

    Files are flushed to the disk first. An index that is there is moved aside, and removed after
    the new one stands in its place. When the block raises, nothing remains of it. Raises MMHError
    as `check_place` does and where the operating system refuses.

    Caveat: a process killed between the two renames, or inside the block, leaves a folder whose
    name starts with ".writing-" or ".replaced-".
    """
    check_place(folder)
    target = folder.resolve()
    temporary = target.with_name(f".writing-{uuid4().hex}")
    aside = target.with_name(f".replaced-{uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            _flush(path)
        if target.exists():
            os.rename(target, aside)
        try:
            os.rename(temporary, target)
        except OSError:
            if aside.exists():
                os.rename(aside, target)
            raise
        _flush(target.parent)
    except OSError as error:
        raise MMHError(
            f"{folder} could not be written ({error.strerror or error}): free some space or "
            "choose a folder that this user may write to, then try again."
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)


def check_place(folder: Path) -> None:
    """Raise MMHError unless an index may be written here: nothing there, or an index alone."""
    if not folder.exists():
        above = next(parent for parent in folder.absolute().parents if parent.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise MMHError(
                f"{folder} cannot be written: name a folder in one that this user may write to."
            )
        return
    if not folder.is_dir():
        raise MMHError(f"{folder} is a file: name another folder for the index.")
    names = {path.name for path in folder.iterdir()}
    if names and (META not in names or not names <= set(FILES)):
        raise MMHError(
            f"{folder} holds other things than an index: name a new folder, so that nothing of "
            "yours is replaced."
        )


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise MMHError(
            f"{folder} holds no index: build one with `python -m mmh_core index FOLDER`."
        ) from None
    except (OSError, ValueError) as error:
        raise MMHError(f"{folder / META} is damaged ({error}): {AGAIN}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise MMHError(f"{folder} holds no index of this version: {AGAIN}")
    return meta


def _assemble(folder: Path, meta: dict[str, Any], mapped: bool) -> Index:
    import pandas as pd

    stored = np.load(folder / VECTORS, mmap_mode="r" if mapped else None, allow_pickle=False)
    if stored.shape != (meta["count"], meta["dim"]) or stored.dtype != meta["storage"]:
        raise ValueError(f"{VECTORS} holds {stored.dtype} {stored.shape}")
    vectors = stored if meta["storage"] == "float32" else unit_rows(stored)
    labels = checked_labels(pd.read_parquet(folder / LABELS), len(vectors))
    texts = (meta["embedder"], meta["digest"], meta["preprocessing"])
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{META} does not name the embedder")
    return Index(vectors, labels, *texts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
