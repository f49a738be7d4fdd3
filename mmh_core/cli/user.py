"""The command that lets a person into a shared server."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmh_core.cli.output import check_places
from mmh_core.records import MMHError
from mmh_core.store.users import read_users, write_user


def user(
    name: Annotated[str, typer.Argument(help="The name under which verdicts are recorded.")],
    users: Annotated[Path, typer.Option(help="The list of users; made if it is missing.")],
) -> None:
    """Let a person into a shared server, or give them a new password.

    The password is asked for twice, or read as one line where no terminal is attached.
    """
    check_places(users)
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
