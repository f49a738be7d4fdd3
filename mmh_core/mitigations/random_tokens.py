"""Random token insertion: the baseline that uses neither detector nor training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    Mitigation,
    MitigationContext,
    Work,
    with_prompt,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

Insertion = Literal["words", "numbers"]
_LARGEST = 1_000_000
_SHORTEST = 3


@dataclass(frozen=True)
class RandomTokens(Mitigation):
    """A prompt with `strength` random words of the vocabulary, or numbers, inserted at random.

    Somepalli et al. 2023 (arXiv 2305.20086), random word and random number addition.
    """

    strength: float = 2.0
    insertion: Insertion = "words"
    name: str = "random_tokens"
    label: str = "Random token insertion"
    summary: str = "Inserts random words into the prompt: a baseline that uses no detector."
    citation: str = "Somepalli et al. 2023, arXiv 2305.20086"
    strength_label: str = "words inserted"
    strengths: tuple[float, ...] = (1.0, 2.0, 4.0)

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with a longer prompt; ValueError without a generator."""
        yield
        if self.insertion not in get_args(Insertion):
            raise ValueError(
                f"Unknown insertion {self.insertion!r}; choose from {get_args(Insertion)}."
            )
        generator = context.random()
        vocabulary = vocabulary_words(model) if self.insertion == "words" else ()
        words, added = request.prompt.split(), []
        for _ in range(round(self.strength)):
            # A vocabulary of fragments alone has no words to offer.
            new = (
                vocabulary[_below(len(vocabulary), generator)]
                if vocabulary
                else str(_below(_LARGEST, generator))
            )
            words.insert(_below(len(words) + 1, generator), new)
            added.append(new)
        prompt = " ".join(words)
        return Mitigated(
            with_prompt(request, prompt),
            prompt,
            f"Inserted at random: {', '.join(added)}." if added else "Nothing was inserted.",
        )


def vocabulary_words(model: TextToImage) -> tuple[str, ...]:
    """Return the whole words of at least three letters in the tokenizer's vocabulary, sorted."""
    tokenizer: Any = model.tokenizer
    ends = (token.removesuffix("</w>") for token in tokenizer.get_vocab() if "</w>" in token)
    return tuple(
        sorted(
            word for word in ends if len(word) >= _SHORTEST and word.isascii() and word.isalpha()
        )
    )


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (1,), generator=generator, device=generator.device))
