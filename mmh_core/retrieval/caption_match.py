"""Match captions to the images of a folder: by a table, or by the texts that lie beside them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mmh_core.formats.texts import encoding_of
from mmh_core.formats.untrusted import error_text
from mmh_core.records import MMHError
from mmh_core.retrieval.captions import (
    MAX_LENGTH,
    CaptionTable,
    FolderCaptions,
    read_captions,
)
from mmh_core.retrieval.image_names import escaped, unescaped

#: Tables of captions that lie in the folder itself, as data sets have them.
BESIDE = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.json", "metadata.tsv")
#: The endings of a text that lies beside its image, under the image's name.
ENDINGS = (".txt", ".caption")


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
        raise ValueError(f"cannot be read ({error_text(error)}): let this user read it") from error
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
