"""Ask a language model elsewhere to reword a prompt, if and only if the user agrees to it."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmh_core.files import write_text
from mmh_core.records import MMHError

_LARGEST_ANSWER = 2**20
_INSTRUCTION = (
    "Rewrite prompts for an image generator. Keep the subject, all proper names and the meaning; "
    "replace or leave out only the words that are listed. Answer with the new prompt and nothing "
    "else."
)


@dataclass(frozen=True)
class Endpoint:
    """Hold where an OpenAI-compatible service is and that the user consents to being asked.

    `url` is its base, such as http://localhost:8080/v1. The prompt leaves the machine, so without
    `consent` nothing is sent. Answers are kept in the folder `cache`; the key never is.
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
    answer. Raises MMHError without consent, for an address that is not http(s), a service that
    does not answer in time, and an answer that cannot be read.
    """
    if not endpoint.consent:
        raise MMHError(
            "Rewording by a service sends the prompt there: give your consent for this run, or "
            "use the offline rules."
        )
    if urllib.parse.urlsplit(endpoint.url).scheme not in ("http", "https"):
        raise MMHError(
            f"{endpoint.url!r} is no address of a service: give one that starts with http:// or "
            "https://."
        )
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


def _post(endpoint: Endpoint, question: str) -> str:
    headers = {"Content-Type": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    request = urllib.request.Request(
        endpoint.url.rstrip("/") + "/chat/completions", question.encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=endpoint.timeout) as response:
            body = response.read(_LARGEST_ANSWER)
    except (OSError, urllib.error.URLError) as error:
        raise MMHError(
            f"The service at {endpoint.url} did not answer ({error}): check the address and that "
            "it runs, or use the offline rules."
        ) from error
    return _content(endpoint, body)


def _content(endpoint: Endpoint, body: bytes) -> str:
    """Return the text of the first choice, on one line."""
    try:
        answer: Any = json.loads(body)
        text = " ".join(str(answer["choices"][0]["message"]["content"]).split()).strip("\"'")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise MMHError(
            f"The answer of the service at {endpoint.url} cannot be read: it must be that of an "
            "OpenAI-compatible chat service."
        ) from error
    if not text:
        raise MMHError(f"The service at {endpoint.url} gave an empty answer: ask again.")
    return text
