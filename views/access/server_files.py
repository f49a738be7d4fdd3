"""Which files of this machine may be named from the browser: as many as its owner allows.

Where this machine alone reaches the app, whoever sits at it may name any file that the app can
read. A shared server (an address of the network, further hosts as behind a proxy, a list of
users) allows none, unless its owner names a folder by `-- --server-files FOLDER`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from mmh_core.formats.untrusted import error_text, quoted
from mmh_core.records import MMHError
from views.start_options import start_options

_LONGEST = 4_096
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerFiles:
    """The files that may be named: all of them, those below a folder (`below`), or none."""

    allowed: bool
    below: Path | None = None

    def sentence(self) -> str:
        """Return where a path has to lead, or why none may be named."""
        if not self.allowed:
            return (
                "This server is shared, and its owner allows no file of it to be named here: that "
                "takes a start with `-- --server-files FOLDER`."
            )
        return "" if self.below is None else f"It has to lie in {self.below}."


def server_files() -> ServerFiles:
    """Return which files of this machine may be named from the browser."""
    options = start_options()
    if options.server_files is not None:
        return ServerFiles(True, options.server_files.resolve())
    return ServerFiles(options.users is None and _reached_from_here_alone())


def checked_path(text: str, files: ServerFiles | None = None) -> Path:
    """Return the file or folder that a person named, links followed.

    Errors: MMHError where it may not be named or is not there. Of what lies outside the folder
    that is allowed, nobody is told whether it exists.
    """
    files = server_files() if files is None else files
    if not files.allowed:
        raise MMHError(files.sentence())
    name = text.strip()
    if not name:
        raise MMHError("Write the path of a file or folder on this server.")
    try:
        path = _absolute(name, files.below)
        resolved = path.resolve()
        if files.below is not None and not resolved.is_relative_to(files.below):
            raise MMHError(
                f"{quoted(name)} lies outside of {files.below}, the folder allowed here."
            )
        if not resolved.exists():
            raise MMHError(f"There is no {quoted(name)} on this server: check the path.")
        return resolved
    # Names too long, a null character, a loop of links, a folder that cannot be looked into.
    except (OSError, RuntimeError, ValueError) as error:
        raise MMHError(f"{quoted(name)} cannot be used ({error_text(error)}).") from error


def _absolute(name: str, below: Path | None) -> Path:
    """Return a path as it was meant: below the folder allowed, else in full."""
    if len(name) > _LONGEST:
        raise ValueError("it is too long")
    path = Path(name)
    if below is not None:
        return below / path
    path = path.expanduser()
    if not path.is_absolute():
        raise MMHError(f"{quoted(name)} is no whole path: begin it at the root of the disk or ~.")
    return path


def _reached_from_here_alone() -> bool:
    """Return whether the server listens on this machine only, under no further name."""
    address, hosts = st.get_option("server.address"), st.get_option("server.allowedHosts")
    return _loopback(str(address)) and bool(hosts) and set(hosts) <= set(_HERE)


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
