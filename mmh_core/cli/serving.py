"""Start the app, and manage who may sign in to it."""

from __future__ import annotations

import getpass
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mmh_core.cli.output import check_writable
from mmh_core.installation import app_folder
from mmh_core.records import MMHError
from mmh_core.store.users import read_users, write_user


def open_app(
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTIONS OF STREAMLIT] [-- OPTIONS OF THE APP]",
            hidden=True,
            help="What is passed on: options of streamlit run, and behind -- those of the app.",
        ),
    ] = None,
) -> None:
    """Open the app in the browser, at http://127.0.0.1:8501 unless set otherwise.

    Options of Streamlit come first (streamlit run --help lists them), such as --server.port 8600
    or --server.headless true.

    Options of the app stand behind `--`: --data FOLDER for what the app keeps (without it the
    folder .mmh: of the project in a checkout, of the present folder where the program was
    installed), --models FOLDER of models to choose from, --index INDEX with --index-images
    FOLDER and --embedder NAME for a training set to search, --endpoint URL of a service that
    rewords prompts, --users FILE of those who may sign in, --server-files FOLDER in which models
    and training images may be named from the browser (everywhere, where this machine alone reaches
    the app; nowhere on a shared server without it). Names of files and folders are those of the
    present folder.
    """
    root = str(app_folder())
    arguments = started_with(options or [], Path.cwd())
    # Streamlit reads the app's settings from the folder that it is started in.
    os.chdir(root)
    sys.path.insert(0, root)  # First, so that `views` is ours.
    sys.argv = ["mmh", "run", "app.py", *arguments]
    runpy.run_module("views.serve", run_name="__main__", alter_sys=True)


def started_with(options: Sequence[str], folder: Path) -> list[str]:
    """Return the options with the folder that relative names in them belong to."""
    return [*options, *([] if "--" in options else ["--"]), "--called-from", str(folder)]


def with_options_kept(words: Sequence[str]) -> list[str]:
    """Return the words of a command line so that `app` gets the rest of its line as it stands.

    The parser would take the `--` that parts Streamlit's options from the app's for its own.
    """
    if not words or words[0] != "app":
        return list(words)
    own = list(words[1 : words.index("--")]) if "--" in words else list(words[1:])
    return list(words) if "--help" in own else ["app", "--", *words[1:]]


def user(
    name: Annotated[str, typer.Argument(help="The name under which judgements are recorded.")],
    users: Annotated[Path, typer.Option(help="The list of users; made if it is missing.")],
) -> None:
    """Let a person into a shared server, or give them a new password.

    The password is asked for twice, or read as one line where no terminal is attached.
    """
    check_writable(users)
    if users.exists():
        read_users(users)
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("The same again: ") != password:
            raise MMHError("The two passwords differ: run the command again.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    write_user(users, name, password)
    typer.echo(f"{name} may sign in where the app is started with `-- --users {users}`.")
