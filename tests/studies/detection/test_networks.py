"""Figures over networks and beside published ones, from files that the command writes."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from mmh_core.cli.output import write_json
from mmh_core.cli.tables import plain
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.records import MMHError
from mmh_core.report.detection_tables import published_table
from mmh_core.report.response_tables import network_table
from mmh_core.studies.detection.figures import row_figures
from mmh_core.studies.detection.labelled_prompts import read_labelled
from mmh_core.studies.detection.networks import NetworkRun, over_networks, read_network
from mmh_core.studies.detection.published import PUBLISHED
from tests.studies.detection.test_figures import TESTED, run_of


def written(folder: Path, number: int, shift: float = 0.0, **changes: object) -> Path:
    """Write the JSON of one network whose memorized prompts score `shift` higher."""
    run = run_of([[0.0, 1.0]] * len(TESTED))
    row = run.detectors[0]
    auc = replace(row.all, auc=row.all.auc - shift)
    run = replace(run, sha256=f"{number}" * 64, detectors=(replace(row, all=auc),))
    path = folder / f"{number}.json"
    write_json({**plain(run), "figures": row_figures(run), **changes}, path)
    return path


def test_json_keeps_the_names_of_its_fields() -> None:
    run = run_of()
    tree = plain(run)
    assert {"true_lid", "text"} <= set(tree)
    assert {"reference", "generation", "normal"} <= set(tree["detectors"][0])
    figures = plain(row_figures(run))[0]
    assert "by_fact" in figures and {"true", "false"} <= set(figures["groups"][0])
    assert {"share", "true", "false"} <= set(figures["realized"][0])


def test_mean_and_spread_are_over_networks(tmp_path: Path) -> None:
    read = [read_network(written(tmp_path, n, shift)) for n, shift in enumerate((0, 0.1, 0.3))]
    merged = over_networks(read)
    assert merged.networks is not None and not merged.missing
    (row,) = merged.networks.rows
    areas = [network.run.detectors[0].all.auc for network in read]
    assert row.auc.value == pytest.approx(statistics.mean(areas))
    assert row.deviation == pytest.approx(statistics.stdev(areas))
    assert (row.lowest, row.highest) == (pytest.approx(areas[2]), pytest.approx(areas[0]))
    assert row.networks == 3 and row.auc.low < row.auc.value < row.auc.high <= 1
    # Equal rates leave no interval of no width.
    assert row.fpr.value == 0 and row.fpr.high > 0.3
    assert (
        "Means over 3 networks (0.json, 1.json, 2.json)"
        in network_table(merged.networks).markdown()
    )
    # The rest is the run of the first network, and a merged file is not merged again.
    assert merged.sha256 == read[0].run.sha256
    with pytest.raises(MMHError, match="holds several networks already"):
        over_networks([NetworkRun("merged.json", merged), read[1]])


def test_what_is_no_repetition_is_refused(tmp_path: Path) -> None:
    one, same = written(tmp_path, 1), written(tmp_path, 2)
    with pytest.raises(MMHError, match="two networks or more"):
        over_networks([read_network(one)])
    with pytest.raises(MMHError, match="are of the same network"):
        over_networks([read_network(one), read_network(one)])
    others = tuple(replace(prompt, prompt=f"{prompt.prompt}!") for prompt in run_of().prompts)
    for change in ({"seeds": [5]}, {"prompts": others}):
        other = read_network(written(tmp_path, 3, **change))
        with pytest.raises(MMHError, match="other prompts, seeds or settings"):
            over_networks([read_network(same), other])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"detectors": 1}', "\x00", "nan"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(MMHError, match="holds no benchmark of this version"):
        read_network(path)
    with pytest.raises(MMHError, match="There is no file"):
        read_network(tmp_path / "none.json")


def test_a_detector_that_one_network_lacks_is_named(tmp_path: Path) -> None:
    one, other = written(tmp_path, 1), written(tmp_path, 2)
    tree = json.loads(other.read_text())
    tree["detectors"][0]["name"] = "b"
    other.write_text(json.dumps(tree))
    merged = over_networks([read_network(one), read_network(other)])
    assert merged.networks is not None and merged.networks.rows == ()
    sentence, _ = merged.missing
    assert sentence.startswith("A is left out") and sentence.endswith("2.json has no row of it.")


def test_detectors_have_the_labels_of_today_whatever_the_file_calls_them(tmp_path: Path) -> None:
    run = run_of()
    rows = [
        replace(run.detectors[0], name=name, label="Seed agreement")
        for name in ("seed_agreement", "of_nobody")
    ]
    write_json({**plain(run), "detectors": rows}, tmp_path / "old.json")
    read = read_network(tmp_path / "old.json").run
    assert [row.label for row in read.detectors] == [
        DETECTORS["seed_agreement"].label,
        "Seed agreement",
    ]


def test_published_figures_stand_beside_those_of_a_run() -> None:
    assert all(figure.detector in DETECTORS for figure in PUBLISHED)
    assert all(0.5 < figure.auc < 1 and figure.source for figure in PUBLISHED)
    run = run_of()
    run = replace(run, detectors=(replace(run.detectors[0], name="sharpness"),))
    lines = published_table(run).markdown().splitlines()
    assert sum("not run" in line for line in lines) == len(PUBLISHED) - 2
    (first,) = (line for line in lines if line.startswith("| Sharpness |"))
    assert f"| {run.detectors[0].all.auc:.3f} (" in first and "| 0.987 | 0.908 | 1 |" in first
    assert "not measured by this project" in lines[-1]
    assert not math.isnan(run.detectors[0].all.auc)


def test_two_files_without_labels_are_memorized_and_reference(tmp_path: Path) -> None:
    memorized, reference = tmp_path / "mem.jsonl", tmp_path / "ref.csv"
    memorized.write_text("".join(json.dumps({"caption": f"m{i}"}) + "\n" for i in range(4)))
    reference.write_text("Caption;URL\n" + "".join(f"r{i};http://x\n" for i in range(4)))
    labelled = read_labelled(memorized, "", reference)
    assert {one.prompt: one.memorized for one in labelled} == {
        **{f"m{i}": True for i in range(4)},
        **{f"r{i}": False for i in range(4)},
    }
    reference.write_text("Caption;URL\nm1;http://x\n")
    with pytest.raises(MMHError, match="labelled memorized and reference"):
        read_labelled(memorized, "", reference)
