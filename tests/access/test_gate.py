"""Who has not signed in reaches nothing of the app, and names of others cannot be taken."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from mmh_core.store.users import write_user
from views.access.gate import COOKIE, HEADER, TRIES, Gate, Message, Receive, Scope, Send

NAME, PASSWORD = "Ada <b>Lovelace</b> 李", "correct horse battery"


@dataclass
class Inside:
    """Stand for the app: note every request and socket that reaches it."""

    scopes: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"inside"})

    def names(self) -> list[str]:
        """Return the names that the last request bears."""
        return [
            value.decode() for name, value in self.scopes[-1]["headers"] if name == b"x-mmh-user"
        ]


@dataclass(frozen=True)
class Answer:
    """What came back: the messages in order."""

    messages: list[Message]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> str:
        return b"".join(m.get("body", b"") for m in self.messages).decode()

    def header(self, name: str) -> str:
        return next(v.decode() for n, v in self.messages[0]["headers"] if n == name.encode())


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with two users, made once: a password's digest is slow by design."""
    path = tmp_path_factory.mktemp("people") / "users"
    write_user(path, NAME, PASSWORD)
    write_user(path, "other", "another password")
    return path


@pytest.fixture
def gate(tmp_path: Path, inside: Inside, people: Path) -> Iterator[Gate]:
    shutil.copy(people, tmp_path / "users")
    yield Gate(inside, tmp_path / "users", tmp_path / "data" / "session.key")
    Gate.standing = False


def ask(
    gate: Gate,
    path: str = "/images",
    *,
    kind: str = "http",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    scheme: str = "http",
) -> Answer:
    """Send one request through the gate."""
    messages: list[Message] = []
    scope: dict[str, Any] = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": b"job=1",
        "scheme": scheme,
        "headers": [
            (name.lower().encode(), value.encode()) for name, value in (headers or {}).items()
        ],
    }

    async def receive() -> Message:
        return {"type": f"{kind}.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    asyncio.run(gate(scope, receive, send))
    return Answer(messages)


def sign_in(gate: Gate, name: str = NAME, password: str = PASSWORD, **more: Any) -> Answer:
    form = urlencode({"name": name, "password": password}).encode()
    return ask(gate, method="POST", body=form, **more)


def ticket(gate: Gate) -> str:
    """Sign in and return the cookie as a browser sends it back."""
    return sign_in(gate).header("set-cookie").split(";")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/images",
        "/_stcore/host-config",
        "/_stcore/upload_file/a/b",
        "/_stcore/metrics",
        "/media/a.png",
        "/static/js/main.js",
        "/component/x",
        "/_stcore/health/../upload_file",
        "/x?/_stcore/health",
        "/media/a.png/_stcore/health",
        "/_stcore/health/",
        "/auth/login",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_is_reached_without_a_ticket(
    gate: Gate, inside: Inside, path: str, method: str
) -> None:
    answer = ask(gate, path, method=method, headers={HEADER: "other"})
    assert answer.status == 401
    assert 'name="password"' in answer.body
    assert inside.scopes == []


@pytest.mark.parametrize("path", ["/_stcore/stream", "/app/_stcore/stream", "/_stcore/health"])
def test_no_socket_opens_without_a_ticket(gate: Gate, inside: Inside, path: str) -> None:
    answer = ask(gate, path, kind="websocket", headers={HEADER: "other"})
    assert [m["type"] for m in answer.messages] == ["websocket.close"]
    assert inside.scopes == []


def test_the_health_check_is_open_and_bears_no_name(gate: Gate, inside: Inside) -> None:
    assert ask(gate, "/_stcore/health", headers={HEADER: "other"}).body == "inside"
    assert inside.names() == []


def test_who_signs_in_is_let_in_under_one_name(gate: Gate, inside: Inside) -> None:
    answer = sign_in(gate)
    assert answer.status == 303
    assert answer.header("location") == "./images?job=1"
    cookie = answer.header("set-cookie")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie
    assert PASSWORD not in cookie
    headers = {"Cookie": f"a=b; {cookie.split(';')[0]}", HEADER: "other"}
    for kind in ("http", "websocket"):
        ask(gate, kind=kind, headers=headers)
        assert inside.names() == ["Ada%20%3Cb%3ELovelace%3C%2Fb%3E%20%E6%9D%8E"]


@pytest.mark.parametrize("headers", [{"X-Forwarded-Proto": "https"}, {}])
def test_a_cookie_of_a_secure_page_stays_on_secure_pages(
    gate: Gate, headers: dict[str, str]
) -> None:
    scheme = "http" if headers else "https"
    assert "; Secure" in sign_in(gate, headers=headers, scheme=scheme).header("set-cookie")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (NAME, "wrong password"),
        ("nobody", PASSWORD),
        ("other", PASSWORD),
        (NAME, ""),
        ("", ""),
        (NAME.lower(), PASSWORD),
        (NAME, PASSWORD + "\0"),
    ],
)
def test_a_wrong_pair_is_refused_without_saying_which_is_wrong(
    gate: Gate, inside: Inside, name: str, password: str
) -> None:
    answer = sign_in(gate, name, password)
    assert answer.status in (400, 401)
    assert not any(n == b"set-cookie" for n, _ in answer.messages[0]["headers"])
    assert inside.scopes == []


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"name=a", b"x" * 10_000, b"password=" + b"p" * 5000, b"&&&="]
)
def test_what_is_no_form_is_refused(gate: Gate, inside: Inside, body: bytes) -> None:
    assert ask(gate, method="POST", body=body).status == 400
    assert inside.scopes == []


def test_a_form_of_another_site_is_refused(gate: Gate) -> None:
    headers = {"Origin": "http://evil.example", "Host": "127.0.0.1:8501"}
    assert sign_in(gate, headers=headers).status == 400
    headers["Origin"] = "http://127.0.0.1:8501"
    assert sign_in(gate, headers=headers).status == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # A frame without an origin, and a form of another page: the browser says so.
        ({"Origin": "null"}, 400),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 400),
        ({"Sec-Fetch-Site": "cross-site"}, 400),
        ({"Origin": "http://127.0.0.1:8501", "Sec-Fetch-Site": "same-site"}, 400),
        ({"Origin": "http://127.0.0.1:9"}, 400),
        ({"Origin": "http://[::1"}, 400),
        ({"Origin": "http://evil.example"}, 400),
        ({"Origin": "http://mmh.example.evil"}, 400),
        # A page that sends no referrer, and the name of a proxy that asks under its own.
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "https://mmh.example", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "http://MMH.example"}, 303),
        ({"Origin": "http://127.0.0.1:8501"}, 303),
        ({}, 303),
    ],
)
def test_a_form_is_taken_from_pages_of_this_server_only(
    inside: Inside, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    write_user(tmp_path / "users", NAME, PASSWORD)
    hosts = ("localhost", "127.0.0.1", "mmh.example")
    gate = Gate(inside, tmp_path / "users", tmp_path / "session.key", hosts=hosts)
    Gate.standing = False
    headers = {"Host": "127.0.0.1:8501", **headers}
    assert sign_in(gate, headers=headers).status == status


def test_the_health_check_below_a_path_is_open_there_only(inside: Inside, tmp_path: Path) -> None:
    write_user(tmp_path / "users", NAME, PASSWORD)
    for base in ("a/b", "/a/b/"):
        gate = Gate(inside, tmp_path / "users", tmp_path / "session.key", base=base)
        assert ask(gate, "/a/b/_stcore/health").body == "inside"
        assert ask(gate, "/_stcore/health").status == 401
    Gate.standing = False


def test_a_ticket_cannot_be_changed(gate: Gate, inside: Inside) -> None:
    import base64

    good = ticket(gate).partition("=")[2]
    coded, until, seal = good.split(".")
    other = base64.urlsafe_b64encode(b"other").decode()
    forged = [
        f"{other}.{until}.{seal}",
        f"{coded}.{int(until) + 1}.{seal}",
        f"{coded}.{until}.{seal[:-1]}",
        f"{coded}.{until}.",
        f"{coded}.{until}",
        f"{coded}.nan.{seal}",
        f"{coded}.inf.{seal}",
        "..",
        "",
        "é.1.2",
    ]
    for value in forged:
        assert ask(gate, headers={"Cookie": f"{COOKIE}={value}"}).status == 401, value
    assert inside.scopes == []
    # A browser may send an old one before the good one.
    both = f"{COOKIE}={forged[0]}; {COOKIE}={good}"
    assert ask(gate, headers={"Cookie": both}).status == 200


def test_a_ticket_ends_with_its_time(
    gate: Gate, inside: Inside, people: Path, tmp_path: Path
) -> None:
    cookie, key = ticket(gate), tmp_path / "data" / "session.key"
    for hours, status in ((11.9, 200), (12.1, 401)):
        later = Gate(inside, people, key, clock=lambda hours=hours: time.time() + hours * 3600)
        assert ask(later, headers={"Cookie": cookie}).status == status


def test_a_ticket_outlives_the_server_but_not_the_password(
    gate: Gate, inside: Inside, tmp_path: Path
) -> None:
    cookie = ticket(gate)
    users, key = tmp_path / "users", tmp_path / "data" / "session.key"
    again = Gate(inside, users, key)
    assert ask(again, headers={"Cookie": cookie}).status == 200
    write_user(users, NAME, "a new password")
    os.utime(users, ns=(1, 1))
    assert ask(again, headers={"Cookie": cookie}).status == 401
    assert ask(gate, headers={"Cookie": cookie}).status == 401


def test_a_list_that_is_gone_lets_nobody_in(gate: Gate, tmp_path: Path) -> None:
    cookie = ticket(gate)
    (tmp_path / "users").unlink()
    assert ask(gate, headers={"Cookie": cookie}).status == 401
    assert sign_in(gate).status == 401


def test_a_list_that_is_damaged_keeps_those_who_were_there(gate: Gate, tmp_path: Path) -> None:
    cookie = ticket(gate)
    (tmp_path / "users").write_text("half a li")
    assert ask(gate, headers={"Cookie": cookie}).status == 200


def test_guessing_has_to_wait(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(TRIES):
        assert sign_in(gate, password="wrong password").status == 401
    assert sign_in(gate).status == 429
    assert sign_in(gate, "other", "another password").status == 303
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert sign_in(gate).status == 303


def test_guesses_that_come_together_wait_as_well(gate: Gate) -> None:
    form = urlencode({"name": NAME, "password": "wrong password"}).encode()
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": form, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    async def tries() -> None:
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b""}
        await asyncio.gather(
            *(gate({**scope, "headers": []}, receive, send) for _ in range(3 * TRIES))
        )

    asyncio.run(tries())
    said = [m["status"] for m in messages if m["type"] == "http.response.start"]
    assert said.count(401) == TRIES and said.count(429) == 2 * TRIES


@pytest.mark.parametrize("ending", ["sign out", "new password", "taken out", "too late"])
def test_an_open_socket_ends_with_its_ticket(tmp_path: Path, ending: str) -> None:
    users, passed = tmp_path / "users", [0.0]
    write_user(users, NAME, PASSWORD)
    write_user(users, "other", "another password")
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not heard or heard[-1]["type"] != "websocket.disconnect":
            heard.append(await receive())
            await send({"type": "websocket.send", "text": "answer"})

    gate = Gate(app, users, tmp_path / "session.key", clock=lambda: time.time() + passed[0])
    Gate.standing = False
    cookie, waiting, sent = ticket(gate), [1, 2, 3], []

    async def receive() -> Message:
        if len(waiting) == 1:
            if ending == "sign out":
                out = {"type": "http", "path": "/sign-out", "headers": headers}
                await gate(out, receive, _to_nobody)
            elif ending == "too late":
                passed[0] = 13 * 3600
            else:
                if ending == "new password":
                    write_user(users, NAME, "quite another one")
                else:
                    lines = users.read_text().splitlines(keepends=True)
                    users.write_text("".join(one for one in lines if not one.startswith(NAME)))
                os.utime(users, ns=(1, 1))
        return {"type": "websocket.receive", "text": str(waiting.pop(0))}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    headers = [(b"cookie", cookie.encode())]
    scope = {"type": "websocket", "path": "/_stcore/stream", "headers": headers}
    asyncio.run(gate(scope, receive, send))
    assert [m.get("text") for m in heard] == ["1", "2", None]
    # Closed once, and nothing is sent to a closed socket.
    assert sent == ["websocket.send", "websocket.send", "websocket.close"]


def test_nothing_is_sent_on_once_a_ticket_has_ended(tmp_path: Path) -> None:
    """As while a job runs: the app sends on its own, and the window says nothing."""
    users, sent = tmp_path / "users", []
    write_user(users, NAME, PASSWORD)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "before"})
        out = {"type": "http", "path": "/sign-out", "headers": headers}
        await gate(out, receive, _to_nobody)
        for text in ("after", "long after"):
            await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close"})

    async def send(message: Message) -> None:
        sent.append(message.get("text", message["type"]))

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    gate = Gate(app, users, tmp_path / "session.key")
    Gate.standing = False
    headers = [(b"cookie", ticket(gate).encode())]
    scope = {"type": "websocket", "path": "/_stcore/stream", "headers": headers}
    asyncio.run(gate(scope, receive, send))
    assert sent == ["websocket.accept", "before", "websocket.close"]


@pytest.mark.parametrize(
    ("origin", "host", "opens"),
    [
        ("http://127.0.0.1:8501", "127.0.0.1:8501", True),
        ("http://LOCALHOST:8501", "localhost:8501", True),
        ("http://[::1]:8501", "[::1]:8501", True),
        ("https://mmh.example", "mmh.example:443", True),
        # A proxy that drops the port, and one that asks under its own name.
        ("https://mmh.example:8443", "mmh.example", True),
        ("https://mmh.example:8443", "127.0.0.1:8501", True),
        (None, "127.0.0.1:8501", True),
        # A cookie knows no port, so that all of these would bring it along.
        ("http://127.0.0.1:8502", "127.0.0.1:8501", False),
        ("http://127.0.0.1", "127.0.0.1:8501", False),
        ("https://127.0.0.1", "127.0.0.1:8501", False),
        ("http://[::1]:9", "[::1]:8501", False),
        ("http://127.0.0.1:0", "127.0.0.1:8501", False),
        ("http://127.0.0.1:port", "127.0.0.1:8501", False),
        ("http://127.0.0.1:99999", "127.0.0.1:8501", False),
        ("http://evil.example", "127.0.0.1:8501", False),
        ("http://127.0.0.1.evil.example:8501", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501@evil.example", "127.0.0.1:8501", False),
        ("http://sub.mmh.example", "mmh.example", False),
        ("null", "127.0.0.1:8501", False),
        ("file://", "127.0.0.1:8501", False),
        ("://", "127.0.0.1:8501", False),
        ("http://[::1", "[::1", False),
        ("null", "", False),
    ],
)
def test_a_socket_opens_for_pages_of_this_server_only(
    inside: Inside, tmp_path: Path, origin: str | None, host: str, opens: bool
) -> None:
    write_user(tmp_path / "users", NAME, PASSWORD)
    hosts = ("localhost", "127.0.0.1", "mmh.example")
    gate = Gate(inside, tmp_path / "users", tmp_path / "session.key", hosts=hosts)
    Gate.standing = False
    headers = {
        "Cookie": ticket(gate),
        "Host": host,
        **({} if origin is None else {"Origin": origin}),
    }
    answer = ask(gate, "/_stcore/stream", kind="websocket", headers=headers)
    assert [m["type"] for m in answer.messages] == ([] if opens else ["websocket.close"])
    # Streamlit compares the origin by rules of its own, which know no proxy.
    assert [b"origin" in dict(one["headers"]) for one in inside.scopes] == [False] * opens


async def _to_nobody(message: Message) -> None:
    pass


@pytest.mark.parametrize("written", [b"", b"\xff", b"half a li", b"a nan\n", b"a b c\n"])
def test_a_damaged_list_of_ended_tickets_stops_nothing(
    gate: Gate, inside: Inside, tmp_path: Path, written: bytes
) -> None:
    cookie = ticket(gate)
    key = tmp_path / "data" / "session.key"
    key.with_suffix(".ended").write_bytes(written)
    again = Gate(inside, tmp_path / "users", key)
    assert ask(again, headers={"Cookie": cookie}).status == 200
    assert ask(again, "/sign-out", headers={"Cookie": cookie}).status == 303
    assert ask(again, headers={"Cookie": cookie}).status == 401


def test_signing_out_works_on_a_full_disk(gate: Gate, tmp_path: Path) -> None:
    cookie = ticket(gate)
    (tmp_path / "data" / "session.ended").mkdir()
    assert ask(gate, "/sign-out", headers={"Cookie": cookie}).status == 303
    assert ask(gate, headers={"Cookie": cookie}).status == 401


def test_signing_out_takes_the_ticket_back(gate: Gate, inside: Inside, tmp_path: Path) -> None:
    cookie, kept = ticket(gate), sign_in(gate, "other", "another password")
    answer = ask(gate, "/sign-out", headers={"Cookie": cookie})
    assert answer.status == 303
    # Nor does a copy of it open anything, and nobody else is signed out.
    assert ask(gate, headers={"Cookie": cookie}).status == 401
    assert inside.scopes == []
    users, key = tmp_path / "users", tmp_path / "data" / "session.key"
    again = Gate(inside, users, key)
    assert ask(again, headers={"Cookie": cookie}).status == 401  # Nor after a restart.
    assert key.with_suffix(".ended").stat().st_mode & 0o777 == 0o600
    other = kept.header("set-cookie").split(";")[0]
    assert ask(again, headers={"Cookie": other}).status == 200
    assert ask(gate, headers={"Cookie": other}).status == 200
    inside.scopes.clear()
    assert f"{COOKIE}=; Path=/; Max-Age=0" in answer.header("set-cookie")
    assert inside.scopes == []


def test_the_form_shows_no_markup_of_others(gate: Gate) -> None:
    assert "<b>" not in sign_in(gate, "<b>x</b>", "wrong password").body
