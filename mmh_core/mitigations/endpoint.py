"""Ask a language model elsewhere to reword a prompt, if and only if the user agrees to it."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmh_core.files import write_text
from mmh_core.records import MMHError

_LARGEST_ANSWER, _PIECE = 2**20, 2**12
#: Letters of the longest rewording that is taken for a prompt.
_LONGEST = 1_000
_INSTRUCTION = (
    "Rewrite prompts for an image generator. Keep the subject, all proper names and the meaning; "
    "replace or leave out only the words that are listed. Answer with the new prompt and nothing "
    "else."
)


@dataclass(frozen=True)
class Endpoint:
    """Hold where an OpenAI-compatible service is and that the user consents to being asked.

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


def ask(endpoint: Endpoint, prompt: str, words: Sequence[str], attempt: int) -> str:
    """Return the service's rewording of a prompt that avoids some words.

    Equal questions are answered from the cache; `attempt` tells apart those that want another
    answer. Raises MMHError without consent, for an address that is not http(s) or holds more than
    an address, a service that does not answer in time or points elsewhere, and an answer that is
    no prompt.
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


class _Still(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: prompt and key are for the address that was agreed to."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Return nothing, which makes a redirect an error."""


def _post(endpoint: Endpoint, question: str) -> str:
    headers = {"Content-Type": "application/json"}
    key = endpoint.key.strip()
    if key and not (key.isascii() and key.isprintable()):
        raise MMHError("The key of the service holds letters that no key has: set it again.")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        endpoint.url.rstrip("/") + "/chat/completions", question.encode(), headers
    )
    host, ends = _host(endpoint), time.monotonic() + endpoint.timeout
    try:
        opener = urllib.request.build_opener(_Still)
        with opener.open(request, timeout=endpoint.timeout) as response:
            body = b""
            while len(body) < _LARGEST_ANSWER and (piece := response.read1(_PIECE)):
                body += piece
                if time.monotonic() > ends:
                    raise TimeoutError("timed out")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise MMHError(
            f"The service at {host} did not answer ({error}): check the address and that it runs, "
            "or use the offline rules."
        ) from None
    return _content(host, body)


def _content(host: str, body: bytes) -> str:
    """Return the text of the first choice, on one line."""
    try:
        said: Any = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        said = None
    if not isinstance(said, str):
        raise MMHError(
            f"The answer of the service at {host} cannot be read: it must be that of an "
            "OpenAI-compatible chat service."
        )
    text = " ".join(said.split()).strip("\"'")
    if not text:
        raise MMHError(f"The service at {host} gave an empty answer: ask again.")
    if len(text) > _LONGEST:
        raise MMHError(
            f"The service at {host} answered with {len(text):,} letters, which is no prompt: ask "
            "again, or another model."
        )
    return text
