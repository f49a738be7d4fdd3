"""The columns of a table of prompts or captions, recognized by their usual names."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mmh_core.records import MMHError

MAX_COLUMNS = 100
#: Usual names in tiers, without case, spaces and signs: the first tier that a table has counts.
PROMPT = (
    ("prompt", "prompts", "caption", "captions", "text", "texts"),
    ("positiveprompt", "prompttext", "textprompt", "captiontext", "description", "alttext"),
    ("sentence", "title"),
)
LABEL = (
    ("label", "labels"),
    ("memorized", "memorised", "ismemorized", "ismemorised"),
    ("type", "overfittype"),
)
NAME = (("id", "ids"), ("caseid", "promptid", "itemid", "case", "uid", "uuid", "key"))
TAGS = (("tags", "tag"),)
FILE = (
    ("filename", "file", "filenames", "files"),
    ("imagefile", "imagename", "imagepath", "filepath", "image", "img", "imgpath", "path"),
    ("key",),
)
_KNOWN = {name for role in (PROMPT, LABEL, NAME, TAGS, FILE) for tier in role for name in tier}
#: What tools write where a column has no name of its own.
_UNNAMED = re.compile(r"(unnamed(:?\d*)(level\d+)?)?|indexlevel\d+")
_SHOWN = 8  # names of columns in a message
#: Rows and characters by which the column of the longest texts is chosen.
_SAMPLE, _SAMPLED = 50, 1_000
#: What is long without being a prompt: addresses, names of files, digests, numbers and dates.
_NO_PROSE = re.compile(r"\w+://\S+|\S+\.[A-Za-z0-9]{2,4}|[0-9a-fA-F-]{16,}|[\d\s.,:/TZ+-]+")


#: Why a row cannot be read, in half a sentence.
Reason = str
#: The texts of a row by column, or why it cannot be read.
Cells = tuple[str, ...] | Reason


@dataclass(frozen=True)
class TextColumn:
    """A column to read by its `index`, -1 for none: then every text is "".

    Texts longer than `longest` are cut one character beyond that length.

    `plain` columns hold one text; in others a list or an object of JSON is taken as text too.
    """

    index: int
    longest: int
    plain: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose header has been read: the columns' names, and a way to its rows.

    `rows` takes the columns to read and yields for each row their texts ("" for nothing, and for a
    place of -1), or in half a sentence why the row cannot be read. `textless` says of columns that
    have no text form what they hold; `costly` ones are too large to be read without need.
    `first_line` is whether the names are the file's first line, which may be a row already.
    """

    names: tuple[str, ...]
    rows: Callable[[Sequence[TextColumn]], Iterator[Cells]]
    textless: Mapping[int, str] = field(default_factory=dict)
    costly: frozenset[int] = frozenset()
    first_line: bool = False


@dataclass(frozen=True)
class Layout:
    """The columns of a table of prompts by what they hold, as indices; -1 for none.

    `prompts` are all that may hold the prompts, the most usual name first. `kept` are further
    columns, `ignored` the names of those that are not read.
    """

    prompts: tuple[int, ...]
    label: int
    name: int
    tags: int
    kept: tuple[int, ...]
    ignored: tuple[str, ...]


def folded(name: str) -> str:
    """Return a column's name without case, spaces and signs, by which it is recognized."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in plain if letter.isalnum() or letter == ":")


def is_usual(name: str) -> bool:
    """Return whether a column of that name has a known meaning."""
    return folded(name) in _KNOWN


def prompt_layout(table: Table, source: str, column: str = "") -> Layout:
    """Return the layout of a table of prompts; `column` names the one with the prompts.

    Errors: MMHError for too many columns, none with prompts, one that is there twice, and one
    that holds what has no text form.
    """
    names = table.names
    check_count(names, source)
    prompts = places_of(names, PROMPT, source)
    if column:
        prompts = (named_column(names, column, source),)
    if not prompts:
        raise MMHError(_without_prompts(table, source))
    check_texts(table, prompts, source)
    taken = set(prompts)

    def further(role: tuple[tuple[str, ...], ...]) -> int:
        usual = places_of(names, role, source)
        further_columns = [
            column_index
            for column_index in usual
            if column_index not in taken and column_index not in table.textless
        ]
        taken.update(further_columns[:1])
        return further_columns[0] if further_columns else -1

    label, name, tags = further(LABEL), further(NAME), further(TAGS)
    taken_roles, kept, ignored = set[str](), list[int](), list[str]()
    for column_index, own in enumerate(names):
        if column_index in taken:
            continue
        if _UNNAMED.fullmatch(folded(own)):
            ignored.append(own.strip() or "one without a name")
        elif column_index in table.textless or column_index in table.costly or own in taken_roles:
            ignored.append(own.strip())
        else:
            taken_roles.add(own)
            kept.append(column_index)
    return Layout(prompts, label, name, tags, tuple(kept), tuple(ignored))


def places_of(
    names: Sequence[str], role: tuple[tuple[str, ...], ...], source: str
) -> tuple[int, ...]:
    """Return the columns with a usual name of the first tier that is there, most usual first.

    Errors: MMHError for a name that is there twice.
    """
    folded_names = [folded(name) for name in names]
    for tier in role:
        for name in tier:
            if folded_names.count(name) > 1:
                raise MMHError(
                    f"{source} has {folded_names.count(name)} columns {name!r}: keep one."
                )
        if matches := [folded_names.index(name) for name in tier if name in folded_names]:
            return tuple(matches)
    return ()


def named_column(names: Sequence[str], column: str, source: str) -> int:
    """Return the index of the named column. Errors: MMHError where it is not there."""
    for same in (str, str.strip, folded):
        if column and (
            matches := [i for i, name in enumerate(names) if same(name) == same(column)]
        ):
            if len(matches) == 1:
                return matches[0]
            raise MMHError(f"{source} has {len(matches)} columns {column!r}: keep one.")
    raise MMHError(
        f"{source} has no column {column[:40]!r}; it has {listed(names)}: name one of these by "
        "--column."
    )


def check_texts(table: Table, columns: Sequence[int], source: str) -> None:
    """Raise MMHError for a column that holds what has no text form."""
    for column in columns:
        if column in table.textless:
            raise MMHError(
                f"The column {table.names[column][:40]!r} of {source} holds "
                f"{table.textless[column]}: save it as text."
            )


def check_count(names: Sequence[str], source: str) -> None:
    """Raise MMHError for more than `MAX_COLUMNS` columns."""
    if len(names) > MAX_COLUMNS:
        raise MMHError(
            f"{source} has more than {MAX_COLUMNS} columns: keep prompt, label, id and tags."
        )


def listed(names: Sequence[str]) -> str:
    """Return names of columns as a sentence has them."""
    quoted_names = ", ".join(repr(name.strip()[:40]) for name in names[:_SHOWN])
    return f"{quoted_names}, ..." if len(names) > _SHOWN else quoted_names or "nothing"


def by_option(name: str) -> str:
    """Return the option of a command that names a column, quoted for a shell."""
    name = name.strip()
    if re.fullmatch(r"[\w.]+[\w.-]*", name):
        return f"--column {name}"
    return f"--column={shlex.quote(name)}" if name[:1] == "-" else f"--column {_quoted(name)}"


def _quoted(name: str) -> str:
    """Return a name in double quotes, which every shell knows, where nothing in it is special."""
    return shlex.quote(name) if re.search(r'["$`!\\]', name) else f'"{name}"'


def _without_prompts(table: Table, source: str) -> str:
    named = [column for column, name in enumerate(table.names) if name.strip()]
    if not named:
        return (
            f"{source} has no column prompt, for none of its columns has a name: write the names "
            "into its first line, such as prompt."
        )
    readable = [column for column in named if column not in table.textless]
    if not readable:
        return (
            f"{source} has no column prompt, and none of its columns ({listed(table.names)}) "
            "has a text form: save the prompts as text in a column prompt."
        )
    wordy = _wordiest(table, readable)
    bare = ""
    if table.first_line and len(table.names) == 1:
        bare = "; a list without a header is read from a file ending in .txt, one prompt a line"
    elif table.first_line:
        bare = "; where these are a row already, write a line of names above it"
    return (
        f"{source} has no column prompt, caption or text (it has {listed(table.names)}): name the "
        f"column with the prompts, in a command by {by_option(table.names[wordy])}{bare}."
    )


def _wordiest(table: Table, columns: Sequence[int]) -> int:
    """Return the column with the longest texts in the first rows, or in the header alone."""
    cheap = [column for column in columns if column not in table.costly] or list(columns)
    texts = table.rows([TextColumn(column, _SAMPLED) for column in cheap])
    rows = [row for row in islice(texts, _SAMPLE) if not isinstance(row, str)]

    def letters(index: int) -> int:
        cells = [table.names[cheap[index]], *(row[index] for row in rows)]
        return sum(len(cell) for cell in cells if not _NO_PROSE.fullmatch(cell.strip()))

    return cheap[max(range(len(cheap)), key=letters)]
