"""Stand before the whole app, and let in who has signed in.

An ASGI middleware: what it does not let in reaches neither a page nor an upload nor a socket of
Streamlit. A name travels in a signed cookie; pages read it from a header that only this can set.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from mmh_core.store.users import password_fits, password_record, read_users
from views.access.tickets import LIFETIME, Tickets

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "mmh_session"
#: Names the person to the pages, percent-encoded; what a browser sends under it is dropped.
HEADER = "X-Mmh-User"
#: Wrong passwords for one name within a minute before it has to wait.
TRIES = 10
_LARGEST_FORM = 4096
_PAGE = (Path(__file__).parent / "sign_in.html").read_text("utf-8")


class Gate:
    """The gate before the app: those who have signed in pass, all others get the sign-in form.

    `users` is the file of `./mmh user`, read again whenever it changes: who is taken out of it or
    gets another password has to sign in again. `key` is the file of the secret that seals
    tickets. Only the health check is open to all. `base` is the path below which the app is
    served, and `hosts` are further names under which it is asked for, those of a proxy. Tickets
    end by `clock`.
    """

    #: Whether one stands in this process; a page that asks for users refuses to be without.
    standing = False

    def __init__(
        self,
        app: ASGIApp,
        users: Path,
        key: Path,
        base: str = "",
        hosts: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._health = f"/{base.strip('/')}/_stcore/health".replace("//", "/")
        self._hosts = frozenset(host.lower() for host in hosts)
        self._path = users
        self._read = (0, read_users(users))
        self._tickets = Tickets(key, self._users, clock)
        self._tries: dict[str, deque[float]] = {}
        # Each check of a password takes 16 MiB: a few at a time.
        self._checking = asyncio.Semaphore(4)
        # So that a name that does not exist takes as long as one that does.
        self._nobody = password_record(base64.b64encode(os.urandom(12)).decode())
        Gate.standing = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        name = self._name_in(scope)
        if scope["type"] == "http" and path == self._health:
            await self._app(_named(scope, None), receive, send)
        elif scope["type"] == "http" and path.endswith("/sign-out"):
            self._tickets.end(_cookies(scope))
            await _answer(send, 303, b"", [_cookie("", 0, scope), (b"location", b"./")])
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send, name)
        elif name is not None:
            await self._app(_named(scope, name), receive, send)
        elif scope["method"] == "POST":
            await self._sign_in(scope, receive, send)
        else:
            await _answer(send, 401, _page(""))

    async def _socket(self, scope: Scope, receive: Receive, send: Send, name: str | None) -> None:
        """Open a socket for a person's own page, for as long as the ticket holds."""
        # A cookie knows no port: a page at another one of this host would bring it along.
        if name is None or not _sent_from_here(scope, self._hosts):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        inner = _named(scope, name)
        # Streamlit would compare it by rules of its own, which know no proxy.
        inner["headers"] = [(n, v) for n, v in inner["headers"] if n != b"origin"]
        socket = _Socket(receive, send, lambda: self._name_in(scope) == name)
        await self._app(inner, socket.receive, socket.send)

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check name and password of a form; its page is asked for again once they fit."""
        form = await _form(receive)
        if form is None or not _same_origin(scope, self._hosts):
            await _answer(send, 400, _page("This form was not sent from this page: try again."))
            return
        name, password = form
        if self._too_many(name):
            await _answer(send, 429, _page("Too many tries for this name: wait a minute."))
            return
        # Counted before it is checked, or tries that come together would all be free.
        self._tries.setdefault(name, deque(maxlen=TRIES)).append(time.monotonic())
        record = self._users().get(name)
        async with self._checking:
            fits = await asyncio.to_thread(password_fits, password, record or self._nobody)
        if record is None or not fits:
            await _answer(send, 401, _page("Name or password is wrong: try again."))
            return
        self._tries.pop(name, None)
        # Relative, so that it holds behind a proxy that puts the app below a path of its own.
        page = "./" + quote(str(scope["path"]).rpartition("/")[2])
        query = bytes(scope["query_string"]).decode("latin-1")
        where = page + (f"?{query}" if query else "")
        cookie = _cookie(self._tickets.issue(name), LIFETIME, scope)
        await _answer(send, 303, b"", [cookie, (b"location", where.encode("latin-1"))])

    def _too_many(self, name: str) -> bool:
        now = time.monotonic()
        for attempts_key, times in list(self._tries.items()):
            if not times or now - times[-1] > 60:
                del self._tries[attempts_key]
        times = self._tries.get(name, deque())
        return len(times) == TRIES and now - times[0] < 60

    def _users(self) -> dict[str, str]:
        """Return the users as the file names them now; as before while it cannot be read."""
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._read[0]:
                self._read = (stamp, read_users(self._path))
        except Exception:
            return {} if not self._path.exists() else self._read[1]
        return self._read[1]

    def _name_in(self, scope: Scope) -> str | None:
        """Return who has signed in, None for nobody."""
        return next((name for name, _ in self._tickets.holders(_cookies(scope))), None)


class _Socket:
    """A socket that stays open for as long as the ticket with which it was opened holds."""

    def __init__(self, receive: Receive, send: Send, holds: Callable[[], bool]) -> None:
        self._receive, self._send, self._holds = receive, send, holds
        self._closed = False

    async def receive(self) -> Message:
        """Return the next message, or the end of the socket."""
        message = await self._receive()
        if message["type"] == "websocket.receive" and not await self._open():
            return {"type": "websocket.disconnect", "code": 1008}
        return message

    async def send(self, message: Message) -> None:
        """Send a message, unless the socket has ended."""
        if message["type"] == "websocket.send":
            await self._open()
        if not self._closed:
            self._closed = message["type"] == "websocket.close"
            await self._send(message)

    async def _open(self) -> bool:
        """Return whether the socket is open still; it is closed once the ticket has ended."""
        if not self._closed and not self._holds():
            self._closed = True
            await self._send({"type": "websocket.close", "code": 1008})
        return not self._closed


def _headers(scope: Scope) -> Iterable[tuple[bytes, bytes]]:
    return [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]


def _header(scope: Scope, name: bytes) -> str:
    return next((v.decode("latin-1") for n, v in _headers(scope) if n == name), "")


def _cookies(scope: Scope) -> Iterable[str]:
    """Yield the values of our cookie; a browser may send several of one name."""
    for part in _header(scope, b"cookie").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            yield value


def _named(scope: Scope, name: str | None) -> Scope:
    """Return the scope with the name in its header, and no other name there."""
    headers = [(n, v) for n, v in _headers(scope) if n != HEADER.lower().encode()]
    if name is not None:
        headers.append((HEADER.lower().encode(), quote(name, safe="").encode()))
    return {**scope, "headers": headers}


def _same_origin(scope: Scope, proxies: Collection[str]) -> bool:
    """Return whether a form was sent from a page of this server, as far as the browser says."""
    # By the Fetch standard no page can write this header, and secure pages always have it.
    site = _header(scope, b"sec-fetch-site")
    return site in ("same-origin", "none") if site else _sent_from_here(scope, proxies)


def _sent_from_here(scope: Scope, proxies: Collection[str]) -> bool:
    """Return whether the origin of a request is this server, or a proxy of those names.

    What is no browser names none and is let pass: it could write any.
    """
    origin = _header(scope, b"origin")
    if not origin:
        return True
    named = _header(scope, b"host"), _header(scope, b"x-forwarded-host").split(",")[0].strip()
    try:
        sent = urlsplit(origin)
        port = sent.port or (443 if sent.scheme == "https" else 80)
        places = [(here.hostname, here.port) for here in (urlsplit(f"//{name}") for name in named)]
    except ValueError:
        return False
    if not sent.hostname:
        return False
    if sent.hostname != places[0][0] and sent.hostname in proxies:
        return True
    # Many proxies drop the port of the name that they pass on.
    return any(host == sent.hostname and there in (None, port) for host, there in places)


async def _form(receive: Receive) -> tuple[str, str] | None:
    """Return name and password of a form, None for what is none or too long."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = bool(message.get("more_body")) and message["type"] == "http.request"
        if len(body) > _LARGEST_FORM:
            return None
    try:
        fields = parse_qs(body.decode("utf-8"), strict_parsing=True, max_num_fields=4)
        return fields["name"][0].strip(), fields["password"][0]
    except (ValueError, KeyError):
        return None


def _cookie(value: str, lifetime: float, scope: Scope) -> tuple[bytes, bytes]:
    secure = scope.get("scheme") in ("https", "wss") or (
        _header(scope, b"x-forwarded-proto").split(",")[0].strip() == "https"
    )
    text = f"{COOKIE}={value}; Path=/; Max-Age={int(lifetime)}; HttpOnly; SameSite=Lax"
    return b"set-cookie", (text + ("; Secure" if secure else "")).encode("latin-1")


def _page(sentence: str) -> bytes:
    return _PAGE.replace("{{message}}", escape(sentence)).encode()


async def _answer(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    always = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
        (b"x-frame-options", b"DENY"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*always, *headers]})
    await send({"type": "http.response.body", "body": body})
