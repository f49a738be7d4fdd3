"""Where this installation lies, and what the program is called on the command line.

A checkout has app.py, pages/, views/ and assets/ beside this package; a wheel carries them inside
it, in `_app`. Nothing else asks where a file of the project lies.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

#: The folder mmh_core itself.
PACKAGE = Path(str(files("mmh_core")))
_INSTALLED = PACKAGE / "_app"


def is_installed() -> bool:
    """Return whether this runs from an installed package, and not from a checkout."""
    return _INSTALLED.is_dir()


def app_folder() -> Path:
    """Return the folder that holds app.py, pages/, views/ and assets/."""
    return _INSTALLED if is_installed() else PACKAGE.parent


def assets() -> Path:
    """Return the folder of the embedded model, its training images and the finished examples."""
    return app_folder() / "assets"


def data_folder(called_from: Path) -> Path:
    """Return where the app keeps what it makes, unless a person names another folder.

    `.mmh` in a checkout; once installed `.mmh` in the folder from which it was called, since what
    is installed is not for writing.
    """
    return (called_from if is_installed() else app_folder()) / ".mmh"


#: What begins every command that a person is told to run.
PROGRAM = "mmh" if is_installed() else "./mmh"
