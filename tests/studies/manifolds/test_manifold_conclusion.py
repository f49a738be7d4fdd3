"""What a run on a manifold shows in words: the counts are those of its record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmh_core.store.archive import load_record
from mmh_core.studies.manifolds.conclusion import conclusion, reproduced_points
from mmh_core.studies.manifolds.run import ManifoldRun

PRESETS = Path(__file__).parents[3] / "assets" / "manifolds"


def preset(name: str) -> ManifoldRun:
    return load_record(PRESETS / f"{name}.safetensors", ManifoldRun)


@pytest.mark.parametrize(
    ("name", "data", "cause", "typical"),
    [
        ("circle", "1.", "Overfitting causes it", False),
        ("circle-duplicates", "0, of all data 1.", "The data causes it", True),
        ("dd-exact", "0, of all data 2.", "The data causes it", True),
    ],
)
def test_copies_are_counted_with_their_lid_beside_that_of_the_data(
    name: str, data: str, cause: str, typical: bool
) -> None:
    run = preset(name)
    last = run.snapshots[-1]
    points, count = reproduced_points(run, last), int(last.generated.memorized.sum())
    copies = last.generated.memorized & (last.distance_ratio < 1 / 3) & (last.generated.lid < 0.5)
    assert points == len(set(last.nearest[copies].tolist())) > 0
    found = conclusion(run, last)
    assert found.finding == (
        f"The model reproduces {points} training point{'s' if points > 1 else ''}. {count} of "
        f"{len(last.generated.lid)} samples are memorized by LID: their median LID is 0, that of "
        f"the data there {data}"
    )
    assert found.recommendation.startswith(cause)
    assert "another seed" in found.certainty


def test_a_model_that_generalizes_has_a_bound_instead() -> None:
    run = preset("good-fit")
    found = conclusion(run, run.snapshots[-1])
    assert found.finding == (
        "None of 500 samples is memorized: their median LID is 2, that of the data 2."
    )
    # 1 - .025^(1 / 500), exact.
    assert "95 % interval of the share memorized 0 to 0.7 %" in found.certainty


def test_directions_of_the_network_itself_are_no_memorization() -> None:
    run = preset("good-fit")
    last = run.snapshots[-1]
    wider = replace(last, generated=replace(last.generated, lid=last.generated.lid + 2))
    assert "the network adds directions of its own" in conclusion(run, wider).finding


def test_where_the_fit_is_poor_nothing_is_claimed() -> None:
    run = preset("poor-fit")
    found = conclusion(run, run.snapshots[-1])
    assert "does not fit its data at step 24" in found.finding and "memorized" not in found.finding


def test_on_a_line_nearness_is_chance_and_no_point_is_called_reproduced() -> None:
    run = preset("od-line")
    found = conclusion(run, run.snapshots[-1])
    assert found.finding.startswith(
        "The model memorizes. 105 of 500 samples are memorized by LID: their median LID is 1,"
    )
