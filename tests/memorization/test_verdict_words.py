"""Verdicts as the app shows them: with the terms spelled out, and no word that is only stored."""

from __future__ import annotations

import pytest

from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.memorization.verdict import IMAGE_VERDICTS, verdict_words


@pytest.mark.parametrize("name", [*VERDICTS, *IMAGE_VERDICTS])
def test_a_verdict_is_shown_in_the_words_of_the_field(name: str) -> None:
    shown = verdict_words(name)
    assert "read" not in shown.split()
    assert ("driven" in shown) == ("-Mem" in name)
    assert ("exact" in shown) == ("exact" in name)


def test_verdicts_that_differ_are_shown_differently() -> None:
    names = [*dict.fromkeys((*VERDICTS, *IMAGE_VERDICTS))]
    assert len({verdict_words(name) for name in names}) == len(names)
