"""The table of verdicts in the documentation is the one that decides."""

from __future__ import annotations

import re
from pathlib import Path

from mmh_core.memorization.verdict import IMAGE_VERDICTS
from mmh_core.studies.images.verdict import FEWEST_REFERENCE_IMAGES, VERDICTS
from mmh_core.subject.reference_prompts import SUSPICIOUS_BELOW

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_verdicts_is_the_one_that_decides() -> None:
    text = (DOCS / "explanation" / "verdict.md").read_text()
    heads, _, *rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    told = {
        (None if row[0] == "no training images" else row[0], state): verdict
        for row in rows
        for state, verdict in zip(heads[1:], row[1:], strict=True)
    }
    assert told == VERDICTS


def test_the_numbers_of_the_rule_are_named() -> None:
    text = (DOCS / "explanation" / "verdict.md").read_text()
    assert f"{1 - SUSPICIOUS_BELOW:.0%}".replace("%", " %") in text
    assert f"fewer than {FEWEST_REFERENCE_IMAGES}" in text


def test_every_verdict_is_explained_where_reports_are() -> None:
    text = (DOCS / "how-to" / "read-a-report.md").read_text()
    rows = set(re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE))
    assert set(IMAGE_VERDICTS) - {"not read yet"} <= rows
