"""Keep the results of a long scan: begun, killed and resumed, each row is computed once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

from mmh_core.files import folder_lock, hold, is_held, write_text
from mmh_core.records import MMHError
from mmh_core.store.digest_deduplication import new_digests
from mmh_core.store.review_records import digest_of
from mmh_core.store.shard_files import (
    BATCH_ROWS,
    holds_shards,
    next_row,
    remove_leftovers,
    row_count,
    shard_batches,
    write_shard,
)

ColumnKind = Literal["text", "float", "int", "bool"]
Value = str | float | int | bool | None

FORMAT = "mmh-scan-1"
MANIFEST = "manifest.json"
_FIXED = ("identity", "prompt", "seeds")


@dataclass(frozen=True)
class ScanManifest:
    """What the rows of a scan are results of; a folder holds rows of one manifest only.

    `settings` is JSON text, see `scan_manifest`; `columns` are (name, kind) of the results.
    """

    model: str
    model_sha256: str
    settings: str
    columns: tuple[tuple[str, ColumnKind], ...]

    def identity(self, prompt: str, seeds: Sequence[int]) -> str:
        """Return the SHA-256 of prompt, seeds, model and settings, which names a row."""
        return digest_of([prompt, list(seeds), self.model_sha256, self.settings])


@dataclass(frozen=True)
class ScanRow:
    """The result of one prompt: a value for each column of the manifest."""

    prompt: str
    seeds: tuple[int, ...]
    values: Mapping[str, Value]


@dataclass(frozen=True)
class ScanFolder:
    """The folder of a scan, open for this process alone to write to.

    `missing` takes (prompt, seeds) pairs and returns for each whether it has still to be computed:
    True once for each that is not in the folder. `write` keeps rows,
    safe on the disk when it returns. `done` counts the rows that were there at the start.
    """

    done: int
    missing: Callable[[Sequence[tuple[str, Sequence[int]]]], list[bool]]
    write: Callable[[Sequence[ScanRow]], None]


def scan_manifest(
    model: str,
    model_sha256: str,
    settings: Mapping[str, object],
    columns: Mapping[str, ColumnKind],
) -> ScanManifest:
    """Return a manifest. Errors: ValueError for column names or kinds that cannot be used."""
    for name, kind in columns.items():
        if kind not in get_args(ColumnKind) or name in _FIXED:
            raise ValueError(
                f"Column {name!r} of kind {kind!r}: choose a kind from {get_args(ColumnKind)} and "
                f"a name other than {_FIXED}."
            )
    kept = json.dumps(dict(settings), sort_keys=True, ensure_ascii=False)
    return ScanManifest(model, model_sha256, kept, tuple(columns.items()))


@contextmanager
def scan_folder(folder: Path, manifest: ScanManifest) -> Iterator[ScanFolder]:
    """Open a folder, made if missing, to begin or resume a scan, and lock it for the block.

    Errors: MMHError where the folder holds a scan of another model, other settings or columns, is
    being written to by somebody else, is damaged, or cannot be written.
    """
    with _alone(folder), new_digests() as add:
        _claim(folder, manifest)
        done = 0
        for batch in shard_batches(folder, ["identity"]):
            identities = batch.column("identity").to_pylist()
            new = add([bytes.fromhex(identity)[:16] for identity in identities])
            done += sum(new)
        following = next_row(folder)

        def missing(pairs: Sequence[tuple[str, Sequence[int]]]) -> list[bool]:
            identities = (manifest.identity(prompt, seeds) for prompt, seeds in pairs)
            return add([bytes.fromhex(identity)[:16] for identity in identities])

        def write(rows: Sequence[ScanRow]) -> None:
            nonlocal following
            if not rows:
                return
            write_shard(folder, following, _table(manifest, rows))
            following += len(rows)

        yield ScanFolder(done, missing, write)


def read_manifest(folder: Path) -> ScanManifest:
    """Return the manifest of the folder's rows. Errors: MMHError where it holds no scan."""
    try:
        tree = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        columns = tuple((str(name), kind) for name, kind in tree["columns"])
        if tree.pop("format") != FORMAT:
            raise ValueError("another version")
        return ScanManifest(**{**tree, "columns": columns})
    except FileNotFoundError:
        raise MMHError(f"{folder} holds no scan: start one, or name its folder.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MMHError(
            f"The manifest of {folder} is damaged ({error}): restore it from a backup, or scan "
            "into another folder."
        ) from error


def read_rows(
    folder: Path, *, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[list[ScanRow]]:
    """Yield the rows of a scan in batches, in the order they were computed; memory is flat.

    `columns` limits the values read. A scan may go on meanwhile: its rows come in when they are
    written before the end is reached. Errors: MMHError for no scan and for a damaged file.
    """
    manifest = read_manifest(folder)
    names = [name for name, _ in manifest.columns if columns is None or name in columns]
    for batch in shard_batches(folder, ["prompt", "seeds", *names], batch_rows):
        yield [
            ScanRow(row["prompt"], tuple(row["seeds"]), {name: row[name] for name in names})
            for row in batch.to_pylist()
        ]


def count_rows(folder: Path) -> int:
    """Return how many rows the folder holds, by the names of its files."""
    return row_count(folder)


def _table(manifest: ScanManifest, rows: Sequence[ScanRow]) -> Any:
    """Return rows as an Arrow table. Raises ValueError for rows with other columns."""
    import pyarrow as pa

    kinds = {"text": pa.string(), "float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
    names = {name for name, _ in manifest.columns}
    for row in rows:
        if set(row.values) != names:
            raise ValueError(f"A row has {sorted(row.values)}; the manifest {sorted(names)}.")
    fields = [("identity", pa.string()), ("prompt", pa.string()), ("seeds", pa.list_(pa.int64()))]
    fields += [(name, kinds[kind]) for name, kind in manifest.columns]
    columns: dict[str, list[Any]] = {
        "identity": [manifest.identity(row.prompt, row.seeds) for row in rows],
        "prompt": [row.prompt for row in rows],
        "seeds": [list(row.seeds) for row in rows],
    }
    columns |= {name: [_known(row.values[name]) for row in rows] for name, _ in manifest.columns}
    return pa.table(columns, schema=pa.schema(fields))


def _known(value: Value) -> Value:
    return None if isinstance(value, float) and math.isnan(value) else value


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against other writers, in this process or another, for the block."""
    mark = folder / f".writer-{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMHError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another."
        ) from error
    with folder_lock(folder):
        for other in folder.glob(".writer-*"):
            if is_held(other):
                raise MMHError(
                    f"{folder} is being written to by another scan: wait for it, or stop it."
                )
            other.unlink(missing_ok=True)
        release = hold(mark)
    try:
        yield
    finally:
        release()


def _claim(folder: Path, manifest: ScanManifest) -> None:
    """Write the manifest, or refuse a folder with another one; remove what a kill left over."""
    if not (folder / MANIFEST).exists():
        if holds_shards(folder):
            raise MMHError(
                f"{folder} holds results without a manifest: restore it, or scan into another "
                "folder."
            )
        tree = {"format": FORMAT, **asdict(manifest)}
        write_text(folder / MANIFEST, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
    present = read_manifest(folder)
    if _code(present.settings) != _code(manifest.settings):
        raise MMHError(
            f"{folder} holds a scan of {present.model!r} with another version of this app: give "
            "this scan another folder, since their rows do not compare."
        )
    for word, same in (
        ("another model", manifest.model_sha256 == present.model_sha256),
        ("other settings", manifest.settings == present.settings),
        ("other columns", manifest.columns == present.columns),
    ):
        if not same:
            raise MMHError(
                f"{folder} holds a scan of {present.model!r} with {word}: give this scan another "
                "folder, or repeat it as that one was."
            )
    remove_leftovers(folder)


def _code(settings: str) -> object:
    """Return the version of the code that settings (JSON text) name, None for none."""
    try:
        values = json.loads(settings)
    except ValueError:
        return None
    return values.get("code") if isinstance(values, dict) else None
