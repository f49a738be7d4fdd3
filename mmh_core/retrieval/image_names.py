"""Names of images below a folder: printable, reversible, and never leading out of the folder."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from mmh_core.records import MMHError

#: Letters of a name in a sentence.
MOST_SHOWN = 120
#: Control characters, and bytes that are no UTF-8 (U+DC80 to U+DCFF); and the escape itself.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")
_TO_ESCAPE = re.compile("[\\x00-\\x1f\\x7f\\\\\\ud800-\\udfff]")
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")


def escaped(name: str) -> str:
    r"""Return a file's name as text that every file, table and terminal can hold.

    A byte that is no UTF-8 and a control character become `\xe9`, a backslash becomes two; all
    other names stay as they are. `unescaped` gives the name back, whatever it was.
    """
    return _TO_ESCAPE.sub(_escape, name)


def printable_path(path: Path) -> str:
    """Return a path in a form that fits into a sentence: on one line, in UTF-8."""
    return _UNPRINTABLE.sub(_escape, str(path))


def named_training_image(number: str, label: str) -> str:
    """Return a training image's id for use in a sentence, with its file where it has one.

    An index may come from anybody: the name comes on one line, and of a long one the end.
    """
    file = _UNPRINTABLE.sub(_escape, label)
    if len(file) > MOST_SHOWN:
        file = f"…{file[1 - MOST_SHOWN :]}"
    return f"{number} ({file})" if file else number


def unescaped(label: str) -> str:
    """Return the name of the file that `escaped` wrote as this label."""
    return _ESCAPED.sub(_character, label)


def path_below(folder: Path, label: str) -> Path:
    """Return the path of an image that an index names, which lies inside `folder`.

    An index may come from anybody, so that neither its names nor links that they pass may lead out
    of the folder. Errors: MMHError for a name that does.
    """
    name = unescaped(label)
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name) if os.name == "nt" else None
    if not parts or ".." in parts or name.startswith("/") or (windows and windows.anchor):
        raise MMHError(
            f"The index names the image {label!r}, which is not a path below a folder: the index "
            "is damaged or not to be trusted; build it again from the images."
        )
    path = folder / name
    try:
        root, real = os.path.realpath(folder), os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise MMHError(
            f"The index names the image {label!r}, which cannot be the name of a file ({error}): "
            "build the index again from the images."
        ) from error
    if not Path(real).is_relative_to(root):
        raise MMHError(
            f"The index names the image {label!r}, and in {printable_path(folder)} that is a link "
            "out of the folder, which is not followed: copy the image itself in, or index the "
            "folder that it lies in."
        )
    return path


def _escape(match: re.Match[str]) -> str:
    letter = match.group()
    if letter == "\\":
        return "\\\\"
    code = ord(letter)
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}"


def _character(match: re.Match[str]) -> str:
    byte, code = match.groups()
    if byte is not None:
        number = int(byte, 16)
        return chr(number if number < 0x80 else 0xDC00 + number)
    return "\\" if code is None else chr(int(code, 16))
