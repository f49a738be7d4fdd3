"""Tokens of a prompt for a text encoder: placeholders, context windows, and the truncated end.

A text encoder reads a *context window* of so many tokens (77 in Stable Diffusion: start, 75 of the
prompt, end). What is longer is truncated, as diffusers does it, or read in several windows, as the
web UIs do it: pieces of 75 tokens, each with a start and an end of its own and padded, whose
embeddings stand one after another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

#: A fast tokenizer keeps truncation and padding as its state: one thread at a time may use it.
TOKENIZING = Lock()
#: More windows than anybody's prompt fills: 600 tokens of Stable Diffusion.
MOST_WINDOWS = 8


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a prompt as they go into the encoder: N in all its windows.

    `ids` and `mask` (N,): 1 for a start, a token of the prompt and the end of a window, 0 for
    padding. `spans` are the N spans in the prompt as it was written, empty ones for what the
    prompt does not hold; all tokens of a placeholder have its span. `cut` is the end of the
    prompt that no window has room for, and `needed` the number of windows that would hold it all.
    """

    ids: Tensor
    mask: Tensor
    spans: tuple[tuple[int, int], ...]
    cut: str
    needed: int = 1


def expanded(tokenizer: Callable[..., Any], prompt: str) -> str:
    """Return the prompt with all tokens of each placeholder of textual inversion.

    A concept of several vectors is kept as the tokens `<toy>`, `<toy>_1`, ...; its name stands for
    them all, one after another (`TextualInversionLoaderMixin` of diffusers).
    """
    return "".join(text for text, _ in _pieces(tokenizer, prompt))


def tokens_of(tokenizer: Callable[..., Any], prompt: str, windows: int = 1) -> Tokens:
    """Return the tokens of a prompt in this number of windows."""
    hf_tokenizer: Any = tokenizer
    pieces = _pieces(tokenizer, prompt)
    with TOKENIZING:
        encoded = hf_tokenizer(
            "".join(text for text, _ in pieces),
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
    ids, written = encoded["input_ids"], _written(pieces, encoded["offset_mapping"])
    length = int(hf_tokenizer.model_max_length)
    room = length - 2
    rows, mask, spans = list[int](), list[int](), list[tuple[int, int]]()
    for window in range(windows):
        part = slice(window * room, (window + 1) * room)
        ids_in_window, padding = ids[part], room - len(ids[part])
        rows += [
            hf_tokenizer.bos_token_id,
            *ids_in_window,
            hf_tokenizer.eos_token_id,
            *[hf_tokenizer.pad_token_id] * padding,
        ]
        mask += [1] * (len(ids_in_window) + 2) + [0] * padding
        spans += [(0, 0), *written[part], *[(0, 0)] * (padding + 1)]
    left = ids[windows * room :]
    cut = prompt[written[windows * room][0] :].strip() if left else ""
    needed = max(1, -(-len(ids) // room))
    return Tokens(torch.tensor(rows), torch.tensor(mask), tuple(spans), cut, needed)


def encode_prompts(
    tokenizer: Callable[..., Any],
    encoder: nn.Module,
    prompts: Sequence[str],
    device: torch.device,
    windows: int = 1,
) -> Tensor:
    """Return the encoder's last hidden states (B, N, width) for prompts, padded and cut.

    N is the encoder's number of tokens, times the windows.
    """
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"prompts must be a list of at least one text, got {prompts!r}.")
    hf_tokenizer: Any = tokenizer
    if windows > 1:
        ids = torch.stack([tokens_of(tokenizer, prompt, windows).ids for prompt in prompts])
        pieces = ids.reshape(len(prompts) * windows, -1)
        states: Tensor = encoder(pieces.to(device))[0]
        return states.reshape(len(prompts), ids.shape[1], -1)
    # The tokenizer's own cut and padding, whose sides its files may state.
    texts = [expanded(tokenizer, prompt) for prompt in prompts]
    with TOKENIZING:
        tokens = hf_tokenizer(
            texts,
            padding="max_length",
            max_length=hf_tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
    hidden: Tensor = encoder(tokens.input_ids.to(device))[0]
    return hidden


def _pieces(
    tokenizer: Callable[..., Any], prompt: str
) -> list[tuple[str, tuple[int, int] | None]]:
    """Split a prompt at its placeholders: texts to encode, those of placeholders with a span."""
    numbered = _placeholders(getattr(tokenizer, "added_tokens_encoder", {}))
    if not any(name in prompt for name in numbered):
        return [(prompt, None)]
    # The longest first: one name may begin another.
    names = sorted((*numbered, *_numbers(numbered)), key=len, reverse=True)
    pieces: list[tuple[str, tuple[int, int] | None]] = []
    last = 0
    for match in re.finditer("|".join(map(re.escape, names)), prompt):
        count = numbered.get(match.group())
        if count is None:
            continue
        span = (match.start(), match.end())
        pieces.append((prompt[last : span[0]], None))
        name = match.group()
        pieces.append((" ".join([name, *(f"{name}_{i}" for i in range(1, count))]), span))
        last = span[1]
    return [*pieces, (prompt[last:], None)]


def _placeholders(added: Mapping[str, int]) -> dict[str, int]:
    """Return the added tokens that stand for several, with how many."""
    placeholders = {}
    for name in added:
        count = 1
        while f"{name}_{count}" in added:
            count += 1
        if count > 1:
            placeholders[name] = count
    return placeholders


def _numbers(numbered: Mapping[str, int]) -> list[str]:
    """Return the further tokens of placeholders, which somebody may have written out."""
    return [f"{name}_{i}" for name, count in numbered.items() for i in range(1, count)]


def _written(
    pieces: Sequence[tuple[str, tuple[int, int] | None]], offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return spans in the prompt as written for spans in its expanded text."""
    starts, behind, written = list[tuple[int, int, tuple[int, int] | None]](), 0, 0
    for text, span in pieces:
        starts.append((behind, written, span))
        behind += len(text)
        written += len(text) if span is None else span[1] - span[0]
    spans = []
    for start, end in offsets:
        before, at, span = next(entry for entry in reversed(starts) if entry[0] <= start)
        spans.append((start - before + at, end - before + at) if span is None else span)
    return spans
