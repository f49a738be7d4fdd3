"""The table of verdicts, row by row: not to find a copy is never to find that there is none."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from mmh_core.memorization.hypothesis import whole_percent
from mmh_core.memorization.verdict import IMAGE_ROWS, ImageVerdict
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.studies.images.verdict import VERDICTS, LidState, lid_state, verdict_of
from mmh_core.subject.copies import ImageCopyEvidence
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.text_to_image.requests import Sampling

NAN = math.nan
#: A LID with its percentile for each state.
LIDS: dict[LidState, list[ImageLid | None]] = {}


def among(lid: float, error: float, values: list[float], prompts: int = 26) -> ImageLid:
    """Return a reading of 8 probes, placed among reference images."""
    names = tuple(str(i % prompts) for i in range(len(values)))
    unplaced = replace(reading(lid, NAN), conditional_error=error, probes=8)
    normal = ReferencePrompts(
        *("m", "", Sampling(5, 2.0, 8, 8), -0.5, torch.zeros(1), names),
        conditional=torch.tensor(values),
        unconditional=torch.tensor(values),
        guidance_norm=torch.zeros(len(values), 5),
        curve=torch.zeros(len(values), 1),
    )
    return normal.with_percentile(unplaced)


#: The LIDs of 200 reference images, 10 to 29.9.
NORMALS = [10 + 0.1 * i for i in range(200)]


def reading(lid: float, percentile: float) -> ImageLid:
    return ImageLid("soft_spectral_count", "", -0.5, lid, 0.1, lid, 0.1, percentile, 12.0)


LIDS = {
    "low": [reading(-0.04, 0.0), reading(3.0, 0.0099), among(9.0, 0.1, NORMALS)],
    "edge": [among(9.1, 1.5, NORMALS), among(11.0, 1.5, NORMALS), among(12.0, 0.1, NORMALS[20:])],
    "above": [among(107.0, 3.0, NORMALS), among(31.0, 0.1, NORMALS)],
    "usual": [reading(18.0, 0.01), reading(40.0, 1.0), among(30.0, 1.0, NORMALS)],
    "not calibrated": [reading(5.0, NAN), reading(-0.1, NAN), among(1.0, 0.1, NORMALS[:49])],
    "unknown": [None, reading(NAN, NAN), reading(math.inf, NAN), reading(NAN, 0.4)],
}
#: The whole table, written out once more: what the search says, then by the six states of LID.
MEMORIZED, UNJUDGED = "memorized, cause not identifiable", "cannot be judged"
TABLE: dict[CopyKind | None, tuple[ImageVerdict, ...]] = {
    "exact": ("exact copy",) * 6,
    "template": ("template copy",) * 6,
    "likely": ("likely copy, compare by eye",) * 6,
    "none": (
        "suspicious, no copy found",
        UNJUDGED,
        "not memorized",
        UNJUDGED,
        "no copy found, LID not calibrated",
        UNJUDGED,
    ),
    "unknown": (MEMORIZED, *(UNJUDGED,) * 5),
    "flat": (UNJUDGED,) * 6,
    None: (MEMORIZED, *(UNJUDGED,) * 5),
}
ROWS = [
    (kind, state, verdict)
    for kind, row in TABLE.items()
    for state, verdict in zip(get_args(LidState), row, strict=True)
]


def copy(kind: CopyKind | None) -> ImageCopyEvidence | None:
    if kind is None:
        return None
    return ImageCopyEvidence(kind, f"What was found: {kind}.", 3, 0.5, NAN, NAN, 1, 0, NAN, 0, 0.9)


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
        if state in ("low", "edge", "usual", "above"):
            assert " reference images" in reason
        if state == "unknown":
            assert "could not be estimated" in reason or "not finite" in reason
        if state == "not calibrated":
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


@pytest.mark.parametrize("offset", [-2.9, -1.0, -0.2, 0.0, 0.2, 1.0, 2.9])
@pytest.mark.parametrize("kind", [None, "none", "unknown"])
def test_a_lid_whose_interval_holds_the_level_decides_nothing(
    kind: CopyKind | None, offset: float
) -> None:
    # The second lowest of 200 is the level; 2.365 is Student's t of 8 values.
    lid = among(10.1 + offset, 3 / 2.365, NORMALS)
    verdict, reason = verdict_of(copy(kind), lid, guided=True)
    assert (lid_state(lid), verdict) == ("edge", UNJUDGED)
    low, high = lid.interval
    assert f"{low:.1f} to {high:.1f}, contains the threshold" in reason


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_normal_images_without_a_number_do_not_count(bad: float) -> None:
    lid = among(5.0, 0.1, [bad] * 78)
    assert lid.reference_images == 0 and lid_state(lid) == "not calibrated"
    assert verdict_of(None, lid, guided=True)[0] == UNJUDGED
    mixed = among(12.0, 0.1, [bad, *NORMALS])
    assert (mixed.reference_images, mixed.percentile) == (
        200,
        among(12.0, 0.1, NORMALS).percentile,
    )
    assert (mixed.threshold, mixed.highest_reference) == pytest.approx((10.1, 29.9))


@pytest.mark.parametrize("count", [1, 2, 3, 20, 49])
def test_few_normal_images_calibrate_nothing(count: int) -> None:
    lid = among(5.0, 0.1, NORMALS[:count])
    verdict, reason = verdict_of(None, lid, guided=True)
    assert verdict == UNJUDGED and f"{count} reference image" in reason and "too few" in reason


@pytest.mark.parametrize(
    ("lid", "place"),
    [
        (5.0, "is at or below that of all 200 reference images of 26 prompts"),
        (10.0, "is at or below that of all 200 reference images of 26 prompts"),
        (10.05, "is above that of 1 of 200 reference images of 26 prompts"),
        (29.85, "is above that of 199 of 200 reference images of 26 prompts"),
        (40.0, "is above that of all 200 reference images of 26 prompts"),
    ],
)
def test_places_are_counts(lid: float, place: str) -> None:
    assert place in verdict_of(None, among(lid, 0.001, NORMALS), guided=True)[1]


def test_shares_are_never_rounded_to_none_or_all() -> None:
    shares = (0.0, 1e-9, 0.004, 0.01, 0.5, 0.99, 0.995, 0.99999, 1.0)
    told = ["0%", "less than 1%", "less than 1%", "1%", "50%", "99%"]
    assert [whole_percent(share) for share in shares] == [*told, *["more than 99%"] * 2, "100%"]


@pytest.mark.parametrize("state", get_args(LidState))
def test_a_flat_image_is_not_judged_without_a_search_either(state: LidState) -> None:
    for lid in LIDS[state]:
        verdict, reason = verdict_of(None, lid, guided=True, flat=True)
        assert verdict == UNJUDGED and "One color" in reason
