"""Read the captions of a folder of images, from an unchecked table or from beside them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

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
from mmh_core.formats.texts import encoding_of, half_character
from mmh_core.formats.untrusted import error_text as said_by
from mmh_core.records import MMHError
from mmh_core.retrieval.image_names import escaped, unescaped

MAX_BYTES = 2**28
MAX_ROWS = 2_000_000
MAX_LENGTH = 10_000  # characters of one caption
MAX_NAME = 4_096  # characters of a name, with its folders
SHOWN = 5  # names in a message
#: Tables of captions that lie in the folder itself, as data sets have them.
BESIDE = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.json", "metadata.tsv")
#: The endings of a text that lies beside its image, under the image's name.
ENDINGS = (".txt", ".caption")


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
        verb = "has" if filled == 1 else "have"
        source = f", from {self.source}" if self.source else ""
        noun = "image" if images == 1 else "images"
        text = f"{filled:,} of {images:,} {noun} {verb} a caption{source}."
        for names, singular, many in (
            (self.without_image, "row without an image", "rows without an image"),
            (self.without_caption, "image without a caption", "images without a caption"),
            (self.empty, "image with an empty caption", "images with an empty caption"),
            (self.lost, "captioned image not indexed", "captioned images not indexed"),
            (self.repeated, "row that repeats an image", "rows that repeat an image"),
        ):
            if names:
                text += f" {_counted(names, singular, many)}."
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
                first, two = (table.names[p.column].strip() for p in (columns[1], candidate))
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


def matched(table: CaptionTable, images: Sequence[str], folder: Path) -> FolderCaptions:
    """Return the captions of a table by the images of a folder, as `joined` does.

    Raises MMHError where rows name images, but none of the folder.
    """
    captions = joined(table, images)
    if captions.without_image and not captions.texts:
        raise MMHError(
            f"None of the {table.rows:,} rows of {table.source} names an image in "
            f"{escaped(str(folder))} (the first names {captions.without_image[0][:80]!r}, "
            f"the folder holds {images[0]!r}): names are paths below the folder."
        )
    return captions


def joined(table: CaptionTable, images: Sequence[str]) -> FolderCaptions:
    """Return the captions of a table by the images of a folder, as the index names them.

    Names are compared as they are, then with slashes for backslashes and in one form of Unicode,
    then without case; a name without an ending is one without folders, too. The last two count
    only where they mean one image.
    """
    find = _finder(images)
    texts, missing, repeated = dict[str, str](), list[str](), list(table.repeated)
    for name, text in table.captions.items():
        image = find(name)
        if image is None:
            missing.append(name)
        elif image in texts:
            repeated.append(name)
        else:
            texts[image] = text
    bare = tuple(image for image in images if image not in texts)
    return FolderCaptions(
        table.source,
        texts,
        table.rows,
        tuple(missing),
        bare,
        tuple(repeated),
        table.problems,
    )


def captions_beside(folder: Path, images: Sequence[str]) -> FolderCaptions:
    """Return the captions that a folder holds itself: in metadata.csv and the like, or as texts.

    A text lies beside its image under the same name, ending in .txt or .caption; it counts where
    no table captions the image. A table that cannot be used is named among the problems.
    """
    base, tables = _table_beside(folder, images)
    texts, used, problems = dict(base.texts), set[str](), list(base.problems)
    problems_before = len(problems)
    for image in base.without_caption:
        image_path = folder / unescaped(image)
        candidates = [
            p for e in ENDINGS for p in (image_path.with_suffix(e), Path(f"{image_path}{e}"))
        ]
        beside = next((path for path in candidates if path.is_file()), None)
        if beside is not None:
            name = escaped(beside.relative_to(folder).as_posix())
            try:
                texts[image] = _text_of(beside)
                used.add(name)
            except ValueError as error:
                problems.append(f"{name} {error}.")
    sources = [base.source] if base.source else []
    sources += ["texts beside them"] if used or len(problems) > problems_before else []
    return FolderCaptions(
        " and ".join(sources),
        texts,
        base.rows,
        base.without_image,
        tuple(image for image in images if image not in texts),
        base.repeated,
        tuple(problems),
        frozenset(used | tables),
    )


def _table_beside(folder: Path, images: Sequence[str]) -> tuple[FolderCaptions, set[str]]:
    """Return the captions of the first table beside the images that can be used, and its name.

    Every other one is named among the problems with the reason, those in folders below too.
    """
    base, used = FolderCaptions(without_caption=tuple(images)), set[str]()
    problems = list[str]()
    for name in BESIDE:
        if not (folder / name).is_file():
            continue
        if used:
            problems.append(f"{name} was not used: {base.source} was.")
            continue
        try:
            captions = joined(read_captions(folder / name), images)
        except MMHError as error:
            problems.append(f"{name} was not used: {error}")
            continue
        base, used = captions, {name}
    problems += [
        f"{escaped(str(Path(inner) / name))} was not used: it captions a folder below, so index "
        "that folder by itself."
        for inner in sorted({str(Path(unescaped(image)).parent) for image in images} - {"."})
        for name in BESIDE
        if (folder / inner / name).is_file()
    ]
    return replace(base, problems=(*base.problems, *problems)), used


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


def _finder(images: Sequence[str]) -> Callable[[str], str | None]:
    """Return the lookup from a name in a table to the image that it means, None for none."""
    exact, plain = dict[str, str](), dict[str, str]()
    loose: dict[str, list[str]] = {}
    for image in images:
        name = unescaped(image)
        exact |= {image: image, name: image}
        plain.setdefault(_plain(name), image)
        stem = _stem(name)
        for key in {_plain(name).casefold(), stem, stem.rpartition("/")[2]}:
            loose.setdefault(key, []).append(image)

    def find(name: str) -> str | None:
        if image := exact.get(name, plain.get(_plain(name))):
            return image
        for key in (_plain(name).casefold(), _plain(name)):
            if len(matches := loose.get(key, [])) == 1:
                return matches[0]
        return None

    return find


def _plain(name: str) -> str:
    """Return a name with slashes, without the folder itself, composed as Unicode's form C."""
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    while plain.startswith("./"):
        plain = plain[2:]
    return plain


def _stem(name: str) -> str:
    plain = _plain(name)
    head, dot, ending = plain.rpartition(".")
    return head if dot and head and "/" not in ending else plain


def _text_of(path: Path) -> str:
    """Return the text of a small file in any encoding of Unicode; ValueError says what it is."""
    try:
        with path.open("rb") as file:
            data = file.read(4 * MAX_LENGTH + 5)
    except OSError as error:
        raise ValueError(f"cannot be read ({said_by(error)}): let this user read it") from error
    too_long = f"is longer than {MAX_LENGTH:,} characters: shorten it"
    if len(data) > 4 * MAX_LENGTH + 4:
        raise ValueError(too_long)
    encoding = encoding_of(data[:4])
    try:
        text = data.decode(encoding).strip().removeprefix("\ufeff").strip()
    except UnicodeError as error:
        why = "is not in UTF-8, perhaps in Latin-1 or Windows-1252"
        if not encoding.startswith("utf-8"):
            why = f"looks like {encoding.upper()} and is cut off or damaged"
        raise ValueError(f"{why}: save it in UTF-8") from error
    if len(text) > MAX_LENGTH:
        raise ValueError(too_long)
    if "\x00" in text:
        raise ValueError("holds null characters, so it is no text: restore it or remove it")
    return text


def _counted(names: Sequence[str], singular: str, many: str) -> str:
    examples = ", ".join(repr(name[:80]) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{len(names):,} {singular if len(names) == 1 else many} ({examples}{more})"
