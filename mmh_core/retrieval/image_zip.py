"""Unpack a zip of training images, damaged or hostile, into a folder and nowhere else."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO
from zipfile import ZipFile, ZipInfo

from mmh_core.formats.untrusted import error_text, quoted
from mmh_core.formats.zip_files import DAMAGE, check_directory, checked_entries
from mmh_core.records import MMHError, Progress

MAX_ENTRIES = 200_000
MAX_DIRECTORY = 2**26  # bytes of the list of entries
MAX_UNPACKED = 2**33  # bytes of all entries
MAX_NAME = 200  # bytes of one part of a name: file systems take 255
MAX_DEPTH = 32
_CHUNK = 2**20
#: A folder that a Mac adds, with no image in it.
_MAC = "__MACOSX"


def unpack_images(data: IO[bytes], folder: Path, name: str) -> Iterator[Progress[int]]:
    """Write the files of a zip into a new folder; each progress counts the entries left out.

    Left out are links and other entries that are no files, and what a Mac adds; whatever else
    lies there is a matter of the index. `name` is what to call the zip in a sentence. Errors:
    MMHError for a zip that is damaged, protected by a password or too large, that names a file
    outside the folder, or that the disk has no room for; the folder may then hold a part of it.
    """
    try:
        check_directory(data, MAX_ENTRIES, MAX_DIRECTORY)
        with ZipFile(data) as archive:
            yield from _unpacked(archive, folder)
    except MMHError:
        raise
    except DAMAGE as error:
        raise MMHError(
            f"{quoted(name)} is no zip file of images, or damaged ({error_text(error)}): pack the "
            "folder again as a plain zip, without a password."
        ) from error


def images_root(folder: Path, names: Iterable[str] = ()) -> Path:
    """Return where the images of an unpacked zip begin: in the one folder that it holds, if so.

    Captions name images below that place, and few people pack a folder from within; where `names`
    of a table begin with that folder, it is a part of the names.
    """
    entries = list(folder.iterdir()) if folder.is_dir() else []
    if len(entries) != 1 or not entries[0].is_dir():
        return folder
    above = any(name.replace("\\", "/").startswith(f"{entries[0].name}/") for name in names)
    return folder if above else entries[0]


def _unpacked(archive: ZipFile, folder: Path) -> Iterator[Progress[int]]:
    infos = checked_entries(archive)
    total = sum(info.file_size for info in infos)
    if total > MAX_UNPACKED:
        raise ValueError(f"it unpacks to more than {MAX_UNPACKED // 2**30} GiB")
    folder.mkdir()
    free = shutil.disk_usage(folder).free
    if total > free:
        raise MMHError(
            f"The images unpack to {total / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: free "
            "some space, or name a folder on the server."
        )
    left_out = written = 0
    for number, info in enumerate(infos, start=1):
        parts = _parts(info.filename)
        if info.is_dir():
            continue
        if parts[0] == _MAC or not _is_file(info):
            left_out += 1
        else:
            _write(archive, info, folder.joinpath(*parts))
        written += info.file_size
        message = f"Unpacking: {number:,} of {len(infos):,} files"
        yield Progress(written / max(total, 1), message, left_out)


def _parts(filename: str) -> list[str]:
    """Return the parts of an entry's name. Errors: ValueError for one that leads elsewhere."""
    # Some programs pack on Windows with its own separator.
    parts = filename.replace("\\", "/").rstrip("/").split("/")
    if any(part in ("", ".", "..") or ":" in part for part in parts):
        raise ValueError(f"it names {quoted(filename)}, which leads out of its folder")
    if len(parts) > MAX_DEPTH or any(len(part.encode()) > MAX_NAME for part in parts):
        raise ValueError(f"the name {quoted(filename)} is too long")
    return parts


def _is_file(info: ZipInfo) -> bool:
    """Return whether an entry is a plain file, and no link or device."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG)


def _write(archive: ZipFile, info: ZipInfo, path: Path) -> None:
    """Write one entry as a new file, of its listed size and no larger."""
    left = info.file_size
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as entry, path.open("xb") as file:
        while chunk := entry.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ValueError(f"{quoted(info.filename)} is larger than listed")
            file.write(chunk)
