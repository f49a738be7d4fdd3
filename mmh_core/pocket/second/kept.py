"""Measurements of many items, each kept in a file of its own, so that a check resumes.

What is measured can be packed into one file, and unpacked on another machine.
"""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmh_core.files import write_bytes, write_text

Record = Mapping[str, object]
#: What a packed file may be called: one of a folder of measurements, or one beside these.
#: Items have names of two words as well ("color shift").
_PACKED = re.compile(r"(?:[\w-]+/)?[\w. -]+\.json", re.ASCII)
#: The same bytes, whenever something is packed.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class KeptMeasurement:
    """The measurement of a list of items, such as captions or images; `label` says which.

    `measure` returns the records of one item; they are kept as JSON in `folder`, one file for each
    item, whole or not at all. The folder's name has to change with whatever the records depend on.
    """

    label: str
    folder: Path
    items: tuple[str, ...]
    measure: Callable[[str], Sequence[Record]]

    @property
    def left(self) -> tuple[str, ...]:
        """Return the items that are not measured yet."""
        return tuple(item for item in self.items if not self._path(item).is_file())

    @property
    def complete(self) -> bool:
        """Return whether all items are measured."""
        return not self.left

    def run(self, deadline: float | None = None) -> Iterator[tuple[int, int]]:
        """Measure what is left; yield how many items are done, of how many.

        Stops before the next item when `time.monotonic()` is beyond the deadline.
        """
        for number, item in enumerate(left := self.left, start=1):
            if deadline is not None and time.monotonic() > deadline:
                return
            records = [dict(record) for record in self.measure(item)]
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self._path(item), json.dumps(records) + "\n")
            yield len(self.items) - len(left) + number, len(self.items)

    def table(self) -> pd.DataFrame:
        """Return the records of all items that are measured, one row each."""
        return pd.DataFrame([row for item in self.items for row in self._rows(item)])

    def of(self, item: str) -> pd.DataFrame:
        """Return the records of one item, no row where it is not measured."""
        return pd.DataFrame(self._rows(item))

    def _rows(self, item: str) -> list[dict[str, Any]]:
        path = self._path(item)
        rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
        return rows

    def _path(self, item: str) -> Path:
        return self.folder / f"{item}.json"


def pack(files: Iterable[Path], folder: Path, path: Path) -> int:
    """Write the JSON files among those of a folder into a zip file; return how many."""
    names = sorted(file.relative_to(folder).as_posix() for file in files if file.suffix == ".json")
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as packed:
        for name in names:
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, (folder / name).read_bytes())
    write_bytes(path, written.getvalue())
    return len(names)


def unpack(path: Path, folder: Path, part: str) -> None:
    """Put a packed file, or all of a packed folder, into a folder, but for what is there.

    Nothing happens without the zip file `path`. Errors: ValueError for a name that leads out of
    the folder.
    """
    if not path.is_file():
        return
    with zipfile.ZipFile(path) as packed:
        for name in packed.namelist():
            if name.partition("/")[0] != part or (folder / name).is_file():
                continue
            if not _PACKED.fullmatch(name):
                raise ValueError(f"{path} holds {name!r}, which is no measurement.")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / name, packed.read(name))
