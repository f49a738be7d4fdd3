"""Figures of the check: intervals against their formulas, bars in both directions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mmh_core.cli.tables import check_table
from mmh_core.pocket.assets import read_world
from mmh_core.pocket.calibration import captions_of, held_out_sample
from mmh_core.pocket.cast import named_subjects
from mmh_core.pocket.figures import Check, Row, share
from mmh_core.pocket.trials import open_captions
from mmh_core.statistics.intervals import share_interval

POCKET = Path(__file__).parents[2] / "assets" / "pocket-sd"


def test_a_share_has_its_exact_interval() -> None:
    row = share("copies", np.arange(100) < 90, 0.9, "least")
    exact = share_interval(90, 100)
    assert (row.value, row.low, row.high, row.count) == (0.9, exact.low, exact.high, 100)


@pytest.mark.parametrize(
    ("value", "bound", "short"),
    [
        (0.90, "least", False),
        (0.8999, "least", True),
        (0.03, "most", False),
        (0.0301, "most", True),
        (math.nan, "least", True),
        (math.nan, "most", True),
        (0.0, "none", False),
    ],
)
def test_a_row_is_short_only_beyond_its_bar(value: float, bound: str, short: bool) -> None:
    bar = 0.03 if bound == "most" else 0.9
    row = Row("figure", value, math.nan, math.nan, bar, bound, 7)  # type: ignore[arg-type]
    assert row.short is short
    assert Check((row,)).short == ((row,) if short else ())


def test_the_table_says_which_row_is_short() -> None:
    rows = (
        Row("good", 0.95, 0.9, 0.99, 0.9, "least", 1000),
        Row("bad", 0.5, math.nan, math.nan, 0.03, "most", 8),
        Row("told", 0.5, 0.4, 0.6, 0.0, "none", 8),
    )
    lines = check_table(Check(rows)).splitlines()[2:]
    assert lines == [
        "| good | at least 0.9 | 0.950 | 0.900 to 0.990 | 1,000 | holds |",
        "| bad | at most 0.03 | 0.500 | - | 8 | SHORT |",
        "| told | - | 0.500 | 0.400 to 0.600 | 8 |  |",
    ]


def test_halves_of_captions_share_no_subject_and_cover_the_cast() -> None:
    first, second = (captions_of(0, half) for half in ("calibration", "test"))
    assert not set(first.subject) & set(second.subject)
    assert set(first.subject) | set(second.subject) == {s.id for s in named_subjects(0)}
    assert captions_of(0, None).subject.is_unique


def test_calibration_and_check_hold_out_different_images() -> None:
    world = read_world(POCKET)
    (even, lid), (odd, _) = (held_out_sample(world, parity=p, count=40) for p in (0, 1))
    assert (even % 2 == 0).all()
    assert (odd % 2 == 1).all()
    labels = world.held_out_labels
    assert lid.tolist() == labels.lid[even].tolist()
    assert set(labels.kind[even]) == {"open", "varied", "template"}


def test_open_captions_are_drawn_anew_for_each_seed() -> None:
    assert open_captions(20, 1).equals(open_captions(20, 1))
    assert set(open_captions(20, 1).caption) != set(open_captions(20, 2).caption)
    assert open_captions(20, 1).subject.nunique() == 5
