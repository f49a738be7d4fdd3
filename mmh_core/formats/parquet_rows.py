"""Read columns of text from a Parquet file that may be damaged or made to exhaust the memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmh_core.formats.columns import MAX_COLUMNS, Table, TextColumn
from mmh_core.records import MMHError

#: Bytes of the part of the file that lists columns and row groups, and of what they unpack to.
MAX_FOOTER = 2**24
MAX_GROUP_BYTES = 2**28
MAX_UNPACKED_BYTES = 2**31
#: Bytes of all columns that are read only to be kept beside the prompts.
MAX_KEPT_BYTES = 2**27
#: Dictionaries up to this size are unpacked into rows, so few at a time that they stay small in
#: memory; usual writers make none beyond 1 MiB. Larger ones are kept as they are, for each group.
SMALL_DICTIONARY = 2**20 + 2**17
_BATCH_ROWS = 1_000
_BATCH_BYTES = 2**26
#: Encodings whose values are no longer than the page that holds them. DELTA_BYTE_ARRAY is not
#: among them: there each value may repeat all of the one before in a few bytes.
_ENCODINGS = {
    *("PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"),
    "DELTA_LENGTH_BYTE_ARRAY",
}


def is_parquet(path: Path) -> bool:
    """Return whether a file begins as Parquet files do."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def parquet_table(path: Path, *, most: int) -> Table:
    """Return a Parquet file as a table: numbers, booleans and dates have their text form.

    Bytes that are not UTF-8 become U+DC80 to U+DCFF. Sizes are checked by the file's own list
    before anything is unpacked, and values that a column repeats are unpacked once. Errors:
    MMHError for a file that is damaged, or has too many columns, rows (`most`) or bytes.
    Caveat: a page that is larger than the list says is found out only when it is unpacked.
    """
    _check_footer(path)
    with _damage_in_a_sentence(path):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
            if metadata.num_columns > MAX_COLUMNS:
                raise MMHError(
                    f"{path.name} has more than {MAX_COLUMNS} columns: keep those needed."
                )
            if metadata.num_rows > most:
                raise MMHError(f"{path.name} has more than {most:,} rows: split it.")
            names = tuple(schema.names)
            textless = {
                column: str(field.type)
                for column, field in enumerate(schema)
                if not _has_text(field.type) or names.count(field.name) > 1
            }

    def rows(columns: Sequence[TextColumn]) -> Iterator[tuple[str, ...]]:
        with _damage_in_a_sentence(path):
            yield from _rows(path, names, columns)

    return Table(names, rows, textless, _costly(metadata, names, textless))


@contextmanager
def _damage_in_a_sentence(path: Path) -> Iterator[None]:
    """Turn what Arrow raises on damaged bytes into one MMHError."""
    try:
        yield
    except MMHError:
        raise
    except Exception as error:
        raise MMHError(
            f"{path.name} cannot be read as Parquet ({error}): write it again, or save it as CSV "
            "in UTF-8."
        ) from error


def _check_footer(path: Path) -> None:
    """Refuse a list of columns and row groups that is itself too large to read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        end = file.read(8)
    footer = int.from_bytes(end[:4], "little")
    if size < 12 or end[4:] != b"PAR1" or footer > size:
        raise MMHError(f"{path.name} is cut off or damaged: write it again.")
    if footer > MAX_FOOTER:
        raise MMHError(
            f"{path.name} lists too many columns or row groups ({footer // 2**20} MiB of them): "
            "keep prompt, label, id and tags."
        )


def _rows(
    path: Path, all_names: Sequence[str], columns: Sequence[TextColumn]
) -> Iterator[tuple[str, ...]]:
    from pyarrow.parquet import ParquetFile

    names = list(dict.fromkeys(all_names[column.index] for column in columns if column.index >= 0))
    longest = {all_names[column.index]: column.longest for column in columns if column.index >= 0}
    with ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        _check_sizes(path.name, metadata, names)
        dictionary = _largest_dictionary(path, metadata, names)
        texts = [name for name in names if _is_text(schema.field(name).type)]
    # One long value in a million rows must not become a million long values in memory.
    kept = texts if dictionary > SMALL_DICTIONARY else []
    rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES // max(1, dictionary)))
    rows = _BATCH_ROWS if kept else rows
    with ParquetFile(path, read_dictionary=kept, buffer_size=2**16) as file:
        for batch in file.iter_batches(rows, columns=names, use_threads=False):
            by_name = {name: _texts(batch.column(name), longest[name]) for name in names}
            nothing = [""] * batch.num_rows
            cells = [nothing if p.index < 0 else by_name[all_names[p.index]] for p in columns]
            yield from zip(*cells, strict=True)


def _is_text(arrow_type: Any) -> bool:
    from pyarrow import types

    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    views = (types.is_string_view, types.is_binary_view)
    return any(test(arrow_type) for test in (*tests, *views))


def _has_text(arrow_type: Any) -> bool:
    """Return whether values of a type of Arrow have a text form."""
    from pyarrow import types

    if types.is_dictionary(arrow_type):
        return _has_text(arrow_type.value_type)
    tests = (types.is_null, types.is_boolean, types.is_integer, types.is_floating)
    more = (types.is_decimal, types.is_date, types.is_time, types.is_timestamp)
    return _is_text(arrow_type) or any(
        test(arrow_type) for test in (*tests, *more, types.is_duration)
    )


def _costly(metadata: Any, names: Sequence[str], textless: Mapping[int, str]) -> frozenset[int]:
    """Return the columns that are too large to be read just to be kept, smallest first."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    sizes = dict.fromkeys((name for i, name in enumerate(names) if i not in textless), 0)
    strange = set[str]()
    for group in groups:
        for part in map(group.column, range(group.num_columns)):
            if (name := part.path_in_schema) in sizes:
                sizes[name] += part.total_uncompressed_size
                if _unusual(part):
                    strange.add(name)
    total, costly = 0, set[int]()
    for name in sorted(sizes, key=lambda name: sizes[name]):
        total += sizes[name]
        if total > MAX_KEPT_BYTES or name in strange:
            costly.add(list(names).index(name))
    return frozenset(costly)


def _unusual(part: Any) -> set[str]:
    """Return the encodings of a column that may unpack to far more than its page."""
    fixed = part.physical_type in ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE")
    return set() if fixed else set(part.encodings) - _ENCODINGS


def _check_sizes(source: str, metadata: Any, names: list[str]) -> None:
    """Refuse what would unpack to too much, by the sizes that the file itself states."""
    total = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        parts = [group.column(i) for i in range(group.num_columns)]
        chosen = [part for part in parts if part.path_in_schema in names]
        size = sum(part.total_uncompressed_size for part in chosen)
        total += size
        if size > MAX_GROUP_BYTES or total > MAX_UNPACKED_BYTES:
            raise MMHError(
                f"{source} unpacks to more than {MAX_GROUP_BYTES // 2**20} MiB in one row group "
                f"or {MAX_UNPACKED_BYTES // 2**20} MiB in all: write it in smaller row groups, or "
                "split it."
            )
        for part in chosen:
            if strange := _unusual(part):
                raise MMHError(
                    f"{source} is encoded as {', '.join(sorted(strange))}: write it again with "
                    "the usual encodings (PLAIN or RLE_DICTIONARY)."
                )


def _largest_dictionary(path: Path, metadata: Any, names: list[str]) -> int:
    """Return the bytes of the largest dictionary of the columns, by the pages' own headers.

    Arrow unpacks a page to exactly what its header says. A dictionary that is not where it should
    be counts as very large.
    """
    largest = 0
    with path.open("rb") as file:
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for part in map(group.column, range(group.num_columns)):
                if part.path_in_schema in names and part.num_values:
                    file.seek(part.dictionary_page_offset or part.data_page_offset)
                    page_type, size = _page_header(file.read(12))
                    if page_type != _DICTIONARY_PAGE:
                        hidden = any("DICTIONARY" in name for name in part.encodings)
                        size = MAX_GROUP_BYTES if hidden else 0
                    largest = max(largest, size)
    return largest


_DICTIONARY_PAGE = 2


def _page_header(data: bytes) -> tuple[int, int]:
    """Return kind and unpacked size of a page, the first two fields of its Thrift header.

    Each is a byte 0x15 (next field, 32-bit number) and a zigzag varint; see parquet.thrift and
    Thrift's compact protocol.
    """
    values, at = [], 0
    for _ in range(2):
        if data[at] != 0x15:
            raise ValueError("a page without a header")
        value = shift = 0
        while True:
            at += 1
            value |= (data[at] & 0x7F) << shift
            shift += 7
            if data[at] < 0x80:
                break
        at += 1
        values.append(value >> 1 ^ -(value & 1))
    return values[0], values[1]


def _texts(column: Any, longest: int) -> list[str]:
    """Return the texts of one batch; each distinct value is unpacked once."""
    import pyarrow
    from pyarrow import compute, types

    if types.is_null(column.type):
        return [""] * len(column)
    if types.is_string_view(column.type) or types.is_binary_view(column.type):
        column = column.cast(pyarrow.large_binary())
    if not types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if not _is_text(column.type.value_type):
        held = column.dictionary
        if types.is_temporal(held.type) and not types.is_duration(held.type):
            written = compute.cast(held, pyarrow.string()).to_pylist()
            # Seconds are kept as thousandths.
            written = [_FRACTION.sub("", text or "") for text in written]
        else:
            written = [_text(value) for value in held.to_pylist()]
        return ["" if index is None else written[index] for index in column.indices.to_pylist()]
    used = compute.drop_null(compute.unique(column.indices))
    most = 4 * longest + 4  # Bytes; a character takes at most four.
    texts = {None: ""}
    for index in used.to_pylist():
        value = column.dictionary[index].as_buffer()
        data = b"" if value is None else value.slice(0, min(most, value.size)).to_pybytes()
        texts[index] = data.decode("utf-8", "surrogateescape")[: longest + 1]
    return [texts[index] for index in column.indices.to_pylist()]


_FRACTION = re.compile(r"\.0+(?=[^.]*$)")


def _text(value: Any) -> str:
    """Return a number or a truth as a CSV file of the same table has it."""
    if value is None or value != value:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
