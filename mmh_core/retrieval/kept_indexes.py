"""Indexes that the app keeps in its data folder, each with the images it was made from."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from uuid import uuid4

from mmh_core.counting import agreeing, plural
from mmh_core.files import write_bytes
from mmh_core.folders import remove_abandoned, replacing_folder
from mmh_core.formats.tables import SUFFIXES
from mmh_core.formats.untrusted import error_text, json_record, quoted, read_json
from mmh_core.records import MMHError, Progress
from mmh_core.retrieval.captions import CaptionTable, read_captions
from mmh_core.retrieval.embedder_choice import load_embedder
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.folder import FolderIndex, summary, write_index
from mmh_core.retrieval.image_names import printable_path
from mmh_core.retrieval.image_zip import images_root, unpack_images

FORMAT = "mmh-kept-index-1"
ABOUT, INDEX, IMAGES = "about.json", "index", "images"
LONGEST_NAME = 80
#: The share of the work that unpacking takes.
_UNPACKING = 0.2
_ID = re.compile(r"[0-9a-f]{32}")
_REMOVED = ".removed-"


@dataclass(frozen=True)
class IndexRequest:
    """What an index is to be made of.

    `images` are the bytes of a zip, or a folder on this disk, which stays where it is. `captions`
    is a table as its file's name and bytes, None where they lie beside the images or are unknown.
    """

    name: str
    images: bytes | Path
    embedder: str = "pixels"
    captions: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class IndexAbout:
    """What is kept of an index beside it: how it was made, and in sentences what was left out.

    `images` is where its images lie: below the kept folder, or a whole path to one elsewhere.
    `created` is in seconds since 1970.
    """

    format: str
    name: str
    created: float
    embedder: str
    images: str
    count: int
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class KeptIndex:
    """An index of the data folder; `id` is the name of its folder."""

    id: str
    folder: Path
    about: IndexAbout

    @property
    def index(self) -> Path:
        """Return the folder of the index itself."""
        return self.folder / INDEX

    @property
    def images(self) -> Path:
        """Return the folder of its images."""
        return self.folder / self.about.images


@dataclass(frozen=True)
class IndexBuild:
    """An index that is being made: the files seen and indexed so far, and at last what is kept."""

    files: int
    read: int
    kept: KeptIndex | None = None


def keep_index(
    indexes: Path, request: IndexRequest, load: Callable[[str], Embedder] = load_embedder
) -> Iterator[Progress[IndexBuild]]:
    """Make an index by the code of the command `index` and keep it, whole or not at all.

    The last progress holds it. Stopped or refused, nothing of it remains. `load` opens the
    descriptor. Errors: MMHError for a zip, a folder, captions or a descriptor that cannot be used.
    """
    id, name = uuid4().hex, checked_name(request.name)
    indexes.mkdir(parents=True, exist_ok=True)
    remove_abandoned(indexes)
    build = IndexBuild(0, 0)
    with replacing_folder(indexes / id) as new:
        table = None if request.captions is None else _captions(new, *request.captions)
        left_out, begun, folder = 0, 0.0, request.images
        if isinstance(folder, bytes):
            begun = _UNPACKING
            for unpacked in unpack_images(BytesIO(folder), new / IMAGES, name):
                left_out = unpacked.partial
                yield Progress(begun * unpacked.fraction, unpacked.message, build)
            folder = images_root(new / IMAGES, () if table is None else table.captions)
        embedder, indexed = load(request.embedder), None
        with _named(folder, name if begun else ""):
            for progress in write_index(folder, new / INDEX, embedder, captions=table):
                indexed = progress.partial
                build = IndexBuild(indexed.files, indexed.read)
                fraction = begun + (1 - begun) * progress.fraction
                yield Progress(min(fraction, 0.99), progress.message, build)
        if indexed is None:
            raise ValueError(f"{folder} gave no index.")
        place = folder.relative_to(new) if begun else folder
        sentences = _sentences(indexed, left_out)
        about = IndexAbout(
            *(FORMAT, name, time.time(), request.embedder, str(place), indexed.read, sentences)
        )
        write_bytes(new / ABOUT, (json.dumps(asdict(about), indent=2) + "\n").encode())
    kept = KeptIndex(id, indexes / id, about)
    yield Progress(1.0, f"{plural(about.count, 'image')} indexed", replace(build, kept=kept))


@contextmanager
def _named(folder: Path, name: str) -> Iterator[None]:
    """Let errors name the zip, and not the folder that it is unpacked in; "" for no zip."""
    try:
        yield
    except MMHError as error:
        if not name:
            raise
        raise MMHError(str(error).replace(printable_path(folder), quoted(name))) from error


def kept_indexes(indexes: Path) -> list[KeptIndex]:
    """Return the indexes in a folder that can be read, newest first."""
    if not indexes.is_dir():
        return []
    entries = [kept_index(indexes, path.name) for path in indexes.iterdir()]
    kept = [entry for entry in entries if entry is not None]
    return sorted(kept, key=lambda entry: entry.about.created, reverse=True)


def kept_index(indexes: Path, id: str) -> KeptIndex | None:
    """Return the index of an id, None where there is none or it cannot be read."""
    if not _ID.fullmatch(id):
        return None
    try:
        tree = read_json(indexes / id / ABOUT, "file", "make the index again.")
        about = json_record(IndexAbout, tree)
    except (MMHError, ValueError):
        return None
    return KeptIndex(id, indexes / id, about) if about.format == FORMAT else None


def remove_index(indexes: Path, id: str) -> None:
    """Remove an index with the images that were unpacked for it; a folder elsewhere stays.

    Errors: MMHError for one that is not there, and where the disk refuses.
    """
    if not _ID.fullmatch(id) or not (indexes / id).is_dir():
        raise MMHError("This training set is not kept here any more: reload the page.")
    aside = indexes / f"{_REMOVED}{id}"
    try:
        # Under another name at once, so that nobody opens half of it.
        os.rename(indexes / id, aside)
    except OSError as error:
        raise MMHError(
            f"The training set could not be removed ({error_text(error)}): let this user write to "
            f"{indexes}."
        ) from error
    for entry in indexes.glob(f"{_REMOVED}*"):
        shutil.rmtree(entry, ignore_errors=True)


def checked_name(name: str) -> str:
    """Return the name of an index on one line. Errors: MMHError for an empty or long one."""
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if not line or len(line) > LONGEST_NAME:
        raise MMHError(f"Give the training set a name of 1 to {LONGEST_NAME} characters.")
    return line


def _captions(folder: Path, name: str, data: bytes) -> CaptionTable:
    """Return an uploaded table of captions. Errors: MMHError in its own name."""
    suffix = Path(name).suffix.casefold()
    if suffix not in SUFFIXES:
        raise MMHError(
            f"The table of captions {quoted(name)} must end in {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}: save it as one."
        )
    path, shown = folder / f"captions{suffix}", " ".join(Path(name).name.split())[:LONGEST_NAME]
    write_bytes(path, data)
    try:
        table = read_captions(path)
    except MMHError as error:
        raise MMHError(str(error).replace(path.name, shown)) from error
    finally:
        path.unlink(missing_ok=True)
    problems = tuple(problem.replace(path.name, shown) for problem in table.problems)
    return replace(table, source=shown, problems=problems)


def _sentences(indexed: FolderIndex, left_out: int) -> tuple[str, ...]:
    """Return what the command says of an index, and which entries of a zip were not unpacked."""
    unpacked = ""
    if left_out:
        were = agreeing(left_out, "is no file or was", "are no files or were")
        unpacked = f"{plural(left_out, 'entry')} of the zip {were} added by a Mac, and left out."
    return tuple(filter(None, (summary(indexed), indexed.captions.sentence(), unpacked)))
