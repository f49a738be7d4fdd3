"""Offline rules of rewording, names, and the diff that shows them."""

from __future__ import annotations

import pytest
import torch

from mmh_core.mitigations.synonyms import COMMON_WORDS, SYNONYMS
from mmh_core.mitigations.wording import (
    Word,
    dropped,
    paraphrases,
    reworded,
    tidy,
    word_diff,
    words_at,
    words_of,
)
from mmh_core.pocket.cast import named_subjects
from mmh_core.pocket.grammar import captions


def some(prompt: str, *texts: str) -> list[Word]:
    return [word for word in words_of(prompt) if word.text in texts]


def test_names_are_kept_apart() -> None:
    def names(prompt: str) -> list[str]:
        return [word.text for word in words_of(prompt) if word.name]

    assert names("portrait of Mira Solano in a red coat") == ["Mira", "Solano"]
    assert names("Mira Solano in a red coat") == ["Mira", "Solano"]
    # A capital letter at the start of a sentence makes no name of a known word.
    assert names("Portrait of a person") == []
    assert names("the Lumo mug, studio shot") == ["Lumo"]


def test_the_names_of_the_shipped_world_are_names() -> None:
    for subject in named_subjects(0):
        assert subject.name is not None
        proper = {word for word in subject.name.split() if word[0].isupper()}
        for text in captions(subject.painter, subject.style, subject.name):
            found = {word.text for word in words_of(text) if word.name}
            assert proper <= found
            assert all(word[0].isupper() for word in found)


def test_dropping_leaves_a_tidy_prompt() -> None:
    prompt = "portrait of Mira in a red coat, soft light"
    chosen = some(prompt, "soft", "light", "red")
    assert dropped(prompt, chosen) == "portrait of Mira in a coat"
    assert dropped("red", some("red", "red")) == "red"
    assert dropped("a red owl", some("a red owl", "red")) == "an owl"
    # Other articles are not touched, right or wrong.
    assert dropped("a old house, red", some("a old house, red", "red")) == "a old house"
    both = some("big red owl", "big", "red")
    assert dropped("big red owl", both) == "owl"
    assert dropped("an odd red owl", some("an odd red owl", "an", "odd")) == "red owl"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a , , b ,", "a, b"),
        (" , a  b", "a b"),
        ("a b ! c", "a b! c"),
    ],
)
def test_tidying(text: str, expected: str) -> None:
    assert tidy(text) == expected


def test_synonyms_come_from_the_table_and_touch_nothing_else() -> None:
    prompt = "a photo of Mira on a table"
    generator = torch.Generator().manual_seed(0)
    chosen = some(prompt, "photo", "Mira", "table")
    seen = {reworded(prompt, chosen, generator) for _ in range(60)}
    expected = {
        f"{'an' if a[0] in 'aeiou' else 'a'} {a} of Mira on a {b}"
        for a in SYNONYMS["photo"]
        for b in SYNONYMS["table"]
    }
    # 4 x 2 equally likely sentences: all are seen in 60 draws but once in 400 (8 (7/8)^60).
    assert seen == expected


def test_the_table_is_symmetric_and_known() -> None:
    for word, others in SYNONYMS.items():
        assert word not in others
        assert all(word in SYNONYMS[other] for other in others)
    assert {"photo", "studio", "background"} <= COMMON_WORDS


def test_captions_of_the_grammar_are_retold_as_their_paraphrases() -> None:
    """Every template gives the others, slots included; the light is one that was told or soft."""
    assert paraphrases("a photo of Bo wearing an orange coat in soft light")[0] == (
        "portrait of Bo in an orange coat, soft light"
    )
    style = {"hair": "red", "cut": "short", "coat": "blue", "extra": "none"}
    told = paraphrases("portrait of Mira Solano in a blue coat, warm light")
    assert told == (
        "a photo of Mira Solano wearing a blue coat in warm light",
        "Mira Solano in a blue coat, head and shoulders, warm light",
        "studio picture of Mira Solano dressed in blue, warm light",
    )
    for text in captions("portrait", style, "Mira Solano"):
        assert all("Mira Solano" in other and "blue" in other for other in paraphrases(text))


BRACES = (
    *("{x}", "{}", "{0}", "{subject}", "{subject.__class__.__mro__}", "{light!r}", "{light:>9}"),
    *("{{coat}}", "{", "}", "}{", "%s", "%(x)s", "$name", r"\1", r"\g<0>", "${x}", "{caption}"),
    *("[a-z]+", "(?i)", "a{2}", "%{text}", "{time[0]}", "{{{light}}}", "\\N{BULLET}", "<b>{x}"),
)


@pytest.mark.parametrize("text", BRACES)
def test_whatever_stands_in_a_prompt_is_letters_and_no_template(text: str) -> None:
    """In every slot of every template, alone and in a frame: it comes back as it was written."""
    assert paraphrases(f"portrait of {text} in a red coat, warm light") == (
        f"a photo of {text} wearing a red coat in warm light",
        f"{text} in a red coat, head and shoulders, warm light",
        f"studio picture of {text} dressed in red, warm light",
    )
    for prompt in (
        f"portrait of Bo in a {text} coat, {text}",
        f"framed painting: a photo of {text} on a table in {text}",
        f"{text} on a {text} background, {text}",
        f"{text}, x, {text}",
        text,
    ):
        generator = torch.Generator().manual_seed(1)
        others = (*paraphrases(prompt), reworded(prompt, words_of(prompt), generator))
        # The parts that the table of synonyms does not know are all there.
        assert all(text in other for other in others)


def test_frames_stay_and_other_prompts_turn_around_their_commas() -> None:
    framed = paraphrases("framed painting: view of Cape Arven with a lake at dawn")
    assert all(text.startswith("framed painting: ") for text in framed)
    assert "framed painting: landscape of Cape Arven with a lake, dawn" in framed
    assert paraphrases("an owl, oil, detailed") == (
        "oil, detailed, an owl",
        "detailed, an owl, oil",
    )
    assert paraphrases("an owl") == ()


def test_spans_find_their_words() -> None:
    assert words_at("a red coat, x", [(0, 1), (3, 5), (10, 11), (12, 13)]) == (0, 1, -1, 3)


def test_the_diff_gives_both_prompts_back() -> None:
    before, after = "a photo of Mira in red", "an image of Mira now"
    parts = word_diff(before, after)
    assert parts == (
        ("removed", "a photo"),
        ("added", "an image"),
        ("kept", "of Mira"),
        ("removed", "in red"),
        ("added", "now"),
    )
    assert " ".join(text for kind, text in parts if kind != "added") == before
    assert " ".join(text for kind, text in parts if kind != "removed") == after
    assert word_diff("same words", "same words") == (("kept", "same words"),)
