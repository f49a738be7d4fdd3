"""Stand before the whole app, and let in who has signed in.

An ASGI middleware: what it does not let in reaches neither a page nor an upload nor a socket of
Streamlit. A name travels in a signed cookie; pages read it from a header that only this can set.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, MutableMapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from mmh_core.files import write_bytes
from mmh_core.store.users import password_fits, password_record, read_users

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "mmh_session"
#: Names the person to the pages, percent-encoded; what a browser sends under it is dropped.
HEADER = "X-Mmh-User"
#: Seconds for which a person stays signed in.
LIFETIME = 12 * 3600.0
#: Wrong passwords for one name within a minute before it has to wait.
TRIES = 10
_LARGEST_FORM = 4096
_PAGE = (Path(__file__).parent / "sign_in.html").read_text("utf-8")


class Gate:
    """Let in requests and sockets of those who have signed in, and offer a form to all others.

    `users` is the file of `./mmh user`, read again whenever it changes: who is taken out of it or
    gets another password has to sign in again. `key` is the file of the secret that signs cookies,
    made if missing, so that a restart of the server signs nobody out. Only the health check is
    open to all. `base` is the path below which the app is served, and `hosts` are further names
    under which it is asked for, those of a proxy.
    """

    #: Whether one stands in this process; a page that asks for users refuses to be without.
    standing = False

    def __init__(
        self, app: ASGIApp, users: Path, key: Path, base: str = "", hosts: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._health = f"/{base.strip('/')}/_stcore/health".replace("//", "/")
        self._hosts = frozenset(host.lower() for host in hosts)
        self._path = users
        self._read = (0, read_users(users))
        self._key = _secret(key)
        self._tries: dict[str, deque[float]] = {}
        # Tickets that were handed back, until the moment at which they end anyway.
        self._ended: dict[str, float] = {}
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
            self._end(scope)
            await _answer(send, 303, b"", [_cookie("", 0, scope), (b"location", b"./")])
        elif name is not None and scope["type"] == "websocket":
            socket = _Socket(receive, send, lambda: self._name_in(scope) == name)
            await self._app(_named(scope, name), socket.receive, socket.send)
        elif name is not None:
            await self._app(_named(scope, name), receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["method"] == "POST":
            await self._sign_in(scope, receive, send)
        else:
            await _answer(send, 401, _page(""))

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
        cookie = _cookie(self._ticket(name, time.time() + LIFETIME), LIFETIME, scope)
        await _answer(send, 303, b"", [cookie, (b"location", where.encode("latin-1"))])

    def _too_many(self, name: str) -> bool:
        now = time.monotonic()
        for known, times in list(self._tries.items()):
            if not times or now - times[-1] > 60:
                del self._tries[known]
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

    def _ticket(self, name: str, until: float) -> str:
        """Return what the cookie holds: the name, until when, and the seal of both."""
        words = f"{base64.urlsafe_b64encode(name.encode()).decode()}.{int(until)}"
        return f"{words}.{self._seal(words, self._users()[name])}"

    def _seal(self, words: str, record: str) -> str:
        # With the password's record: another password ends what was signed before.
        return hmac.new(self._key, f"{words}.{record}".encode(), hashlib.sha256).hexdigest()

    def _name_in(self, scope: Scope) -> str | None:
        """Return who has signed in, None for nobody."""
        return next((name for name, _ in self._valid(scope)), None)

    def _valid(self, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each ticket that holds."""
        for ticket in _cookies(scope):
            words, _, seal = ticket.rpartition(".")
            coded, _, until = words.partition(".")
            try:
                name = base64.urlsafe_b64decode(coded).decode()
                late = float(until) < time.time()
            except ValueError:
                continue
            record = self._users().get(name)
            if record is None or late or ticket in self._ended:
                continue
            if hmac.compare_digest(self._seal(words, record).encode(), seal.encode()):
                yield name, ticket

    def _end(self, scope: Scope) -> None:
        """Take the tickets of a request back, wherever else they are kept."""
        now = time.time()
        self._ended = {ticket: until for ticket, until in self._ended.items() if until > now}
        self._ended |= {ticket: now + LIFETIME for _, ticket in list(self._valid(scope))}


class _Socket:
    """Keep a socket open for as long as the ticket holds with which it was opened."""

    def __init__(self, receive: Receive, send: Send, holds: Callable[[], bool]) -> None:
        self._receive, self._send, self._holds = receive, send, holds
        self._closed = False

    async def receive(self) -> Message:
        """Return the next message, or the end of the socket."""
        message = await self._receive()
        if message["type"] != "websocket.receive" or self._holds():
            return message
        await self.send({"type": "websocket.close", "code": 1008})
        self._closed = True
        return {"type": "websocket.disconnect", "code": 1008}

    async def send(self, message: Message) -> None:
        """Send a message, unless the socket has ended."""
        if not self._closed:
            await self._send(message)


def _secret(path: Path) -> bytes:
    """Return the secret in a file that only its owner can read, made if it is missing."""
    if path.is_file() and path.stat().st_size == 32:
        return path.read_bytes()
    before = os.umask(0o077)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, os.urandom(32))
    finally:
        os.umask(before)
    return path.read_bytes()


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
    if site:
        return site in ("same-origin", "none")
    origin = _header(scope, b"origin")
    try:
        sent = urlsplit(origin)
        here = urlsplit(f"//{_header(scope, b'host')}")
        if sent.hostname != here.hostname and (sent.hostname or "") in proxies:
            return True
    except ValueError:
        return False
    hosts = {here.netloc, _header(scope, b"x-forwarded-host")} - {""}
    return not origin or sent.netloc in hosts


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


def _page(said: str) -> bytes:
    return _PAGE.replace("{{message}}", escape(said)).encode()


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
