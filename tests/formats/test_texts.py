"""Texts in one line, cut to a length."""

from __future__ import annotations

import pytest

from mmh_core.formats.texts import short


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("a prompt", "a prompt", "a prompt"),
        (" a\n lake  at dusk", "a lake...", "...t dusk"),
        ("123456789", "123456789", "123456789"),
        ("", "", ""),
    ],
)
def test_a_text_is_cut_at_either_end_and_says_so(text: str, start: str, end: str) -> None:
    assert (short(text, 9), short(text, 9, end=True)) == (start, end)
