"""The table of verdicts, row by row: not to find a copy is never to find that there is none."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.studies.image_run import CopyFound, LidReading
from mmh_core.studies.image_verdict import VERDICTS, LidState, lid_state, verdict_of
from mmh_core.verdict_table import IMAGE_ROWS, ImageVerdict

NAN = math.nan
#: A LID with its percentile for each state.
LIDS: dict[LidState, list[LidReading | None]] = {}


def reading(lid: float, percentile: float) -> LidReading:
    return LidReading("soft_spectral_count", "", -0.5, lid, 0.1, lid, 0.1, percentile, 12.0)


LIDS = {
    "low": [reading(-0.04, 0.0), reading(3.0, 0.0099)],
    "usual": [reading(18.0, 0.01), reading(40.0, 1.0)],
    "not calibrated": [reading(5.0, NAN), reading(-0.1, NAN)],
    "unknown": [None, reading(NAN, NAN), reading(math.inf, NAN), reading(NAN, 0.4)],
}
#: The whole table, written out once more: what the search says, then by the four states of LID.
MEMORIZED, UNJUDGED = "memorized, cause not identifiable", "cannot be judged"
TABLE: dict[CopyKind | None, tuple[ImageVerdict, ...]] = {
    "exact": ("exact copy", "exact copy", "exact copy", "exact copy"),
    "template": ("template copy", "template copy", "template copy", "template copy"),
    "likely": ("likely copy, compare by eye",) * 4,
    "none": (
        "suspicious, no copy found",
        "not memorized",
        "no copy found, LID not calibrated",
        UNJUDGED,
    ),
    "unknown": (MEMORIZED, UNJUDGED, UNJUDGED, UNJUDGED),
    "flat": (UNJUDGED, UNJUDGED, UNJUDGED, UNJUDGED),
    None: (MEMORIZED, UNJUDGED, UNJUDGED, UNJUDGED),
}
ROWS = [
    (kind, state, verdict)
    for kind, row in TABLE.items()
    for state, verdict in zip(get_args(LidState), row, strict=True)
]


def copy(kind: CopyKind | None) -> CopyFound | None:
    if kind is None:
        return None
    return CopyFound(kind, f"What was found: {kind}.", 3, 0.5, NAN, NAN, 1, 0, NAN, 0, 0.9)


def test_the_table_has_all_rows() -> None:
    assert {(kind, state) for kind, state, _ in ROWS} == set(VERDICTS)
    assert {kind for kind, _ in VERDICTS} == {*get_args(CopyKind), None}
    assert set(LIDS) == set(get_args(LidState))


@pytest.mark.parametrize(("kind", "state", "verdict"), ROWS)
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("cut", ["", "and a very long end"])
def test_every_row(
    kind: CopyKind | None, state: LidState, verdict: ImageVerdict, guided: bool, cut: str
) -> None:
    for lid in LIDS[state]:
        assert lid_state(lid) == state
        found, reason = verdict_of(copy(kind), lid, guided=guided, cut=cut)
        # The end of a prompt that was not read acquits nobody; a finding stays.
        assert found == (UNJUDGED if cut and verdict == "not memorized" else verdict)
        assert ("not read by the text encoder" in reason) == bool(cut)
        # The reason says what is there and what is missing.
        assert (f"What was found: {kind}." in reason) == (kind is not None)
        if state in ("low", "usual"):
            assert "normal prompts" in reason or "every normal prompt" in reason
        if state == "unknown":
            assert "could not be estimated" in reason or "not finite" in reason
        if state == "not calibrated" and kind is not None:
            assert "not calibrated for these settings" in reason
        assert "nan" not in reason and "-0." not in reason


def test_not_memorized_needs_a_search_a_usual_lid_and_a_whole_prompt() -> None:
    acquitted = [key for key, verdict in VERDICTS.items() if verdict == "not memorized"]
    assert acquitted == [("none", "usual")]
    green = {name for name, row in IMAGE_ROWS.items() if row.tone == "free"}
    assert green == {"not memorized"}


def test_an_alarm_of_the_lid_is_lost_only_where_plainness_explains_it() -> None:
    for (kind, state), verdict in VERDICTS.items():
        if state == "low" and kind != "flat":
            assert IMAGE_ROWS[verdict].severity > IMAGE_ROWS["cannot be judged"].severity
