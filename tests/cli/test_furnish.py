"""The command that furnishes the shipped model anew goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmh_core.cli import furnish as cli_furnish
from mmh_core.cli.furnish import STAGES, furnish, run_stages
from mmh_core.cli.furnishing import Furnishing
from mmh_core.records import MMHError
from mmh_core.text_to_image.catalogue import CATALOGUE


def test_finished_stages_are_not_run_again_and_a_failed_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def stage(name: str, at: Furnishing) -> None:
        ran.append(name)
        if name == "normal" and ran.count("normal") == 1:
            raise MMHError("The disk is full: make room.")

    for name in STAGES:
        monkeypatch.setitem(STAGES, name, lambda at, name=name: stage(name, at))
    wanted = ("normal", "calibration", "early")
    at = Furnishing(Path(CATALOGUE["pocket-sd"].source).parent, tmp_path, "cpu")
    with pytest.raises(MMHError, match="disk is full"):
        run_stages(at, wanted)
    # In the order in which they need one another, whatever was written.
    assert ran == ["calibration", "normal"]
    run_stages(at, wanted)
    assert ran[2:] == ["normal", "early"]
    run_stages(at, wanted)
    assert len(ran) == 4
    # Marks of other weights do not count.
    (tmp_path / "early.done").write_text("0" * 64)
    furnish(stages=",".join(wanted), work=tmp_path, device="cpu")
    assert ran[4:] == ["early"]
    run_stages(at, ["early"], restart=True)
    assert ran[5:] == ["early"]


def test_an_unknown_stage_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="no stage 'photos': choose from calibration, normal"):
        furnish(stages="photos", work=tmp_path, device="cpu")


def test_the_stages_make_everything_that_stands_beside_the_model() -> None:
    assert list(STAGES)[:5] == ["calibration", "normal", "early", "cause", "detectors"]
    assert {"images", "mitigation", "review", "benchmark"} < set(STAGES)
    assert cli_furnish.__doc__ is not None
