"""A language model elsewhere, played by a server on this machine."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from mmh_core.mitigations.interface import MitigationContext, RequestScore, result_of, without_work
from mmh_core.mitigations.rewording_service import Endpoint, request_rewording
from mmh_core.mitigations.rewrite import TokenRewrite
from mmh_core.records import MMHError
from tests.mitigations.conftest import ModelOf, request_for


class Service:
    """Answer every request with `body` and remember what was asked."""

    def __init__(self) -> None:
        self.body = json.dumps({"choices": [{"message": {"content": ' "a\ncat" '}}]})
        self.status, self.delay, self.pieces, self.elsewhere = 200, 0.0, 1, ""
        self.reason: str | None = None
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                service.asked.append((self.path, dict(self.headers), body))
                time.sleep(service.delay)
                self.send_response(service.status, service.reason)
                if service.elsewhere:
                    self.send_header("Location", service.elsewhere)
                self.end_headers()
                try:
                    for _ in range(service.pieces):
                        self.wfile.write(service.body.encode())
                        if service.pieces > 1:
                            time.sleep(0.05)
                except OSError:
                    pass  # The client has gone.

            def do_GET(self) -> None:
                service.asked.append((self.path, dict(self.headers), None))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def service() -> Iterator[Service]:
    playing = Service()
    thread = threading.Thread(target=playing.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield playing
    playing.server.shutdown()
    thread.join()
    playing.server.server_close()


def at(service: Service, folder: Path, **changes: Any) -> Endpoint:
    fields: dict[str, Any] = {"consent": True, "timeout": 5.0, "key": "secret", **changes}
    return Endpoint(service.url, "small", folder, **fields)


def test_nothing_is_sent_without_consent(service: Service, tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="give your consent"):
        request_rewording(at(service, tmp_path, consent=False), "the cat", ["cat"], 0)
    assert Endpoint(service.url, "small", tmp_path).consent is False
    assert service.asked == []


def test_prompt_and_words_are_sent_and_the_answer_is_read(
    service: Service, tmp_path: Path
) -> None:
    assert request_rewording(at(service, tmp_path), "the cat", ["cat", "the"], 0) == "a cat"
    ((path, headers, body),) = service.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "small"
    assert body["messages"][-1]["content"] == "Prompt: the cat\nWords: cat, the"


def test_equal_questions_are_answered_from_the_disk(service: Service, tmp_path: Path) -> None:
    endpoint = at(service, tmp_path)
    first = request_rewording(endpoint, "the cat", ["cat"], 0)
    service.body = "not asked"
    assert request_rewording(endpoint, "the cat", ["cat"], 0) == first
    assert len(service.asked) == 1
    kept = list(tmp_path.iterdir())
    assert len(kept) == 1
    assert "secret" not in kept[0].read_text() and "secret" not in repr(endpoint)
    # Another attempt is another question; a damaged entry is asked for again.
    service.body = json.dumps({"choices": [{"message": {"content": "one dog"}}]})
    assert request_rewording(endpoint, "the cat", ["cat"], 1) == "one dog"
    kept[0].write_text("{")
    assert request_rewording(endpoint, "the cat", ["cat"], 0) == "one dog"


NO_TEXT = '{"choices": [{"message": {"content": null}}]}'


@pytest.mark.parametrize("body", ["no json", "{}", '{"choices": []}', "[1]", "[" * 5000, NO_TEXT])
def test_strange_answers_are_refused(service: Service, tmp_path: Path, body: str) -> None:
    service.body = body
    with pytest.raises(MMHError, match="cannot be read"):
        request_rewording(at(service, tmp_path), "the cat", [], 0)
    assert list(tmp_path.iterdir()) == []


def test_empty_answers_errors_and_silence_are_refused(service: Service, tmp_path: Path) -> None:
    service.body = json.dumps({"choices": [{"message": {"content": "  "}}]})
    with pytest.raises(MMHError, match="empty answer"):
        request_rewording(at(service, tmp_path), "the cat", [], 0)
    service.status = 500
    with pytest.raises(MMHError, match=r"did not answer .*500"):
        request_rewording(at(service, tmp_path), "the cat", [], 1)
    service.status, service.delay = 200, 1.0
    with pytest.raises(MMHError, match=r"did not answer .*timed out"):
        request_rewording(at(service, tmp_path, timeout=0.1), "the cat", [], 2)


def test_an_answer_that_drips_is_given_up(service: Service, tmp_path: Path) -> None:
    """Every piece comes within the timeout of a socket, the whole does not."""
    service.pieces = 40
    start = time.monotonic()
    with pytest.raises(MMHError, match=r"did not answer .*timed out"):
        request_rewording(at(service, tmp_path, timeout=0.3), "the cat", [], 0)
    # All pieces would take two seconds.
    assert time.monotonic() - start < 1.5


def test_headers_that_drip_are_given_up(tmp_path: Path) -> None:
    """One byte of a header at a time: no read waits long, and the answer never comes."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def drip() -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not done.wait(0.05):
                connection.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    start = time.monotonic()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    with pytest.raises(MMHError, match=r"did not answer .*timed out"):
        request_rewording(
            Endpoint(url, "small", tmp_path, consent=True, timeout=0.4), "the cat", [], 0
        )
    assert time.monotonic() - start < 5
    done.set()
    thread.join()
    listening.close()


def test_a_proxy_of_the_environment_is_not_asked(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompt and key would go through it, for an address on this machine too."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert request_rewording(at(service, tmp_path), "the cat", [], 0) == "a cat"


@pytest.mark.parametrize(
    "answer", ["a \u0000 cat", "a \x1b[31mcat", "\ud800 cat", "cat \uffff", "a\u0007", "\ue000"]
)
def test_characters_of_no_text_are_no_prompt(
    service: Service, tmp_path: Path, answer: str
) -> None:
    service.body = json.dumps({"choices": [{"message": {"content": answer}}]})
    with pytest.raises(MMHError, match="characters that no prompt has"):
        request_rewording(at(service, tmp_path), "the cat", [], 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", ["eine Kätzchen ☀️", "кот", "猫が座る", "👩‍🚀 on the moon"])
def test_letters_of_any_script_are_a_prompt(service: Service, tmp_path: Path, answer: str) -> None:
    service.body = json.dumps({"choices": [{"message": {"content": answer}}]})
    assert request_rewording(at(service, tmp_path), "the cat", [], 0) == answer


def test_the_words_of_an_error_are_not_repeated(service: Service, tmp_path: Path) -> None:
    """A service may put the key that it refuses into its reason."""
    service.status, service.reason = 401, "no such key: secret"
    with pytest.raises(MMHError, match="HTTP status 401") as refused:
        request_rewording(at(service, tmp_path), "the cat", [], 0)
    assert "secret" not in "".join(traceback.format_exception(refused.value))


def test_a_speech_is_no_prompt(service: Service, tmp_path: Path) -> None:
    service.body = json.dumps({"choices": [{"message": {"content": "word " * 500}}]})
    with pytest.raises(MMHError, match=r"2,499 characters, which is no prompt"):
        request_rewording(at(service, tmp_path), "the cat", [], 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["file:///etc", "localhost:8080/v1", "http://", "http://[::1", "http://host:port/v1"]
)
def test_what_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(MMHError, match="no address of a service"):
        request_rewording(Endpoint(url, "small", tmp_path, consent=True), "the cat", [], 0)


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "http://host/v1?key=secret"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(MMHError, match="a key in the environment") as refused:
        request_rewording(Endpoint(url, "small", tmp_path, consent=True), "the cat", [], 0)
    assert "secret" not in str(refused.value)


def test_a_redirect_is_not_followed(service: Service, tmp_path: Path) -> None:
    """The prompt and the key would go where nobody agreed to."""
    service.status, service.elsewhere = 302, f"{service.url}/elsewhere"
    with pytest.raises(MMHError, match="did not answer"):
        request_rewording(at(service, tmp_path), "the cat", [], 0)
    assert [path for path, _, _ in service.asked] == ["/v1/chat/completions"]


def test_no_message_holds_the_key(service: Service, tmp_path: Path) -> None:
    assert request_rewording(at(service, tmp_path, key=" secret\n"), "the cat", [], 0) == "a cat"
    assert service.asked[0][1]["Authorization"] == "Bearer secret"
    with pytest.raises(MMHError, match="set it again") as refused:
        request_rewording(at(service, tmp_path, key="secret\nX: y"), "the cat", [], 1)
    assert "secret" not in str(refused.value)
    service.status = 401
    with pytest.raises(MMHError, match="401") as refused:
        request_rewording(at(service, tmp_path), "the cat", [], 2)
    assert "secret" not in "".join(traceback.format_exception(refused.value))
    assert len(service.asked) == 2


def test_a_rewrite_asks_the_service_for_its_words(
    service: Service, tmp_path: Path, model_of: ModelOf
) -> None:
    model = model_of("tiny")
    context = MitigationContext(
        generator=torch.Generator().manual_seed(0),
        detector=lambda request: without_work(RequestScore(float(request.prompt != "a cat"), 0.0)),
        threshold=0.5,
    )
    mitigation = TokenRewrite(by="random", strength=1.0, endpoint=at(service, tmp_path))
    out = result_of(mitigation.apply(model, request_for(model, prompt="the dog"), context=context))
    assert out.prompt == "a cat"
    words = service.asked[0][2]["messages"][-1]["content"].split("Words: ")[1]
    assert words in ("the", "dog")
