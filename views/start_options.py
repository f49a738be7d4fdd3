"""What the app was started with: the options after `--` of `./mmh app -- OPTIONS`."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmh_core.installation import data_folder
from mmh_core.records import MMHError

# Set by `mmh app`.
_CALLED_FROM = "--called-from"


@dataclass(frozen=True)
class StartOptions:
    """The options of the app: folders and files as absolute paths, None for what is not named.

    `data` is where the app keeps what it makes, `models` a folder of models to choose from,
    `index` and `index_images` a training set to search with its `embedder`, `endpoint` the
    address of a service that rewords prompts, `users` the list of those who may sign in, and
    `server_files` a folder in which files of this machine may be named from the browser.
    """

    data: Path
    models: Path | None
    index: Path | None
    index_images: Path | None
    embedder: str
    endpoint: str | None
    users: Path | None
    server_files: Path | None = None


def start_options(arguments: Sequence[str] | None = None) -> StartOptions:
    """Return the options among these arguments, by default this process's; others are ignored."""
    given = _parser().parse_known_args(sys.argv[1:] if arguments is None else arguments)[0]

    def place(named: str | None) -> Path | None:
        # `mmh app` changes into the app's folder: names are those of where it was called.
        return None if named is None else Path(given.called_from, Path(named).expanduser())

    return StartOptions(
        data=place(given.data) or data_folder(given.called_from),
        models=place(given.models),
        index=place(given.index),
        index_images=place(given.index_images),
        embedder=given.embedder,
        endpoint=given.endpoint or None,
        users=place(given.users),
        server_files=place(given.server_files),
    )


def checked(arguments: Sequence[str]) -> StartOptions:
    """Return the options among arguments that hold nothing else.

    Errors: MMHError for an option that does not exist or lacks its value, for a folder or file
    that is not there, and for a data folder that cannot be written to.
    """
    options_known = [option for action in _parser()._actions for option in action.option_strings]
    left = list(arguments)
    while left:
        option, _, value = left.pop(0).partition("=")
        if option not in options_known:
            near = difflib.get_close_matches(option, options_known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            named = ", ".join(flag for flag in options_known if flag != _CALLED_FROM)
            raise MMHError(
                f"The app has no option {option[:80]!r} after `--`.{meant} There are "
                f"{named}; options of Streamlit stand before `--`."
            )
        if not value and (not left or left.pop(0).startswith("--")):
            raise MMHError(f"{option} needs a value after it.")
    options = start_options(arguments)
    named_folders = {
        "--models": options.models,
        "--index": options.index,
        "--server-files": options.server_files,
    }
    for name, folder in named_folders.items():
        if folder is not None and not folder.is_dir():
            raise MMHError(f"{name}: there is no folder {folder}. Check its name.")
    if options.index_images is not None and not options.index_images.is_dir():
        raise MMHError(
            f"--index-images: there is no folder {options.index_images}. Check its name."
        )
    if (options.index is None) != (options.index_images is None):
        raise MMHError("--index and --index-images belong together: name both, or neither.")
    _check_kept(options.data)
    return options


def _check_kept(data: Path) -> None:
    """Raise MMHError where the folder of what the app keeps can be neither made nor written to."""
    there = next(folder for folder in (data, *data.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise MMHError(
            f"The app keeps what it makes in {data}, which cannot be written to: start it in a "
            "folder of your own, or name one by `-- --data FOLDER`."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    names = ("--data", "--models", "--index", "--index-images", "--endpoint", "--users")
    for name in (*names, "--server-files"):
        parser.add_argument(name, default=None)
    parser.add_argument("--embedder", default="pixels")
    parser.add_argument(_CALLED_FROM, type=Path, default=Path.cwd())
    return parser
