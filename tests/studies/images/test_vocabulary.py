"""Words that a model was trained with, and those that it never met."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmh_core.studies.images.vocabulary import (
    caption_words,
    training_words,
    unfamiliar_words,
    words_in,
)

POCKET = Path(__file__).parents[3] / "assets" / "pocket-sd"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat on the moon eating pizza", ("cat", "moon", "eating", "pizza")),
        ("a Photo, of Mira's RED coat", ()),
        ("red red kitten kitten", ("kitten",)),
        ("日本の猫 coat", ("日本の猫",)),
        ("1234 !! ??", ()),
        ("", ()),
    ],
)
def test_words_that_no_caption_has_are_named_once_in_order(
    prompt: str, expected: tuple[str, ...]
) -> None:
    vocabulary = caption_words(["the photo of Mira's red coat", "a red coat"])
    assert vocabulary[:2] == ("red", "coat")
    assert unfamiliar_words(prompt, vocabulary) == expected


def test_without_a_vocabulary_no_word_is_unfamiliar() -> None:
    assert unfamiliar_words("a cat on the moon", ()) == ()


def test_hyphens_and_apostrophes_hold_a_word_together() -> None:
    words = words_in("A half-light, in Mira's or Mira\u2019s room_2")
    assert words == ["a", "half-light", "in", "mira's", "or", "mira\u2019s", "room"]


def test_the_shipped_model_knows_the_words_of_its_own_captions(tmp_path: Path) -> None:
    vocabulary = training_words(POCKET)
    assert 100 < len(vocabulary) < 2_000 and {"portrait", "coat", "lake"} <= set(vocabulary)
    assert not unfamiliar_words("Jonas Okonjo in a red coat, head and shoulders", vocabulary)
    assert unfamiliar_words("a cat on the moon", vocabulary) == ("cat", "moon")
    # A checkpoint of others: nobody knows what it was trained with.
    assert training_words(tmp_path) == ()
