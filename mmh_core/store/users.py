"""The people who may use a shared server: names, and their passwords as salted scrypt digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shlex
from pathlib import Path

from mmh_core.files import write_text
from mmh_core.formats.untrusted import error_text
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError

#: Letters of the shortest password and of the longest name.
SHORTEST, LONGEST_NAME = 10, 60
#: Cost of scrypt (RFC 7914): 16 MiB and some 50 ms for each try.
_N, _R, _P = 2**14, 8, 1
_LARGEST_FILE = 2**20


def read_users(path: Path) -> dict[str, str]:
    """Return name -> password record of a file with lines `name:record`; `#` starts a comment.

    Errors: MMHError for a file that is missing, too large, not text or without any user, and for a
    line that is none of `./mmh user`.
    """
    another = (
        f"name a file that `{PROGRAM} user NAME --users FILE` has made, or one that is not there."
    )
    if path.is_dir():
        raise MMHError(f"{path} is a folder and no list of users: {another}")
    try:
        # A pipe or a device would be waited for, or never end.
        if path.exists() and not path.is_file():
            raise MMHError(f"{path} is no file: {another}")
        if path.stat().st_size > _LARGEST_FILE:
            raise MMHError(f"{path} is too large for a list of users: {another}")
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise MMHError(
            f"There is no list of users {path}: make it with `{PROGRAM} user NAME --users "
            f"{shlex.quote(str(path))}`."
        ) from None
    except (OSError, ValueError) as error:
        raise MMHError(
            f"The list of users {path} cannot be read ({error_text(error)}): {another}"
        ) from None
    users: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, record = line.strip().partition(":")
        if _fault_of_name(name) or not _parts(record):
            raise MMHError(
                f"Line {number} of {path} is no user: where it is a list of users mend or remove "
                f"that line, otherwise {another}"
            )
        users[name] = record
    if not users:
        raise MMHError(f"{path} names no user, so nobody could be let in: {another}")
    return users


def write_user(path: Path, name: str, password: str) -> None:
    """Add a user to a file, or give one a new password; only its owner may read the file.

    Errors: MMHError for a name or a password that cannot be used, and for a damaged file.
    """
    fault = _fault_of_name(name)
    if fault:
        raise MMHError(f"This name {fault}: choose another.")
    if len(password) < SHORTEST:
        raise MMHError(f"A password needs at least {SHORTEST} characters: choose a longer one.")
    users = read_users(path) if path.exists() else {}
    users[name] = password_record(password)
    # Never readable by others, not even for the moment until its mode is set.
    before = os.umask(0o077)
    try:
        write_text(path, "".join(f"{who}:{record}\n" for who, record in sorted(users.items())))
    finally:
        os.umask(before)


def password_record(password: str) -> str:
    """Return the salted digest of a password, as a file keeps it: `scrypt$salt$digest`."""
    salt = os.urandom(16)
    return f"scrypt${_text(salt)}${_text(_digest(password, salt))}"


def password_fits(password: str, record: str) -> bool:
    """Return whether a password is the one of a record, in a time that does not depend on it."""
    parts = _parts(record)
    return parts is not None and hmac.compare_digest(_digest(password, parts[0]), parts[1])


def _digest(password: str, salt: bytes) -> bytes:
    # Hashed first: HMAC, inside scrypt, pads with zeros, so that a zero at the end would be free.
    words = hashlib.sha256(password.encode("utf-8", "replace")).hexdigest().encode()
    return hashlib.scrypt(words, salt=salt, n=_N, r=_R, p=_P)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _parts(record: str) -> tuple[bytes, bytes] | None:
    """Return salt and digest of a record, None for what is none."""
    kind, _, rest = record.partition("$")
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in rest.split("$"))
    except ValueError:
        return None
    return (salt, digest) if kind == "scrypt" and len(salt) == 16 and len(digest) == 64 else None


def _fault_of_name(name: str) -> str:
    """Return what keeps a name from being used, "" where nothing does."""
    if not name or name != name.strip() or not name.isprintable():
        return "is empty, begins or ends with a blank, or holds control characters"
    if ":" in name or name.startswith("#"):
        return "holds a colon or begins with #"
    return f"is longer than {LONGEST_NAME} letters" if len(name) > LONGEST_NAME else ""
