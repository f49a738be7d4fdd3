"""What a text encoder makes of a prompt: the end that it cuts off, and letters without a token."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.prompt_text import tokens_of


@dataclass(frozen=True)
class Heard:
    """What of a prompt does not reach the network.

    `cut` is its end beyond the encoder's window; `unread` are its letters that the tokenizer knows
    as loose bytes only, in order of appearance, which the model has hardly ever seen. "" where
    everything is read.
    """

    cut: str
    unread: str

    @property
    def whole(self) -> bool:
        """Return whether all of the prompt is read."""
        return not self.cut and not self.unread

    def words(self) -> str:
        """Return in one sentence what is not read, "" where nothing is."""
        parts = []
        if self.cut:
            end = _short(self.cut)
            parts.append(f"its end is not read, since the text encoder is full: “{end}”")
        if self.unread:
            parts.append(f"the text encoder has no token for “{_short(self.unread)}”")
        return f"Not all of this prompt was judged: {'; '.join(parts)}." if parts else ""


def heard(model: TextToImage, prompt: str) -> Heard:
    """Return what of a prompt a model's text encoder does not read."""
    tokenizer: Any = model.tokenizer
    cut = cut_off(model, prompt)
    letters = dict.fromkeys(letter for letter in prompt if _matters(letter))
    unread = "".join(letter for letter in letters if not _has_token(tokenizer, letter))
    return Heard(cut, unread)


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
    ids = tokenizer(letter, add_special_tokens=False, verbose=False).input_ids
    return len(ids) <= 1


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
