"""Read a case file that may be damaged or hostile: bounded sizes, known names, digests checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from mmh_core.formats.untrusted import error_text, parse_json, quoted, typed_value
from mmh_core.formats.zip_files import DAMAGE, check_directory, checked_entries
from mmh_core.records import MMHError
from mmh_core.store.queues import MAX_ITEMS
from mmh_core.store.review_records import MAX_THUMBNAIL, RUN_NAME

MAX_ENTRIES = 2 * MAX_ITEMS
MAX_DIRECTORY = 2**26  # bytes of the list of entries, and of contents.json
MAX_UNPACKED = 2**33  # bytes of all entries
MAX_LINE = 2**20  # bytes of one record, of case.json and of plan.json
_CHUNK = 2**20
_LISTING = 512  # bytes of contents.json for one entry
#: Names that a newer version may add: without ".." or a leading slash, they stay in the folder.
_LATER = re.compile(r"[a-z][a-z0-9_-]{0,60}(/[A-Za-z0-9][A-Za-z0-9._-]{0,100})?(\.[a-z]{1,8})?")
_THUMBNAIL = re.compile(r"thumbnails/([0-9a-f]{64})")


class NewerCase(MMHError):
    """The error for a case that a newer version of the app has written."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"This case was written by a newer version of the app ({what}): update this app, then "
            "import the case again; nothing was imported."
        )


@dataclass(frozen=True)
class ListedEntry:
    """Size and digest of an entry, as contents.json lists it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class CaseArchive:
    """An open case file: its zip file and the size and digest of each entry."""

    archive: ZipFile
    listed: dict[str, ListedEntry]

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an entry, not more than its listed size, and check its digest."""
        if name not in self.listed:
            raise ValueError(f"{name!r} is missing")
        sha256, left = self.listed[name].sha256, self.listed[name].bytes
        digest = hashlib.sha256()
        with self.archive.open(name) as entry:
            while chunk := entry.read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"{name!r} is larger than listed")
                digest.update(chunk)
                yield chunk
        if left or digest.hexdigest() != sha256:
            raise ValueError(f"{name!r} does not match its digest")

    def trees(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON records of an entry, one from each line."""
        rest = b""
        for chunk in self.chunks(name):
            data, start = rest + chunk, 0
            # One at a time: a list of all lines of a chunk takes many times its size.
            while (end := data.find(b"\n", start)) >= 0:
                tree = parse_json(data[start:end])
                if not isinstance(tree, dict):
                    raise ValueError(f"{name!r} has a line that is no record")
                yield tree
                start = end + 1
            rest = data[start:]
            if len(rest) > MAX_LINE:
                raise ValueError(f"{name!r} has a line longer than {MAX_LINE} bytes")
        if rest:
            raise ValueError(f"{name!r} ends within a line")


@contextmanager
def opened_case(path: Path) -> Iterator[CaseArchive]:
    """Open a case file; turn damage into one MMHError."""
    try:
        if not path.is_file():
            raise MMHError(f"There is no file {quoted(str(path), 200)}: name a case file.")
        # Opened here: the zip reader keeps a file open for as long as an entry is half read.
        with path.open("rb") as data:
            check_directory(data, MAX_ENTRIES, MAX_DIRECTORY)
            with ZipFile(data) as archive:
                yield CaseArchive(archive, _listed(archive))
    except MMHError:
        raise
    # Of the zip reader, zlib and the JSON reader, on damaged or hostile bytes.
    except (*DAMAGE, OSError) as error:
        raise MMHError(
            f"{quoted(path.name)[1:-1]} is no case file, or was damaged or changed "
            f"({error_text(error)}): export the case "
            "again; nothing was imported."
        ) from error


def _listed(archive: ZipFile) -> dict[str, ListedEntry]:
    """Return size and digest of each entry by contents.json; refuse any other entries."""
    infos = checked_entries(archive)
    names = {info.filename for info in infos}
    # In proportion to the entries, which are there already: a list of more would only cost memory.
    most = min(MAX_DIRECTORY, _LISTING * (len(infos) + 8))
    with archive.open("contents.json") as entry:
        data = entry.read(most + 1)
    if len(data) > most:
        raise ValueError("its list of contents is too long")
    listed = typed_value(parse_json(data), dict[str, ListedEntry])
    if names != {*listed, "contents.json"}:
        raise ValueError("its entries are not those of its list")
    for name, about in listed.items():
        most = _most_bytes(name)
        if most < 0 and _LATER.fullmatch(name) and not name.startswith(("runs/", "thumbnails/")):
            raise NewerCase(f"it has the entry {quoted(name)}")
        if not 0 <= about.bytes <= most:
            raise ValueError(f"{quoted(name)} is no entry of a case, or too large")
    if sum(about.bytes for about in listed.values()) > MAX_UNPACKED:
        raise ValueError(f"it unpacks to more than {MAX_UNPACKED // 2**30} GiB")
    return dict(listed)


def _most_bytes(name: str) -> int:
    """Return how large an entry may be, -1 for a name that a case does not have."""
    if name in ("items.jsonl", "verdicts.jsonl"):
        return MAX_UNPACKED
    if name in ("case.json", "plan.json"):
        return MAX_LINE
    if _THUMBNAIL.fullmatch(name):
        return MAX_THUMBNAIL
    folder, _, rest = name.partition("/")
    return MAX_UNPACKED if folder == "runs" and RUN_NAME.fullmatch(rest) else -1
