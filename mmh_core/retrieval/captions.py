"""Read the captions of a folder of images, from an unchecked table or from beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmh_core.counting import agreeing, plural
from mmh_core.formats.columns import (
    FILE,
    PROMPT,
    Table,
    TextColumn,
    by_option,
    check_count,
    check_texts,
    listed,
    named_column,
    places_of,
)
from mmh_core.formats.tables import open_table
from mmh_core.formats.texts import half_character
from mmh_core.records import MMHError
from mmh_core.retrieval.folder_files import SHOWN, named

MAX_BYTES = 2**28
MAX_ROWS = 2_000_000
MAX_LENGTH = 10_000  # characters of one caption
MAX_NAME = 4_096  # characters of a name, with its folders


@dataclass(frozen=True)
class CaptionTable:
    """A table of captions as it was read.

    `captions` are by file as the table names it, in its order. `rows` counts all rows; `repeated`
    are further rows of a file, of which the first counts, and `problems` say in a sentence each
    why a row cannot be used.
    """

    source: str
    captions: dict[str, str]
    rows: int
    repeated: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderCaptions:
    """The captions of a folder's images, and the images and captions without a match.

    `texts` are by image as the index names it. `without_image` are rows whose image is not in the
    folder, by the file that they name, `without_caption` images that nothing captions; `used` are
    the files of the folder that were read. `lost` are images with a caption that are not in the
    index, because they cannot be read. With a table alone,
    `rows == len(texts) + len(lost) + len(without_image) + len(repeated) + len(problems)`.
    """

    source: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    without_image: tuple[str, ...] = ()
    without_caption: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    lost: tuple[str, ...] = ()

    @property
    def empty(self) -> tuple[str, ...]:
        """Return the images whose caption is an empty text."""
        return tuple(image for image, text in self.texts.items() if not text)

    def of_indexed(self, images: Collection[str]) -> FolderCaptions:
        """Return the captions of the images that are in the index; those of others are lost."""
        indexed = frozenset(images)
        return replace(
            self,
            texts={image: text for image, text in self.texts.items() if image in indexed},
            without_caption=tuple(image for image in self.without_caption if image in indexed),
            lost=tuple(image for image in self.texts if image not in indexed),
        )

    def sentence(self) -> str:
        """Return in a line or two where captions came from and what is missing, "" without any."""
        if not self.source and not self.problems:
            return ""
        filled = len(self.texts) - len(self.empty)
        images = len(self.texts) + len(self.without_caption)
        verb = agreeing(filled, "has", "have")
        source = f", from {self.source}" if self.source else ""
        text = f"{filled:,} of {plural(images, 'image')} {verb} a caption{source}."
        for names, singular, many in (
            (self.without_image, "row without an image", "rows without an image"),
            (self.without_caption, "image without a caption", "images without a caption"),
            (self.empty, "image with an empty caption", "images with an empty caption"),
            (self.lost, "captioned image not indexed", "captioned images not indexed"),
            (self.repeated, "row that repeats an image", "rows that repeat an image"),
        ):
            if names:
                counted = plural(len(names), singular, many)
                text += f" {counted} ({named([repr(name[:80]) for name in names])})."
        if self.problems:
            text += f" {len(self.problems):,} not used: {' '.join(self.problems[:SHOWN])}"
        return text

    def record(self) -> dict[str, object]:
        """Return the same for a summary in JSON, every name in it."""
        return {
            "source": self.source,
            "rows": self.rows,
            "captioned": len(self.texts) - len(self.empty),
            "captions_empty": list(self.empty),
            "captions_of_images_not_indexed": list(self.lost),
            "rows_without_image": list(self.without_image),
            "images_without_caption": list(self.without_caption) if self.source else [],
            "rows_repeated": list(self.repeated),
            "not_used": list(self.problems),
        }


def read_captions(
    path: Path, column: str = "", *, most: int = MAX_ROWS, largest: int = MAX_BYTES
) -> CaptionTable:
    """Return a table of captions, in any form that `open_table` reads.

    The file is in a column such as file_name, file or image, as a path below the folder of images;
    the caption in one such as text, caption or prompt, or in `column`. An empty cell is an empty
    caption. Raises MMHError for a table that is missing, damaged, larger than `largest`
    bytes or `most` rows, lacks a column, or of which two may be the caption and differ.
    """
    table = open_table(path, most=most, largest=largest)
    columns = _places(table, path.name, column)
    captions, repeated, problems = dict[str, str](), list[str](), list[str]()
    row = held = 0
    for row, cells in enumerate(table.rows(columns), start=1):
        wrong = cells if isinstance(cells, str) else _wrong(cells)
        if wrong is not None or isinstance(cells, str):
            problems.append(f"Row {row:,} of {path.name} was left out because {wrong}.")
            continue
        name, text, *others = (cell.strip() for cell in cells)
        held += len(name) + len(text)
        if held > largest:
            raise MMHError(
                f"{path.name} unpacks to more than {largest // 2**20} MiB: split it and the "
                "folder."
            )
        for candidate, other in zip(columns[2:], others, strict=True):
            if other and other != text:
                first, two = (table.names[p.index].strip() for p in (columns[1], candidate))
                raise MMHError(
                    f"{path.name} has the columns {first!r} and {two!r}, which differ in row "
                    f"{row:,}: say which holds the captions by {by_option(first)} or "
                    f"{by_option(two)}."
                )
        if name in captions:
            repeated.append(name)
        else:
            captions[name] = text
    return CaptionTable(path.name, captions, row, tuple(repeated), tuple(problems))


def _places(table: Table, source: str, column: str) -> list[TextColumn]:
    """Return the columns of file and caption, and further ones that may be the caption."""
    names = table.names
    check_count(names, source)
    files = places_of(names, FILE, source)
    captions = places_of(names, PROMPT, source)
    if column:
        captions = (named_column(names, column, source),)
    for columns, usual in ((files, "file_name, file or image"), (captions, "text or caption")):
        if not columns:
            raise MMHError(
                f"{source} has no column {usual} (it has {listed(names)}): give it "
                "the two columns file_name and text."
            )
    check_texts(table, (files[0], *captions), source)
    return [
        TextColumn(files[0], MAX_NAME, plain=True),
        *(TextColumn(column, MAX_LENGTH, plain=True) for column in captions),
    ]


def _wrong(cells: tuple[str, ...]) -> str | None:
    name, text = cells[:2]
    if not name.strip():
        return "it names no file: complete it"
    if len(name) > MAX_NAME:
        return f"its file is longer than {MAX_NAME:,} characters"
    if len(text) > MAX_LENGTH:
        return f"its caption is longer than {MAX_LENGTH:,} characters: shorten it"
    half = half_character(text)
    return f"its caption {half}" if half else None
