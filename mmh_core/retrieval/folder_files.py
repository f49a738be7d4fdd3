"""List every file of a folder: the images, and with a reason what else lies there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmh_core.formats.untrusted import error_text
from mmh_core.records import MMHError
from mmh_core.retrieval.image_content import HEAD, content_of
from mmh_core.retrieval.image_names import escaped, printable_path

MAX_FILES = 2_000_000
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not indexed, with the reason.

    `file` is its name below the folder, as `escaped` writes it; `kind` what to call it, such as
    "hidden file"; `reason` a sentence; `lost` whether it is an image of the set, or should be one.
    """

    file: str
    kind: str
    reason: str
    lost: bool = False


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder and of those below it: images by name, and what is left out.

    `images` are pairs of the escaped name, by which they are sorted, and the path. `outside` are
    those of them that lie behind a link out of the folder.
    """

    images: tuple[tuple[str, Path], ...]
    left_out: tuple[SkippedFile, ...]
    outside: tuple[str, ...]


@dataclass
class _Walk:
    """The state of a walk through a folder."""

    root: str
    images: list[tuple[str, Path]] = field(default_factory=list)
    left_out: list[SkippedFile] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    visited: set[tuple[int, int]] = field(default_factory=set)
    #: Whether the folders from now on are behind links: those come last.
    behind_links: bool = False

    def leave(self, name: str, kind: str, reason: str, lost: bool = False) -> None:
        """Note a file that is left out."""
        label = escaped(name)
        self.left_out.append(SkippedFile(label, kind, f"{label} {reason}.", lost))

    @property
    def count(self) -> int:
        return len(self.images) + len(self.left_out) + len(self.links)


def folder_files(folder: Path, *, most: int = MAX_FILES) -> Iterator[FolderFiles | int]:
    """Look at every file in a folder and below it; yield counts on the way and the list at last.

    What is an image is decided by content. Names that start with a dot are hidden files and count
    as such, those in hidden folders too. Links to files and to folders are followed, wherever they
    lead: whoever put them into his folder wants them. But a folder that was walked through already
    or that holds `folder` is left out, which ends loops. Folders and files that cannot be read
    count one each. Errors: MMHError where there is no such folder, it cannot be read, or it holds
    more than `most` files.
    """
    _check_folder(folder)
    walk = _Walk(os.path.realpath(folder))
    folders = [""]
    while folders or walk.links:
        if folders:
            below = folders.pop()
            if _enter(walk, folder, below):
                folders += reversed(_entries(walk, folder, below))
        else:
            walk.links.sort(reverse=True)
            walk.behind_links = True
            folders.append(walk.links.pop())
        if walk.count > most:
            raise MMHError(
                f"{printable_path(folder)} holds more than {most:,} files: index its "
                "subfolders singly."
            )
        yield walk.count
    yield FolderFiles(
        tuple(sorted(walk.images)),
        tuple(sorted(walk.left_out, key=lambda entry: entry.file)),
        tuple(sorted(walk.outside)),
    )


def named(names: list[str]) -> str:
    """Return the first of some names, and how many more there are."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def _check_folder(folder: Path) -> None:
    name = printable_path(folder)
    try:
        mode = os.stat(folder).st_mode
        if not stat.S_ISDIR(mode):
            raise MMHError(f"{name} is a file: name the folder that holds the images.")
        with os.scandir(folder):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise MMHError(f"There is no folder {name}: name one that holds images.") from None
    # Also names with a null character, names too long, and links to themselves.
    except (OSError, ValueError) as error:
        raise MMHError(
            f"{name} cannot be read ({error_text(error)}): let this user read it or choose "
            "another folder."
        ) from error


def _enter(walk: _Walk, folder: Path, below: str) -> bool:
    """Return whether a folder is new, and note it as visited."""
    try:
        status = os.stat(folder / below)
    except OSError as error:
        walk.leave(below, "unreadable folder", f"cannot be read ({error_text(error)})", True)
        return False
    if (status.st_dev, status.st_ino) in walk.visited:
        walk.leave(below, "repeated folder", "is a folder that stands under another name already")
        return False
    if walk.behind_links and Path(walk.root).is_relative_to(os.path.realpath(folder / below)):
        walk.leave(below, "upward link", "is a link to a folder that holds the one indexed")
        return False
    walk.visited.add((status.st_dev, status.st_ino))
    return True


def _entries(walk: _Walk, folder: Path, below: str) -> list[str]:
    """Sort the entries of one folder; return the folders below it that are no links."""
    folders = list[str]()
    try:
        with os.scandir(folder / below) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        walk.leave(below, "unreadable folder", f"cannot be read ({error_text(error)})", True)
        return folders
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if entry.name.startswith("."):
            _hide(walk, entry, name)
        elif entry.is_dir(follow_symlinks=False):
            folders.append(name)
        else:
            _sort_out(walk, entry, name)
    return folders


def _sort_out(walk: _Walk, entry: os.DirEntry[str], name: str) -> None:
    """Note one entry that is no folder: an image, a link, or a file left out."""
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        walk.leave(name, "broken link", "is a link to what is not there: restore it", True)
        return
    except OSError as error:
        walk.leave(
            name, "broken link", f"is a link that leads nowhere ({error_text(error)})", True
        )
        return
    if stat.S_ISDIR(mode):
        walk.links.append(name)
    elif stat.S_ISREG(mode):
        _look(walk, entry, name)
    else:
        walk.leave(name, "special file", "is a pipe, a socket or a device")


def _look(walk: _Walk, entry: os.DirEntry[str], name: str) -> None:
    """Note a file by its first bytes."""
    try:
        with open(entry.path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        reason = f"cannot be read ({error_text(error)}): let this user read it"
        walk.leave(name, "unreadable file", reason, True)
        return
    content = content_of(head, entry.name)
    if not content.format:
        walk.leave(name, content.kind, content.reason, content.image)
        return
    walk.images.append((escaped(name), Path(entry.path)))
    linked = walk.behind_links or entry.is_symlink()
    if linked and not Path(os.path.realpath(entry.path)).is_relative_to(walk.root):
        walk.outside.append(escaped(name))


def _hide(walk: _Walk, entry: os.DirEntry[str], name: str) -> None:
    """Count a hidden file, or those in a hidden folder, unread."""
    reason = "is hidden: its name, or that of a folder above it, starts with a dot"
    if not entry.is_dir(follow_symlinks=False):
        walk.leave(name, "hidden file", reason)
        return
    for hidden, _, files in os.walk(entry.path):
        below = os.path.relpath(hidden, entry.path)
        for file in sorted(files):
            inner = name if below == "." else f"{name}/{Path(below).as_posix()}"
            walk.leave(f"{inner}/{file}", "hidden file", reason)
