"""A check of a tiny build: measured item by item, resumed, and printed beside its bars."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmh_core.pocket.figures import Row
from mmh_core.pocket.second.check import check_second
from mmh_core.pocket.second.generated import ImageCounts, read_sheet, write_sheet
from mmh_core.pocket.second.inspection import PACKED, Inspection
from mmh_core.pocket.second.kept import KeptMeasurement, pack, unpack
from mmh_core.pocket.second.network_figures import network_rows, own_shares, part_rows
from mmh_core.pocket.second.pairs import (
    agreement_of,
    chosen_pairs,
    disagreement_row,
    judged,
    write_pairs,
)
from mmh_core.pocket.second.plan import STAGES, TINY
from mmh_core.pocket.second.searched import CHANGES
from mmh_core.pocket.second.stages import run_stage
from mmh_core.pocket.second.training import SHIPPED, Workshop
from mmh_core.records import MMHError
from tests.pocket.second.tiny_build import write_truth

CPU = torch.device("cpu")
CONFIG = replace(TINY, measured=0, rows=400)
COUNTS = ImageCounts(
    seeds=2, other_seeds=1, other_captions=1, negatives=2, recognized=8, scale_captions=4,
    held_out=1, open_images=2, bayes_images=0, captions=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny build with two denoisers."""
    work = tmp_path_factory.mktemp("build") / "work"
    for stage in STAGES:
        if not stage.startswith("small") and stage not in ("denoiser-2", "assembly"):
            for _ in run_stage(CONFIG, stage, work, device=CPU):
                pass
    write_truth(Workshop(CONFIG, work, CPU))
    return work


def inspected(work: Path) -> Inspection:
    """Return the inspection of a tiny build."""
    return Inspection(Workshop(CONFIG, work, CPU), COUNTS)


def rows_of(work: Path) -> dict[str, Row]:
    """Return the rows of networks, descriptor and CLIP by figure, the first of equal ones."""
    inspection = inspected(work)
    held_out = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    rows = [*network_rows(inspection), *part_rows(inspection.shop, held_out)]
    return {row.figure: row for row in reversed(rows)}


def times(work: Path) -> list[int]:
    """Return when the records of generated images were written, in order."""
    return sorted(path.stat().st_mtime_ns for path in work.glob("check/images-*/*.json"))


BARRED = (
    "copies of training images, captions with 1 copy",
    "copies of training images, captions with 128 copies",
    "disagreement of search and eye on 200 pairs",
    "cause from the training set and the model, balanced accuracy",
    "partial rank correlation of LID with LID* within kind and painter",
    "mean error of LID on open held-out images, absolute",
    "ratio of denoising to Bayes error at the calibrated noise scale",
)


def test_a_stopped_check_goes_on_where_it_was_and_prints_every_bar(built: Path) -> None:
    steps = check_second(CONFIG, built, device=CPU, minutes=0.0, counts=COUNTS)
    # Without time nothing is measured, and the rows begin.
    assert [next(steps).message for _ in range(2)] == [
        "Measuring networks", "Classifying captions by their words",
    ]  # fmt: skip
    first = rows_of(built)
    # Nothing but the seven demands on networks, and that there is one network too few.
    assert {figure for figure in BARRED if first[figure].short} == set(BARRED)
    assert first["denoisers trained on the whole set"].value == 2
    inspection = inspected(built)
    for words, done, _ in inspection.run():
        if words.startswith("Generating") and done == 3:
            break
    kept = times(built)
    assert len(kept) == 3
    rest = list(inspected(built).run())
    assert rest[0][1:] == (4, 17)
    assert times(built)[:3] == kept
    # All is measured: nothing is left to run.
    assert list(inspected(built).run()) == []
    rows = rows_of(built)
    for figure in BARRED[4:6]:
        assert not math.isnan(rows[figure].value), figure
    assert rows[BARRED[4]].count == 12
    assert rows["search: training images recognized through the autoencoder, flip"].count == 8
    assert rows["calibrated noise scale of LID"].value in (
        pytest.approx(0.23), pytest.approx(0.34), pytest.approx(0.5), pytest.approx(0.75),
        pytest.approx(1.1),
    )  # fmt: skip
    assert rows["tiny CLIP: held-out caption among 50, recall at 1"].count == 400
    assert rows["copy descriptor: least AUC"].value == min(
        row.value for figure, row in rows.items() if figure.startswith("copy descriptor under")
    )


def test_a_killed_choice_of_the_scale_loses_one_item(built: Path) -> None:
    inspection = inspected(built)
    for measurement in inspection.calibrations():
        list(measurement.run())
    chosen, lids = inspection.scale, inspection.scale_lids
    assert len(lids.items) == 5 * len(inspection.scale_images.items) >= 15
    before = lids.of("0.5-others-0")
    (lids.folder / "0.5-others-0.json").unlink()
    (lids.folder / "1.1-held-out-0.json").unlink()
    again = inspected(built)
    assert math.isnan(again.log_delta)
    steps = [step for measurement in again.calibrations() for step in measurement.run()]
    count = len(lids.items)
    assert steps == [(count - 1, count), (count, count)]
    # Probes are those of each image: what is measured again is what was measured.
    after = again.scale_lids.of("0.5-others-0")
    assert after.lid.tolist() == pytest.approx(before.lid.tolist())
    assert again.scale.log_delta == chosen.log_delta


def test_pairs_are_written_blind_answered_and_judged(built: Path, tmp_path: Path) -> None:
    inspection = inspected(built)
    list(inspection.run())
    *sheets, answers = write_pairs(inspection, tmp_path / "pairs", 10)
    lines = answers.read_text().splitlines()
    assert [path.name for path in sheets] == ["pairs-01.png"]
    assert lines[0] == "pairs,pair,same"
    assert len(lines) == 11
    key = json.loads((built / "check" / "pairs.json").read_text())
    assert not any(word in answers.read_text() for word in ("copy", "True", "False"))
    row = disagreement_row(inspection)
    assert row.short
    assert math.isnan(row.value)
    # The person disagrees with the search on the first two pairs.
    texts = [verdict != (i < 2) for i, verdict in enumerate(key["copied"])]
    filled = [
        f"{line}{'Yes' if same else 'no'}" for line, same in zip(lines[1:], texts, strict=True)
    ]
    answers.write_text("\n".join([lines[0], *filled[:9], lines[10]]) + "\n")
    result = judged(built, answers)
    assert (result.answered, result.unanswered) == (9, 1)
    assert result.missed + result.wrong == 2
    assert disagreement_row(inspection).short
    answers.write_text("\n".join([lines[0], *filled]) + "\n")
    judged(built, answers)
    row = disagreement_row(inspection)
    assert (row.value, row.count) == (0.2, 10)
    assert row.low == pytest.approx(0.02521, abs=1e-5)
    assert row.high == pytest.approx(0.55610, abs=1e-5)
    for text, sentence in (
        (answers.read_text().replace("Yes", "maybe"), "write yes or no"),
        (answers.read_text().replace(key["name"], "00000000"), "other pairs"),
        ("pair\n1\n", "cannot be read as answers"),
        (lines[0] + "\n", "one set of pairs"),
    ):
        if "maybe" in sentence or text != answers.read_text():
            wrong = tmp_path / "wrong.csv"
            wrong.write_text(text)
            with pytest.raises(MMHError, match=sentence):
                judged(built, wrong)


def test_pairs_need_generated_images(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="No images are generated yet"):
        write_pairs(inspected(tmp_path), tmp_path / "pairs")


def test_pairs_are_drawn_at_random_and_captions_come_once() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.random(3_000)
    images = pd.DataFrame(
        {"caption": np.arange(3_000) // 4, "similarity": similarity, "copied": similarity > 0.6}
    )
    table = chosen_pairs(images, 200)
    assert len(table) == 200
    assert table.caption.is_unique
    # As many copies as among all images, but for chance.
    assert abs(table.copied.mean() - images.copied.mean()) < 4 * (0.24 / 200) ** 0.5
    assert chosen_pairs(images, 200).equals(table)
    assert not chosen_pairs(images, 200, seed=1).equals(table)
    assert len(chosen_pairs(images.head(40), 200)) == 10


def test_the_agreement_counts_both_kinds_of_error() -> None:
    result = agreement_of(
        [True, True, False, False, True], {1: True, 2: False, 3: True, 4: True, 5: None}
    )
    assert (result.missed, result.wrong, result.answered, result.unanswered) == (2, 1, 4, 1)
    assert result.disagreement.value == 0.75


def test_a_measurement_keeps_each_item_once(tmp_path: Path) -> None:
    measured: list[str] = []

    def measure(item: str) -> list[dict[str, object]]:
        measured.append(item)
        return [{"item": item, "value": float("nan")}]

    three = KeptMeasurement("", tmp_path / "m", ("a", "b", "c"), measure)
    assert list(three.run(deadline=0.0)) == []
    assert next(three.run()) == (1, 3)
    assert three.left == ("b", "c")
    assert list(three.run()) == [(2, 3), (3, 3)]
    assert measured == ["a", "b", "c"]
    assert three.table().item.tolist() == ["a", "b", "c"]
    assert three.complete


def test_what_is_measured_comes_back_on_another_machine(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    three = KeptMeasurement("", here / "m", ("a", "b"), lambda item: [{"item": item}])
    list(three.run())
    write_sheet(here / "m" / "a.webp", np.zeros((1, 64, 64, 3), np.uint8))
    assert pack((here / "m").iterdir(), here, tmp_path / "check.zip") == 2
    first = (tmp_path / "check.zip").read_bytes()
    assert pack((here / "m").iterdir(), here, tmp_path / "check.zip") == 2
    assert (tmp_path / "check.zip").read_bytes() == first
    (there / "m").mkdir(parents=True)
    (there / "m" / "b.json").write_text('[{"item": "own"}]')
    unpack(tmp_path / "check.zip", there, "other")
    assert not (there / "m" / "a.json").exists()
    unpack(tmp_path / "check.zip", there, "m")
    again = KeptMeasurement("", there / "m", ("a", "b"), three.measure)
    assert again.complete
    # What is measured here already stands.
    assert again.table().item.tolist() == ["a", "own"]
    unpack(tmp_path / "missing.zip", there, "m")
    with zipfile.ZipFile(tmp_path / "check.zip", "a") as packed:
        packed.writestr("../out.json", "[]")
    with pytest.raises(ValueError, match="is no measurement"):
        unpack(tmp_path / "check.zip", there, "..")
    assert not (tmp_path / "out.json").exists()


def test_all_that_is_shipped_of_the_check_is_read(tmp_path: Path) -> None:
    path = SHIPPED / PACKED
    with zipfile.ZipFile(path) as packed:
        names = packed.namelist()
    for part in {name.partition("/")[0] for name in names}:
        unpack(path, tmp_path, part)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert sorted(file.relative_to(tmp_path).as_posix() for file in files) == sorted(names)


@pytest.mark.parametrize("item", [*CHANGES, "small-100", "0.35-b"])
def test_names_of_items_are_read_back(item: str, tmp_path: Path) -> None:
    measured = KeptMeasurement("", tmp_path / "here" / "m", (item,), lambda each: [{"a": each}])
    list(measured.run())
    pack((tmp_path / "here" / "m").iterdir(), tmp_path / "here", tmp_path / "check.zip")
    unpack(tmp_path / "check.zip", tmp_path / "there", "m")
    assert KeptMeasurement("", tmp_path / "there" / "m", (item,), measured.measure).complete


def test_sheets_give_images_back(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    write_sheet(tmp_path / "sheet.webp", images)
    np.testing.assert_array_equal(read_sheet(tmp_path / "sheet.webp", [4, 0]), images[[4, 0]])


def test_the_descriptor_s_shares_average_to_its_auc() -> None:
    from mmh_core.pocket.descriptor import copy_auc

    generator = torch.Generator().manual_seed(0)
    originals = torch.nn.functional.normalize(torch.randn(30, 4, generator=generator), dim=1)
    noise = torch.randn(30, 4, generator=generator)
    copies = torch.nn.functional.normalize(originals + 0.5 * noise, dim=1)
    shares = own_shares(copies, originals)
    # Not the pooled area: each image is compared with the others by its own similarity.
    assert 0.8 < float(shares.mean()) < 1
    assert abs(float(shares.mean()) - copy_auc(copies, originals)) < 0.05
    assert own_shares(originals, originals).tolist() == [1.0] * 30
    assert own_shares(torch.zeros(3, 4), originals[:3]).tolist() == [0.5] * 3
