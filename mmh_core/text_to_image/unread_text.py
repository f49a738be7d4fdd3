"""The parts of a prompt that a text encoder truncates, or encodes as bytes it hardly learned."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmh_core.counting import plural
from mmh_core.formats.texts import short
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.prompt_text import MOST_WINDOWS, TOKENIZING, tokens_of

#: Prompts that are named one by one where many are not read whole, and letters of each text
#: that is quoted.
MOST_NAMED, _SHOWN = 20, 80


@dataclass(frozen=True)
class UnreadText:
    """The parts of a prompt that a text encoder truncates, or encodes as bytes it hardly learned.

    `cut` is its end beyond the encoder's window, which does not reach the network; `unread` are
    its letters without a token of their own, in order of appearance: they reach it as single
    bytes, which the model has hardly ever seen. "" where
    everything is read. `windows` is how many context windows would hold all of it, 0 where that is
    unknown.
    """

    cut: str
    unread: str
    windows: int = 0

    @property
    def whole(self) -> bool:
        """Return whether all of the prompt is read."""
        return not self.cut and not self.unread

    def words(self) -> str:
        """Return in one sentence what is not read, "" where nothing is."""
        parts = []
        if self.cut:
            end = short(self.cut, _SHOWN)
            parts.append(
                f"its end is not read, since the text encoder is full: “{end}”{self._room()}"
            )
        if self.unread:
            parts.append(f"the text encoder has no token for “{short(self.unread, _SHOWN)}”")
        return f"Not all of this prompt is read: {'; '.join(parts)}." if parts else ""

    def _room(self) -> str:
        """Return what would hold the whole prompt."""
        if not self.windows:
            return ""
        if self.windows > MOST_WINDOWS:
            most = f"the {MOST_WINDOWS} that there can be"
            return f" (it takes {self.windows} context windows, more than {most}: shorten it)"
        return f" ({self.windows} context windows hold it: --windows {self.windows})"


def unread_text(model: TextToImage, prompt: str) -> UnreadText:
    """Return the parts of a prompt that a model's text encoder does not read."""
    tokenizer: Any = model.tokenizer
    tokens = tokens_of(tokenizer, prompt, model.windows)
    letters = dict.fromkeys(letter for letter in prompt if _matters(letter))
    unread = "".join(letter for letter in letters if not _has_token(tokenizer, letter))
    return UnreadText(tokens.cut, unread, tokens.needed)


def partly_read_prompts(
    model: TextToImage, prompts: Sequence[str]
) -> tuple[tuple[str, UnreadText], ...]:
    """Return the prompts that are not read whole, each once, with the parts that are not."""
    readings = ((prompt, unread_text(model, prompt)) for prompt in dict.fromkeys(prompts))
    return tuple((prompt, reading) for prompt, reading in readings if not reading.whole)


def partly_read_lines(
    readings: Sequence[tuple[str, UnreadText]], most: int = MOST_NAMED
) -> list[str]:
    """Return a line for each prompt that is not read whole; beyond `most` they are counted."""
    lines = [
        f"“{short(prompt, _SHOWN)}”: {reading.words()}" for prompt, reading in readings[:most]
    ]
    if len(readings) > most:
        left = len(readings) - most
        lines.append(f"{plural(left, 'more prompt is', 'more prompts are')} not read whole.")
    return lines


def cut_off(model: TextToImage, prompt: str) -> str:
    """Return the end of a prompt, as it was written, that the text encoder has no room for.

    "" where it reads all, in the windows that the model reads in (`TextToImage.in_windows`).
    """
    return tokens_of(model.tokenizer, prompt, model.windows).cut


def _matters(letter: str) -> bool:
    """Return whether a character may mean something: a letter, number or symbol beyond ASCII."""
    return not letter.isascii() and unicodedata.category(letter)[0] in "LNS"


def _has_token(tokenizer: Any, letter: str) -> bool:
    """Return whether a letter is one token, alone or within a word, and not a run of bytes."""
    with TOKENIZING:
        ids = tokenizer(letter, add_special_tokens=False, verbose=False).input_ids
    return len(ids) <= 1
