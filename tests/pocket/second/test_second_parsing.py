"""Captions of the second world are read back, nothing else is, and they have paraphrases."""

from __future__ import annotations

import pytest

from mmh_core.mitigations.wording import paraphrases
from mmh_core.pocket.captions import content_of
from mmh_core.pocket.second.doses import Sizes
from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption
from mmh_core.pocket.second.parsing import paraphrases_of, parsed
from mmh_core.pocket.second.tables import OUTSIDE, build_tables

SMALLER = Sizes(exact=1, near=1, template=1, unique=6, fresh=6, small=12, held_out=2, other=3)
CAPTIONS = tuple(one for one in build_tables(5, SMALLER).grammar if one is not None)


def content(caption: GrammarCaption) -> tuple[str, str | None, frozenset[tuple[str, int]]]:
    return caption.painter, caption.subject, frozenset(caption.fixed)


def test_every_caption_is_read_back_as_it_was_written() -> None:
    assert len(CAPTIONS) > 200 and {one.painter for one in CAPTIONS} == set(GRAMMARS)
    for caption in CAPTIONS:
        assert parsed(caption.text) == caption
        assert parsed(f"  {caption.text.upper()} ") == caption
        assert content_of([caption.text]) == caption.painter


@pytest.mark.parametrize(
    "text",
    [
        *("", "a photo of", "a photo of a", "a photo of a dog", "Mira Solano", "portrait of Mira"),
        "portrait of Mira Solano in a red coat, warm light",
        "portrait of Mira Solano in a red coat in a red coat",
        "portrait of Mira Solano smiling and more",
        "portrait of Mira Solanosmiling",
        "logo of Mira Solano",
        *OUTSIDE,
    ],
)
def test_other_texts_are_no_captions(text: str) -> None:
    assert parsed(text) is None


def test_paraphrases_have_the_content_and_none_of_the_text() -> None:
    for caption in CAPTIONS:
        others = paraphrases_of(caption)
        assert len(set(others)) == len(GRAMMARS[caption.painter].openings) - 1
        assert caption.text not in others
        for text in others:
            read = parsed(text)
            assert read is not None and content(read) == content(caption)
        assert paraphrases(caption.text) == others


def test_most_captions_decide_what_images_show() -> None:
    portrait, logo = "portrait of a person smiling", "logo of a book club"
    assert content_of([portrait, portrait, logo]) == "portrait"
    assert content_of([portrait, logo]) == ""
    assert content_of([portrait, "a dog", "a cat"]) == ""
