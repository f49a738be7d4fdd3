"""Export a whole case: a queue with its evidence, verdicts and runs as one zip file.

Entries: `case.json` (the queue), `items.jsonl` and `verdicts.jsonl` (one record a line),
`plan.json` (labels and assignment, where there are any), `thumbnails/DIGEST`, `runs/NAME`, and
`contents.json`, which lists size and SHA-256 of all others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from mmh_core.files import replacing
from mmh_core.formats.untrusted import quoted
from mmh_core.records import MMHError
from mmh_core.store.item_search import get_item
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import get_queue
from mmh_core.store.review_log import log_rows
from mmh_core.store.review_plans import ReviewPlan, read_plan
from mmh_core.store.review_records import (
    LATER_ITEM_FIELDS,
    LATER_ROW_FIELDS,
    REMARKS,
    RUN_NAME,
    LogRow,
    ReviewItem,
)
from mmh_core.store.run_files import is_as_recorded
from mmh_core.store.sqlite_file import SqliteFile

#: 2 keeps the number and the joint digest of the items, 3 has marks, comments and generations, 4
#: has a plan; 1 is still read.
CASE_FORMAT = "mmh-case-4"
_WITHOUT_PLAN, _WITHOUT_REMARKS = "mmh-case-3", "mmh-case-2"
PLAN = "plan.json"
_CHUNK = 2**20


@dataclass(frozen=True)
class CaseExport:
    """The content of a case file that was written; `missing_runs` are missing files of runs."""

    items: int
    verdicts: int
    runs: int
    missing_runs: tuple[str, ...]


def export_case(
    file: SqliteFile, queue: str, runs: Path, path: Path, *, plans: Path | None = None
) -> CaseExport:
    """Write the case of a queue to the zip file `path`, whole or not at all.

    `runs` is the folder with the files that items name, `plans` that with the plans of queues;
    None leaves the plan out. Equal cases make equal files. Errors: MMHError for an unknown queue,
    one whose verdicts do not verify, and where the disk refuses.
    """
    report = verify(file, queue)
    if not report.whole:
        raise MMHError(
            f"{report.message} A case is exported only if all is as it was recorded: restore "
            "the file of queues from a backup."
        )
    record = get_queue(file, queue)
    # Up to the seal: rows and items that come in meanwhile belong to the next export.
    rows = log_rows(file, queue)[: record.rows]
    plan = ReviewPlan() if plans is None else read_plan(plans, queue)
    with replacing(path) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        written = _Entries(archive)
        # Older versions can read a case that has nothing which they do not know.
        later = any(row.role in REMARKS for row in rows)
        form = _WITHOUT_PLAN if later else _WITHOUT_REMARKS
        form = form if plan == ReviewPlan() else CASE_FORMAT
        written.add("case.json", [_line({"format": form, "queue": asdict(record)})])
        written.add("items.jsonl", _item_lines(file, queue, record.items))
        written.add("verdicts.jsonl", (_line(row_tree(row)) for row in rows))
        if plan != ReviewPlan():
            written.add(PLAN, [_line(asdict(plan))])
        missing = []
        for position in range(1, record.items + 1):
            item = get_item(file, queue, position, "").item
            if item.thumbnail:
                written.add(f"thumbnails/{_sha256(item.thumbnail)}", [item.thumbnail])
            if item.run and not written.has(f"runs/{item.run}"):
                if RUN_NAME.fullmatch(item.run) and (runs / item.run).is_file():
                    _check_run(item, runs / item.run)
                    written.add(f"runs/{item.run}", _chunks(runs / item.run))
                elif item.run not in missing:
                    missing.append(item.run)
        count = written.close()
    return CaseExport(record.items, len(rows), count, tuple(missing))


def item_tree(item: ReviewItem) -> dict[str, Any]:
    """Return an item as JSON values, with the digest of its thumbnail or "" for none."""
    tree = {name: _null_for_nan(value) for name, value in asdict(item).items()}
    tree["scores"] = [[name, _null_for_nan(value)] for name, value in item.scores]
    tree["thumbnail"] = _sha256(item.thumbnail) if item.thumbnail else ""
    _drop_empty(tree, LATER_ITEM_FIELDS)
    return tree


def row_tree(row: LogRow) -> dict[str, Any]:
    """Return a row of the log as JSON values."""
    tree = asdict(row)
    _drop_empty(tree, LATER_ROW_FIELDS)
    return tree


def _drop_empty(tree: dict[str, Any], names: tuple[str, ...]) -> None:
    """Leave out what older versions do not know: they can read the record then."""
    for name in names:
        if not tree[name]:
            del tree[name]


def _check_run(item: ReviewItem, path: Path) -> None:
    if not is_as_recorded(item, path):
        raise MMHError(
            f"The file {quoted(item.run, 200)} of a run is not the one with which its item was "
            "made: it was changed or replaced. Restore it from a backup; nothing was written."
        )


class _Entries:
    """The entries of a zip file that is being written, and their list."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self._listed: dict[str, dict[str, Any]] = {}

    def has(self, name: str) -> bool:
        return name in self._listed

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write an entry once; its date is always the first that zip files know."""
        if name in self._listed:
            return
        digest, size = hashlib.sha256(), 0
        info = ZipInfo(name)
        info.compress_type = ZIP_DEFLATED
        with self._archive.open(info, "w", force_zip64=True) as entry:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                entry.write(chunk)
        self._listed[name] = {"bytes": size, "sha256": digest.hexdigest()}

    def close(self) -> int:
        """Write the list, and return how many runs are on it."""
        count = sum(name.startswith("runs/") for name in self._listed)
        self.add("contents.json", [_line(dict(self._listed))])
        return count


def _item_lines(file: SqliteFile, queue: str, count: int) -> Iterator[bytes]:
    for position in range(1, count + 1):
        yield _line(item_tree(get_item(file, queue, position, "").item))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _line(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _null_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
