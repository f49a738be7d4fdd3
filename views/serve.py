"""Start the app's server and load its heavy libraries beside it, before a browser asks for them.

Run as `python -m views.serve run app.py [options of streamlit] [-- options of the app]`, which is
`streamlit run app.py` but for this: torch loads on a thread, since it takes about as long as a
browser takes to start; what cannot work is said before anything starts; with `-- --users FILE` the
app stands behind a gate; and who binds it to the network is told who may then reach it.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import runpy
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mmh_core.installation import PROGRAM, app_folder
from mmh_core.records import MMHError
from mmh_core.store.users import read_users
from mmh_core.text_to_image.model_folder import holds_models
from views.access.addresses import ask_nobody
from views.importing import load
from views.start_options import checked

#: What the first page needs. Libraries only: the app's own modules are imported by its pages.
LIBRARIES = ("pandas", "plotly.graph_objects", "torch", "safetensors.torch")
GUARDED = app_folder() / "views" / "access" / "guarded_app.py"
#: Addresses that mean all of this machine's, and those that a browser here finds at 127.0.0.1.
_WILD = ("0.0.0.0", "::", "")
_ANY = ("127.0.0.1", "localhost", *_WILD)
_PATIENCE = 60.0
_LAST_PORT = 65_535


def load_beside(
    made: Callable[[], bool] | None = None,
    imported: Callable[..., object] = load,
    patience: float = _PATIENCE,
) -> threading.Thread:
    """Start the thread that has `LIBRARIES` imported once Streamlit's server is made.

    It gives up after so many seconds. Not a daemon: the interpreter must not end in the middle of
    an import of torch.
    """
    thread = threading.Thread(
        target=_load, args=(made or _server_made, imported, patience), name="load libraries"
    )
    thread.start()
    return thread


def _load(made: Callable[[], bool], imported: Callable[..., object], patience: float) -> None:
    given_up = time.monotonic() + patience
    # Two threads in one library's imports would wait for one another.
    while not made():
        if time.monotonic() > given_up or not threading.main_thread().is_alive():
            return
        time.sleep(0.02)
    imported(*LIBRARIES)


def _server_made() -> bool:
    runtime = sys.modules.get("streamlit.runtime")
    exists = getattr(runtime, "exists", None)
    return exists is not None and bool(exists())


def prepared(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments for Streamlit, and sentences for the terminal.

    Errors: MMHError for options that cannot work: unknown ones, an address or a port at which
    nothing can listen, a list of users that cannot be read.
    """
    middle = arguments.index("--") if "--" in arguments else len(arguments)
    ours, second_part = arguments[:middle], arguments[middle + 1 :]
    options, sentences = checked(second_part), []
    address = _value(ours, "server.address") or "127.0.0.1"
    port = _value(ours, "server.port")
    with suppress(ValueError):  # What is no number Streamlit refuses itself.
        _check_listening(address, 0 if port is None else int(port))
    if options.users is not None:
        read_users(options.users)
        ours = [str(GUARDED) if part == "app.py" else part for part in ours]
    if options.models is not None and not holds_models(options.models):
        sentences.append(
            f"No model was found in {options.models}: --models takes a folder with folders in "
            "diffusers' form or safetensors files."
        )
    # Where it is not set, Streamlit asks a server on the internet for this machine's address.
    if _value(ours, "browser.serverAddress") is None and address not in _ANY:
        ours += ["--browser.serverAddress", f"[{address}]" if ":" in address else address]
    if not _loopback(address):
        if _value(ours, "server.allowedHosts") is None:
            for name in reachable_names(address):
                ours += ["--server.allowedHosts", name]
        sentences.append(_reached(address, guarded=options.users is not None))
    return [*ours, *(["--", *second_part] if second_part else [])], sentences


def reachable_names(address: str) -> list[str]:
    """Return the names and numbers under which this machine can be asked for, its own first.

    A page elsewhere that points a host name of its own at this machine is none of them.
    """
    names = ["localhost", "127.0.0.1", "::1"]
    wild = address in _WILD
    names += _own_addresses() if wild else [address]
    with suppress(OSError):
        names += [socket.gethostname(), socket.getfqdn()]
    return list(dict.fromkeys(name for name in names if name))


def _own_addresses() -> list[str]:
    """Return the numeric addresses of this machine, as far as it tells them."""
    addresses: list[str] = []
    with suppress(OSError):
        addresses += [str(row[4][0]) for row in socket.getaddrinfo(socket.gethostname(), None)]
    # The address that a packet to the outside would bear; a datagram socket sends none by this.
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            addresses.append(str(probe.getsockname()[0]))
    with suppress(OSError):  # Linux lists those of all its interfaces.
        table = Path("/proc/net/fib_trie").read_text()
        addresses += re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", table)
    return [name.partition("%")[0] for name in addresses]


def _reached(address: str, *, guarded: bool) -> str:
    if address in _WILD:
        addresses = [name for name in _own_addresses() if not _loopback(name)]
        address += f" ({', '.join(dict.fromkeys(addresses))})" if addresses else ""
    if guarded:
        return (
            f"mmh: listening on {address}. Who reaches this machine over the network finds a "
            "sign-in page and nothing else."
        )
    return (
        f"mmh: listening on {address}. Anybody who reaches this machine over the network can open "
        "the app, see its prompts and images, and judge: name who may with `-- --users FILE` "
        f"(made by `{PROGRAM} user NAME --users FILE`), or keep it to this machine and reach it "
        "by `ssh -L 8501:127.0.0.1:8501 HOST`."
    )


def _value(arguments: list[str], name: str) -> str | None:
    """Return the value of an option of Streamlit on the command line, None where it is absent."""
    for position, part in enumerate(arguments):
        option, equals, value = part.partition("=")
        if option == f"--{name}":
            return value if equals else next(iter(arguments[position + 1 :]), None)
    return None


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _check_listening(address: str, port: int) -> None:
    """Raise MMHError where nothing can listen at an address and a port, 0 for any of them."""
    if not 0 <= port <= _LAST_PORT:
        raise MMHError(f"Port {port} is none: choose one from 1 to {_LAST_PORT}.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    absent = (
        f"This machine has no address {address!r}: name one of its own with --server.address, "
        "127.0.0.1 to keep the app to it or 0.0.0.0 for all of them."
    )
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except (socket.gaierror, UnicodeError) as error:
        raise MMHError(absent) from error
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, 10049):
            raise MMHError(absent) from error
        if error.errno in (errno.EADDRINUSE, 10048):
            raise MMHError(
                f"Port {port} is in use: choose another with --server.port, or stop what listens "
                "there."
            ) from error
        if error.errno in (errno.EACCES, 10013):
            raise MMHError(
                f"This user may not listen at port {port}: choose one from 1024 on with "
                "--server.port."
            ) from error


def main() -> None:
    """Start the server, or say in one sentence why not."""
    try:
        sys.argv[1:], sentences = prepared(sys.argv[1:])
    except MMHError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2)
    for sentence in sentences:
        sys.stderr.write(f"{sentence}\n")
    ask_nobody()
    load_beside()
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
