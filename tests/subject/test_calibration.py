"""The one file of a calibration: it comes back whole, is updated in parts, or is refused."""

from __future__ import annotations

import json
import threading
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmh_core.memorization.cause_calibration import CauseCalibration
from mmh_core.records import MMHError
from mmh_core.store.archive import save_record
from mmh_core.subject.calibration import (
    FILE,
    OLDER_FILES,
    VERSION,
    Calibration,
    calibration_beside,
    image_calibration,
    read_calibration,
    update_calibration,
    write_calibration,
)
from mmh_core.subject.subject import open_calibration, open_subject
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.weights import digest
from tests.store.test_archive import same

POCKET = Path(CATALOGUE["pocket-sd"].source)
PARTS = ("reference_prompts", "early", "detectors", "copy_thresholds", "lid_noise_scale", "cause")
ABOUT = ("model", "sha256", "sampling", "version")


@pytest.fixture(scope="module")
def shipped() -> Calibration:
    return read_calibration(POCKET / FILE)


def part(whole: Calibration, *names: str) -> Calibration:
    """Return a calibration with some of its parts alone."""
    return replace(whole, **{name: None for name in PARTS if name not in names})


def test_the_shipped_file_has_every_part_of_one_model_and_sampling(shipped: Calibration) -> None:
    assert {field.name for field in fields(shipped)} == {*PARTS, *ABOUT}
    assert all(getattr(shipped, name) is not None for name in (*PARTS, "sampling"))
    assert shipped.reference_prompts is not None and shipped.detectors is not None
    assert shipped.early is not None and len(shipped.early.prompts) == 200
    assert shipped.detectors.early_scan is shipped.early
    samplings = {one.sampling for one in (shipped, shipped.reference_prompts, shipped.detectors)}
    assert len(samplings) == 1
    assert {path.name for path in POCKET.iterdir()}.isdisjoint({*OLDER_FILES, "cause.json"})
    listed = json.loads((POCKET / "manifest.json").read_text())["files"]
    assert listed[FILE] == digest(POCKET / FILE)
    scale = image_calibration(POCKET).lid_noise_scale
    best = max(range(len(scale.deltas)), key=lambda i: scale.auc[i] + scale.rank[i])
    assert scale.log_delta == torch.tensor(scale.deltas[best], dtype=torch.float64).log().item()


def test_a_calibration_comes_back_bit_for_bit_and_the_early_scan_is_kept_once(
    shipped: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    write_calibration(path, shipped)
    again = read_calibration(path)
    assert same(again, shipped) and again.detectors is not None
    assert again.detectors.early_scan is again.early
    # Half as large again, were the early scan in it twice.
    save_record(tmp_path / "twice.safetensors", shipped)
    assert path.stat().st_size < (tmp_path / "twice.safetensors").stat().st_size
    write_calibration(tmp_path / "again.safetensors", again)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_replaced_and_the_others_stay(
    shipped: Calibration, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "c.safetensors"
    others = [each for each in PARTS if each != name]
    update_calibration(path, part(shipped, *others))
    assert getattr(read_calibration(path), name) is None
    assert same(update_calibration(path, part(shipped, name)), shipped)
    assert same(read_calibration(path), shipped)
    # What is not given stays.
    assert same(update_calibration(path, part(shipped)), shipped)


def test_writers_at_once_lose_no_part(shipped: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    threads = [
        threading.Thread(target=update_calibration, args=(path, part(shipped, name)))
        for name in PARTS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(read_calibration(path), shipped)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_other_weights_and_another_sampling_are_not_mixed(
    shipped: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    write_calibration(path, part(shipped, "cause"))
    before = path.read_bytes()
    assert shipped.sampling is not None
    for change, sentence in (
        ({"sha256": "1" * 64, "model": "another"}, "with other weights than another"),
        (
            {"sampling": replace(shipped.sampling, windows=2)},
            "the new part for .* 2 context windows",
        ),
    ):
        with pytest.raises(MMHError, match=sentence):
            update_calibration(path, replace(part(shipped, "lid_noise_scale"), **change))
        assert path.read_bytes() == before


def test_an_early_scan_that_the_kept_detectors_do_not_go_with_is_refused(
    shipped: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    write_calibration(path, shipped)
    assert shipped.early is not None
    other = replace(part(shipped), early=replace(shipped.early, high=0.9))
    with pytest.raises(MMHError, match="make both anew, with calibrate --all"):
        update_calibration(path, other)
    # At the same times, on other prompts: the combined score alone was fitted with another.
    fewer = replace(
        shipped.early, prompts=shipped.early.prompts[:50], columns=shipped.early.columns[:50]
    )
    found = update_calibration(path, replace(part(shipped), early=fewer))
    assert found.detectors is not None and found.detectors.combined is None
    assert "The combined score is left out" in found.detectors.left_out[0]
    # Made anew again, the sentence stands.
    found = update_calibration(path, replace(part(shipped), early=shipped.early))
    assert found.detectors is not None and len(found.detectors.left_out) == 1


@pytest.mark.parametrize("version", [0, VERSION + 1, None, 10**15])
def test_another_version_is_refused_with_the_command_that_makes_a_new_one(
    shipped: Calibration, version: Any, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    # Whatever other fields a later version has.
    later = make_dataclass("Calibration", ["version", "unheard_of"], frozen=True)
    for record in (later(version, 1), replace(shipped, version=version)):
        save_record(path, record)
        with pytest.raises(MMHError, match=f"of version {version}.* reads version 1") as caught:
            read_calibration(path)
        assert "calibrate TABLE --all --model MODEL --out" in str(caught.value)


def test_parts_that_earlier_versions_kept_are_refused(
    shipped: Calibration, tmp_path: Path
) -> None:
    assert shipped.early is not None
    save_record(tmp_path / OLDER_FILES[0], shipped.early)
    for place in (tmp_path, tmp_path / OLDER_FILES[0]):
        with pytest.raises(MMHError, match=r"Make a new one with `.* --model MODEL --out"):
            read_calibration(place)
    with pytest.raises(MMHError, match=r"version in early_scan.safetensors.*: remove it"):
        calibration_beside(tmp_path)
    save_record(tmp_path / OLDER_FILES[1], shipped.early)
    with pytest.raises(MMHError, match=r"early_scan.safetensors, detectors.*: remove them"):
        calibration_beside(tmp_path)
    (tmp_path / "world.json").write_text("{}")
    with pytest.raises(MMHError, match=r"Build the model again with `.* pocket build`"):
        calibration_beside(tmp_path)
    # Beside a new one they are no matter.
    write_calibration(tmp_path / FILE, shipped)
    assert same(calibration_beside(tmp_path), shipped)
    assert calibration_beside(tmp_path / "nowhere") == Calibration()


def broken(shipped: Calibration) -> dict[str, Calibration]:
    """Return calibrations whose parts do not fit together, each for one reason."""
    early, detectors, reference = shipped.early, shipped.detectors, shipped.reference_prompts
    assert early is not None and detectors is not None and reference is not None
    assert shipped.lid_noise_scale is not None
    estimates = detectors.estimates
    strange = replace(estimates[0], name="unheard_of")
    short = replace(estimates[0], columns=estimates[0].columns[:, :1])
    nan = float("nan")
    return {
        "weights": replace(shipped, early=replace(early, sha256="0" * 64)),
        "prompts": replace(shipped, early=replace(early, prompts=early.prompts[:-1])),
        "seeds": replace(shipped, early=replace(early, seeds=(0,))),
        "counted": replace(shipped, early=replace(early, memorized=torch.zeros(3))),
        "whole numbers": replace(shipped, early=replace(early, columns=early.columns.long())),
        "time": replace(shipped, early=replace(early, high=nan)),
        "names": replace(shipped, detectors=replace(detectors, estimates=(strange,))),
        "twice": replace(shipped, detectors=replace(detectors, estimates=estimates[:1] * 2)),
        "columns": replace(shipped, detectors=replace(detectors, estimates=(short,))),
        "lids": replace(shipped, reference_prompts=replace(reference, conditional=torch.zeros(1))),
        "curve": replace(shipped, reference_prompts=replace(reference, log_deltas=torch.ones(2))),
        "scale": replace(shipped, lid_noise_scale=replace(shipped.lid_noise_scale, log_delta=nan)),
        "cause": replace(shipped, cause=CauseCalibration(1.0, 3, ("a", "b"), torch.zeros(2, 3))),
    }


@pytest.mark.parametrize("reason", list(broken(read_calibration(POCKET / FILE))))
def test_parts_that_do_not_fit_together_are_refused(
    shipped: Calibration, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    write_calibration(path, broken(shipped)[reason])
    with pytest.raises(MMHError, match=r"The parts of the calibration .* do not fit together"):
        read_calibration(path)


def test_a_named_file_is_taken_whole_but_for_what_the_maker_alone_knows(
    shipped: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    assert same(open_calibration("pocket-sd"), shipped)
    write_calibration(path, part(shipped, "early"))
    found = open_calibration("pocket-sd", path)
    assert found.detectors is None and same(replace(found, detectors=shipped.detectors), shipped)
    # Nothing is taken from a model of other weights.
    other = part(shipped, "cause")
    write_calibration(path, replace(other, sha256="0" * 64))
    assert open_calibration("pocket-sd", path).reference_prompts is None


def test_the_named_calibration_of_another_model_is_refused(
    shipped: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    write_calibration(path, replace(part(shipped, "cause"), sha256="0" * 64, model="another"))
    sentence = "The calibration is of another with other weights than pocket-sd: calibrate this"
    with pytest.raises(MMHError, match=sentence):
        open_subject("pocket-sd", "cpu", calibration=path)


def test_a_manifest_lists_the_new_digest_of_a_file_that_it_lists(
    shipped: Calibration, tmp_path: Path
) -> None:
    path, manifest = tmp_path / FILE, tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"files": {FILE: "0" * 64, "other": "1" * 64}}))
    write_calibration(path, shipped)
    listed = {FILE: digest(path), "other": "1" * 64}
    assert json.loads(manifest.read_text()) == {"files": listed}
    # A file that nobody listed is not listed now.
    before = manifest.read_bytes()
    write_calibration(tmp_path / "own.safetensors", shipped)
    assert manifest.read_bytes() == before
