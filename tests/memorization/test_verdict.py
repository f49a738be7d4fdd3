"""Every verdict has one row, and whoever shows one reads it there."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import get_args

import pytest

from mmh_core.memorization.hypothesis import VERDICTS, VerdictLabel
from mmh_core.memorization.verdict import (
    IMAGE_ROWS,
    IMAGE_VERDICTS,
    POINT_ROWS,
    REVIEW_ROWS,
    ImageVerdict,
    most_severe,
)
from mmh_core.report.images import image_report
from mmh_core.retrieval.copy_evidence import COPIES, CopyKind, copied, copy_rate, is_copy
from mmh_core.store.review_records import REVIEW_VERDICTS
from mmh_core.studies.review.items import KINDS, gravest, kinds
from mmh_core.studies.review.scan_rows import run_figures
from tests.drawn_runs import drawn_run

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for folder in ("mmh_core", "views", "pages") for path in (ROOT / folder).rglob("*.py")
]


def test_every_verdict_has_exactly_one_row() -> None:
    assert set(IMAGE_ROWS) == set(get_args(ImageVerdict)) == set(IMAGE_VERDICTS)
    assert set(POINT_ROWS) == set(VERDICTS) == set(get_args(VerdictLabel))
    assert set(REVIEW_ROWS) == {*REVIEW_VERDICTS, None}


def test_no_two_verdicts_of_one_vocabulary_share_severity_or_sign() -> None:
    for rows in (IMAGE_ROWS.values(), REVIEW_ROWS.values()):
        assert len({row.severity for row in rows}) == len({row.sign for row in rows}) == len(rows)
        assert len({row.symbol for row in rows}) == len(rows)
    points = POINT_ROWS.values()
    assert len({row.severity for row in points}) == len({row.symbol for row in points}) == 7


def test_a_sign_means_one_thing_in_all_vocabularies() -> None:
    for verdict, row in REVIEW_ROWS.items():
        for other, its in IMAGE_ROWS.items():
            if verdict == other:
                assert row == its
            elif row.sign == its.sign:
                # No verdict yet, of a person and of the app.
                assert (verdict, other) == (None, "not read yet")
    for verdict in ("not memorized", "memorized, cause not identifiable"):
        assert POINT_ROWS[verdict].color == IMAGE_ROWS[verdict].color
        assert POINT_ROWS[verdict].symbol == IMAGE_ROWS[verdict].symbol


def test_what_is_memorized_is_more_severe_than_what_is_unknown_and_that_than_what_is_not() -> None:
    def severities(memorized: bool | None) -> list[int]:
        return [row.severity for row in IMAGE_ROWS.values() if row.memorized is memorized]

    unknown = [row.severity for row in IMAGE_ROWS.values() if row.tone == "unknown"]
    assert min(severities(True)) > max(unknown) > min(unknown) > max(severities(False))
    assert all(row.memorized is None for row in IMAGE_ROWS.values() if row.tone == "unknown")
    assert [name for name, row in IMAGE_ROWS.items() if row.tone == "free"] == ["not memorized"]


def test_scan_review_and_table_name_the_same_image_whatever_the_order() -> None:
    run = drawn_run()
    for verdicts in permutations(IMAGE_VERDICTS, 2):
        mine = tuple(
            replace(run.images[3], index=i, verdict=verdict) for i, verdict in enumerate(verdicts)
        )
        worst = max(verdicts, key=lambda verdict: IMAGE_ROWS[verdict].severity)
        assert most_severe(verdicts) == worst == gravest(mine).verdict
        assert run_figures(replace(run, images=mine))["verdict"] == worst


def test_a_memorized_image_is_never_shown_as_one_that_cannot_be_judged() -> None:
    run = drawn_run()
    memorized = replace(
        run.images[0], copy=None, verdict="memorized, cause not identifiable", cause=None
    )
    unknown = replace(run.images[1], copy=None, verdict="cannot be judged", cause=None)
    for order in ((memorized, unknown), (unknown, memorized)):
        assert gravest(order) is memorized
        assert kinds(gravest(order)) == {"kind": "not searched", "cause": "not identifiable"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_has_an_order_or_signs_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "_GRAVITY" not in text and "_GRAVEST" not in text
    if path == ROOT / "mmh_core" / "memorization" / "verdict.py":
        return
    signs = {row.sign for row in IMAGE_ROWS.values()} - {"…"}
    for line in text.splitlines():
        assert not (any(sign in line for sign in signs) and '"' in line and "copy" in line)
    if path.name not in ("copy_search.py", "color_search.py", "verdict.py", "copy_evidence.py"):
        # A kind that is not "none" is no copy yet: `is_copy`, `copied` and `copy_rate` tell.
        assert not re.search(r'kinds?(\[\w+\])? != "none"', text)


@pytest.mark.parametrize("kind", get_args(CopyKind))
def test_every_kind_of_copy_is_counted_and_named(kind: CopyKind) -> None:
    assert KINDS.get(kind)
    assert is_copy(kind) == (kind in COPIES) == (copied(kind) == 1)
    unknown = kind in ("likely", "unknown", "flat")
    assert (copied(kind) != copied(kind)) == unknown
    # What cannot be judged counts neither as a copy nor as none.
    rate = copy_rate((kind, "exact"))
    assert rate == (1.0 if unknown or is_copy(kind) else 0.5)
    assert (copy_rate((kind,)) != copy_rate((kind,))) == unknown


def test_the_reports_style_knows_every_tone() -> None:
    text = image_report(drawn_run(), "./mmh images")
    for row in (*IMAGE_ROWS.values(), *REVIEW_ROWS.values()):
        assert f".{row.tone} {{ --tone: var(--{row.tone}); }}" in text
