"""Names of marks find places where they cover little."""

from __future__ import annotations

from mmh_core.plots.label_positions import Span, label_positions

WIDTH = 400.0


def mark(x: float, y: float, along: float = 0.0, up: float = 0.0) -> tuple[Span, Span]:
    """Return a mark with whiskers of these half lengths."""
    return (x, x - along, x + along), (y, y - up, y + up)


def test_a_mark_alone_is_named_at_its_right_and_at_the_edge_at_its_left() -> None:
    assert label_positions([mark(200, 100)], ["a name"], WIDTH) == ["middle right"]
    assert label_positions([mark(390, 100)], ["a name"], WIDTH) == ["middle left"]


def test_names_stand_beside_whiskers() -> None:
    [place] = label_positions([mark(200, 100, along=150)], ["a name"], WIDTH)
    assert place in ("top center", "bottom center", "top right", "top left")
    [place] = label_positions([mark(200, 100, up=90)], ["a name"], WIDTH)
    assert place == "middle right"


def test_names_of_marks_in_one_place_do_not_cover_one_another() -> None:
    places = label_positions([mark(200, 100)] * 4, ["a name"] * 4, WIDTH)
    assert len(set(places)) == 4


def test_a_name_rather_covers_a_whisker_than_another_name() -> None:
    # Left of the second mark a little of the first one's name is in the way, and right of it a
    # third mark; above and below pass whiskers of marks that are elsewhere.
    crosses = [mark(100, 100), mark(178, 100), mark(196, 100)]
    crosses += [mark(300, 112.6, along=160), mark(300, 87.4, along=160)]
    first, second, *_ = label_positions(crosses, ["n" * 7, "m" * 3, "", "", ""], WIDTH)
    assert (first, second) == ("middle right", "top left")
