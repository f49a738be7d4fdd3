"""Every verdict has one row, and whoever shows one reads it there."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import get_args

import pytest

from mmh_core.memorization.cause import CAUSES, UNIDENTIFIED, cause_words
from mmh_core.memorization.hypothesis import VERDICTS, VerdictLabel
from mmh_core.memorization.verdict import (
    COPY_VERDICTS,
    IMAGE_ROWS,
    IMAGE_VERDICTS,
    OUTCOME_ROWS,
    POINT_ROWS,
    REVIEW_ROWS,
    ImageVerdict,
    OutcomeKind,
    most_severe,
)
from mmh_core.report.images import image_report
from mmh_core.retrieval.copy_evidence import COPIES, CopyKind, copied, copy_rate, is_copy
from mmh_core.store.review_records import REVIEW_VERDICTS
from mmh_core.studies.images.run import most_severe_image
from mmh_core.studies.mitigation.outcome import GOOD, ImageOutcome
from mmh_core.studies.mitigation.verdict import reasons_of
from mmh_core.studies.review.items import KINDS, kinds
from mmh_core.studies.review.scan_rows import run_figures
from tests.drawn_runs import drawn_run

ROOT = Path(__file__).parents[2]


def sources() -> dict[Path, str]:
    """Return the text of each module of the core and the app."""
    texts = {
        path: path.read_text(encoding="utf-8")
        for folder in ("mmh_core", "views", "pages")
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert len(texts) > 500
    return texts


def test_every_verdict_has_exactly_one_row() -> None:
    assert set(IMAGE_ROWS) == set(get_args(ImageVerdict)) == set(IMAGE_VERDICTS)
    assert set(POINT_ROWS) == set(VERDICTS) == set(get_args(VerdictLabel))
    assert set(REVIEW_ROWS) == {*REVIEW_VERDICTS, None}
    assert set(OUTCOME_ROWS) == set(get_args(OutcomeKind))


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
                # A reviewer says the same in words of their own.
                assert replace(row, sentence=its.sentence) == its
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
        assert most_severe(verdicts) == worst == most_severe_image(mine).verdict
        assert run_figures(replace(run, images=mine))["verdict"] == worst


def test_a_memorized_image_is_never_shown_as_one_that_cannot_be_judged() -> None:
    run = drawn_run()
    memorized = replace(
        run.images[0], copy=None, verdict="memorized, cause not identifiable", cause=None
    )
    unknown = replace(run.images[1], copy=None, verdict="cannot be judged", cause=None)
    for order in ((memorized, unknown), (unknown, memorized)):
        assert most_severe_image(order) is memorized
        found = kinds(most_severe_image(order))
        assert found == {"kind": "not searched", "cause": "not identifiable"}


def test_no_other_module_has_an_order_or_signs_of_its_own() -> None:
    signs = {row.sign for row in IMAGE_ROWS.values()} - {"…"}
    searches = ("copy_search.py", "color_search.py", "crop_search.py", "copy_evidence.py")
    for path, text in sources().items():
        assert "_GRAVITY" not in text and "_GRAVEST" not in text, path
        if path == ROOT / "mmh_core" / "memorization" / "verdict.py":
            continue
        for line in text.splitlines():
            has_sign = any(sign in line for sign in signs)
            assert not (has_sign and '"' in line and "copy" in line), path
        if path.name not in (*searches, "verdict.py"):
            # A kind that is not "none" is no copy yet: `is_copy`, `copied` and `copy_rate` tell.
            assert not re.search(r'kinds?(\[\w+\])? != "none"', text), path


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


def test_copies_are_the_verdicts_that_say_so_of_images_and_of_reviewers() -> None:
    assert COPY_VERDICTS == ("exact copy", "template copy")
    for verdict in COPY_VERDICTS:
        assert IMAGE_ROWS[verdict].memorized and REVIEW_ROWS[verdict].memorized
        assert verdict in KINDS.values()


def test_a_mitigation_passes_with_the_mildest_outcomes_only() -> None:
    order = sorted(OUTCOME_ROWS, key=lambda kind: -OUTCOME_ROWS[kind].severity)
    assert order == ["copy", "not solved", "subject lost", "unknown", "no copy", "solved"]
    assert set(GOOD) == set(order[-2:])
    # Worse outcomes are named first, and each has a frame that no other has.
    reasons = reasons_of([ImageOutcome(kind, kind) for kind in reversed(order)])
    assert [text.split(": ")[1] for text in reasons] == ["copies", *order[1:4]]
    frames = [row.frame for row in OUTCOME_ROWS.values() if row.frame]
    assert len(frames) == len(set(frames)) == 3
    assert OUTCOME_ROWS["copy"].outline == "outline: 2px solid #d55e00; outline-offset: 1px;"
    assert OUTCOME_ROWS["copy"].color == IMAGE_ROWS["exact copy"].color
    assert [row.outline for row in OUTCOME_ROWS.values() if not row.frame] == ["", "", ""]


def test_all_causes_have_words_and_nothing_else_has() -> None:
    assert list(CAUSES) == ["OD-Mem", "DD-Mem", "both"]
    assert cause_words("DD-Mem") == "the training data (DD-Mem)"
    for label in (UNIDENTIFIED, "not memorized", ""):
        assert cause_words(label) == label


def test_sentences_frames_and_causes_have_one_home() -> None:
    home = ROOT / "mmh_core" / "memorization"
    colors = {row.color for row in (*IMAGE_ROWS.values(), *POINT_ROWS.values())}
    for path, text in sources().items():
        if path.parent == home:
            continue
        for row in (*IMAGE_ROWS.values(), *REVIEW_ROWS.values()):
            assert row.sentence.rstrip(".") not in text, path
        # A frame or a border in the color of a verdict reads the color.
        for line in text.splitlines():
            has_color = any(color in line for color in colors)
            assert not (has_color and re.search("outline|border", line)), path
        assert '"OD-Mem"' not in text and '"DD-Mem"' not in text, path
