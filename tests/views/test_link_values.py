"""Values of links: what is usable is returned, what is not is refused in one sentence."""

from __future__ import annotations

import pytest

from views.widgets.link_values import decimal, job_id, one_of, quoted, whole


@pytest.mark.parametrize(
    ("value", "number"),
    [("7", 7), (7, 7), ("0", 0), ("10", 10), (None, None), ("", None)],
)
def test_whole_numbers_within_bounds_are_returned(value: object, number: int | None) -> None:
    messages: list[str] = []
    assert whole("steps", value, (0, 10), messages) == number and not messages


@pytest.mark.parametrize("value", ["11", "-1", 11, True, 3.0, "3.0", "1e3", "three", "9" * 25, []])
def test_other_whole_numbers_are_refused_by_name(value: object) -> None:
    messages: list[str] = []
    assert whole("steps", value, (0, 10), messages) is None
    assert messages == [
        f"steps is {quoted(value)}; it must be a whole number from 0 to 10, so it is left out."
    ]


@pytest.mark.parametrize(
    ("value", "number"), [("2.5", 2.5), (2, 2.0), (0.0, 0.0), ("30", 30.0), ("", None)]
)
def test_numbers_within_bounds_are_returned(value: object, number: float | None) -> None:
    messages: list[str] = []
    assert decimal("guidance", value, (0, 30), messages) == number and not messages


@pytest.mark.parametrize(
    "value", ["nan", "inf", float("nan"), float("inf"), "-0.5", 31, "1e1", "1_0", True, "٣", ()]
)
def test_other_numbers_are_refused_by_name(value: object) -> None:
    messages: list[str] = []
    assert decimal("guidance", value, (0, 30), messages) is None
    assert len(messages) == 1 and messages[0].startswith(f"guidance is {quoted(value)}; ")


@pytest.mark.parametrize("value", ["0" * 31, "0" * 33, "G" * 32, "A" * 32, "../x", 5])
def test_what_is_no_id_of_a_job_is_refused(value: object) -> None:
    messages: list[str] = []
    assert job_id("job", value, messages) is None and len(messages) == 1
    assert job_id("job", "0af" + "1" * 29, messages) == "0af" + "1" * 29 and len(messages) == 1


def test_a_choice_is_returned_or_the_default_with_a_sentence() -> None:
    messages: list[str] = []
    assert one_of("tab", "map", ("images", "map"), "images", messages) == "map"
    assert one_of("tab", None, ("images", "map"), "images", messages) == "images"
    assert not messages
    assert one_of("tab", "x" * 60, ("images", "map"), "images", messages) == "images"
    assert messages == [f"tab is '{'x' * 37}...'; choose from images, map. Shown instead: images."]
