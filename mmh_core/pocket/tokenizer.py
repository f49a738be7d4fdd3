"""Training of a small byte-level byte-pair encoding, in the files of CLIPTokenizer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmh_core.files import write_text

START, END = "<|startoftext|>", "<|endoftext|>"
#: Tokens of a prompt, both special ones included.
LENGTH = 32
_WORD_END = "</w>"

Word = tuple[str, ...]
Pair = tuple[str, str]


def train_tokenizer(captions: Iterable[str], folder: Path, *, vocabulary: int = 2000) -> None:
    """Write a tokenizer with at most this many tokens, learned from the captions.

    Byte-pair encoding (Sennrich et al. 2016) over bytes as in CLIP: 256 bytes, the same as ends of
    words, then the most frequent neighbors merged again and again, ties in the order of the
    alphabet, until none occurs twice. Any text can be encoded; letters are lowered first.
    """
    base = _alphabet()
    most = vocabulary - len(base) - 2
    if most < 0:
        raise ValueError(f"vocabulary must be at least {len(base) + 2}, got {vocabulary!r}.")
    merges = _merges(_words(captions), most)
    tokens = [*base, *("".join(pair) for pair in merges), START, END]
    write_text(folder / "vocab.json", json.dumps({t: i for i, t in enumerate(tokens)}))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    write_text(folder / "merges.txt", "\n".join(lines) + "\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "model_max_length": LENGTH,
        "do_lower_case": True,
    }
    write_text(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")


def load_tokenizer(folder: Path) -> Any:
    """Return the CLIPTokenizer of a folder."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(folder))


def token_ids(tokenizer: Any, captions: list[str]) -> Any:
    """Return int64 ids (B, LENGTH), cut and padded with the end token as in Stable Diffusion."""
    encoded = tokenizer(
        captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    return encoded.input_ids


def _alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    return letters + [letter + _WORD_END for letter in letters]


def _words(captions: Iterable[str]) -> Counter[Word]:
    """Count words, split and written in bytes by CLIPTokenizer's own rules."""
    from transformers import CLIPTokenizer

    plain = CLIPTokenizer(vocab={t: i for i, t in enumerate([*_alphabet(), START, END])})
    rules = plain.backend_tokenizer
    counts: Counter[Word] = Counter()
    for caption, times in Counter(captions).items():
        text = rules.normalizer.normalize_str(caption)
        for word, _ in rules.pre_tokenizer.pre_tokenize_str(text):
            counts[(*word[:-1], word[-1] + _WORD_END)] += times
    return counts


def _merges(words: Counter[Word], most: int) -> list[Pair]:
    """Return the pairs in the order in which they are merged."""
    merges: list[Pair] = []
    while len(merges) < most:
        pairs: Counter[Pair] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best, times = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        if times < 2:
            break
        merges.append(best)
        merged: Counter[Word] = Counter()
        for word, times in words.items():
            merged[_merge(word, best)] += times
        words = merged
    return merges


def _merge(word: Word, pair: Pair) -> Word:
    """Join each occurrence of a pair, from the left."""
    joined: list[str] = []
    for part in word:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)
