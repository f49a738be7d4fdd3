"""Rewording of prompts by a language model behind an HTTP service, with the user's consent."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import unicodedata
import urllib.parse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmh_core.files import write_text
from mmh_core.records import MMHError

_LARGEST_ANSWER = 2**20
#: Characters of the longest answer that is taken for a prompt.
_LONGEST = 1_000
#: Unicode categories that no prompt has: controls, surrogates, unassigned, private use.
_NOT_IN_PROMPTS = ("Cc", "Cs", "Cn", "Co")
_INSTRUCTION = (
    "Rewrite prompts for an image generator. Keep the subject, all proper names and the meaning; "
    "replace or leave out only the words that are listed. Answer with the new prompt and nothing "
    "else."
)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible service and the user's consent to sending prompts to it.

    `url` is its base, such as http://localhost:8080/v1. The prompt leaves the machine, so without
    `consent` nothing is sent. The whole answer has to be there within `timeout` seconds. Answers
    are kept in the folder `cache`; the key never is, and no message holds it.
    """

    url: str
    model: str
    cache: Path
    consent: bool = False
    timeout: float = 20.0
    key: str = field(default="", repr=False, compare=False)


def request_rewording(endpoint: Endpoint, prompt: str, words: Sequence[str], attempt: int) -> str:
    """Return the service's rewording of a prompt that avoids some words.

    Equal requests are answered from the cache; another `attempt` samples another answer. Raises
    MMHError without consent, for an address that is not http(s) or holds more than an address, a
    service that does not answer in time or points elsewhere, and an answer that is no prompt.
    """
    if not endpoint.consent:
        raise MMHError(
            "Rewording by a service sends the prompt there: give your consent for this run, or "
            "use the offline rules."
        )
    _host(endpoint)
    question = json.dumps(
        {
            "model": endpoint.model,
            "temperature": 1.0,
            "seed": attempt,
            "messages": [
                {"role": "system", "content": _INSTRUCTION},
                {"role": "user", "content": f"Prompt: {prompt}\nWords: {', '.join(words)}"},
            ],
        },
        sort_keys=True,
    )
    name = hashlib.sha256(f"{endpoint.url}\n{question}".encode()).hexdigest()
    kept = endpoint.cache / f"{name}.json"
    if kept.exists():
        try:
            return str(json.loads(kept.read_text())["prompt"])
        except (OSError, ValueError, KeyError, TypeError):
            # A damaged entry is asked for again and replaced.
            pass
    answer = _post(endpoint, question)
    write_text(kept, json.dumps({"prompt": answer}) + "\n")
    return answer


def _host(endpoint: Endpoint) -> str:
    """Return the address without its path, as messages show it, or refuse it."""
    try:
        parts = urllib.parse.urlsplit(endpoint.url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise MMHError(
            "This is no address of a service: give one that starts with http:// or https://, such "
            "as http://localhost:8080/v1."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise MMHError(
            "The address of a service must hold no name, password or query: give the address "
            "alone, and a key in the environment."
        )
    return f"{parts.scheme}://{parts.netloc}"


def _post(endpoint: Endpoint, question: str) -> str:
    """Return the service's answer to a question.

    By a plain connection: it follows no redirect and uses no proxy, so that prompt and key go to
    the address that was agreed to and nowhere else. Of what the service says in an error only the
    number is repeated.
    """
    headers = {"Content-Type": "application/json"}
    key = endpoint.key.strip()
    if key and not (key.isascii() and key.isprintable()):
        raise MMHError("The key of the service holds characters that no key has: set it again.")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    host = _host(endpoint)
    parts = urllib.parse.urlsplit(endpoint.url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=endpoint.timeout)
    late = threading.Event()
    reason = ""
    try:
        connection.connect()
        # A service that sends one byte a second never meets the timeout of a socket.
        clock = threading.Timer(endpoint.timeout, _shut_down, (connection.sock, late))
        clock.start()
        try:
            connection.request(
                "POST", f"{parts.path.rstrip('/')}/chat/completions", question.encode(), headers
            )
            with connection.getresponse() as response:
                if response.status != 200:
                    reason = f"it answered with HTTP status {response.status}"
                body = response.read(_LARGEST_ANSWER)
        finally:
            clock.cancel()
    except TimeoutError:
        reason = "timed out"
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The text of an HTTPException is the service's own, which may repeat the key.
        reason = str(error.strerror or "") if isinstance(error, OSError) else ""
        reason = reason or "the connection failed"
    finally:
        connection.close()
    if late.is_set():
        reason = "timed out"
    if reason:
        raise MMHError(
            f"The service at {host} did not answer ({reason}): check the address and that it "
            "runs, or use the offline rules."
        )
    return _content(host, body)


def _shut_down(line: socket.socket, late: threading.Event) -> None:
    """Shut down a connection whose time is over, while it reads."""
    late.set()
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _content(host: str, body: bytes) -> str:
    """Return the text of the first choice, on one line."""
    try:
        content: Any = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        content = None
    if not isinstance(content, str):
        raise MMHError(
            f"The answer of the service at {host} cannot be read: it must be that of an "
            "OpenAI-compatible chat service."
        )
    text = " ".join(content.split()).strip("\"'")
    if not text:
        raise MMHError(f"The service at {host} gave an empty answer: ask again.")
    if any(unicodedata.category(letter) in _NOT_IN_PROMPTS for letter in text):
        raise MMHError(
            f"The answer of the service at {host} holds characters that no prompt has: ask again, "
            "or another model."
        )
    if len(text) > _LONGEST:
        raise MMHError(
            f"The service at {host} answered with {len(text):,} characters, which is no prompt: "
            "ask again, or another model."
        )
    return text
