"""The command that builds the documentation as a site and shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mmh_core.installation import PROGRAM, app_folder
from mmh_core.records import MMHError

#: Where the site is shown: to this machine alone.
HOST = "127.0.0.1"


def docs(
    build: Annotated[
        bool, typer.Option("--build", help="Only build the site, into .mmh/site of the project.")
    ] = False,
    port: Annotated[int, typer.Option(help="Show it at this port of 127.0.0.1.")] = 8502,
) -> None:
    """Build the documentation and show it in the browser, offline, at http://127.0.0.1:8502.

    The pages follow what is written while they are shown. Needs a checkout.
    """
    configuration = app_folder() / "mkdocs.yml"
    if not configuration.is_file():
        raise MMHError(
            "The documentation is in the project's folder and not in the installed package: "
            "run the command docs of a checkout."
        )
    if find_spec("mkdocs") is None:
        raise MMHError(
            f"mkdocs-material is not installed here: run `{PROGRAM} docs` in the project's "
            "folder, which installs it."
        )
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "mkdocs", *_options(configuration, build, port)],
        # Its theme says at every start which other program its makers recommend.
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    raise SystemExit(ended.returncode)


def _options(configuration: Path, build: bool, port: int) -> list[str]:
    if build:
        return ["build", "--config-file", str(configuration)]
    address = f"{HOST}:{port}"
    return ["serve", "--config-file", str(configuration), "--dev-addr", address]
