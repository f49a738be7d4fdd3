"""Figures of a row, counted by hand on made-up runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmh_core.records import PARAPHRASE, LabelledPrompt, MMHError, Split
from mmh_core.report.detection_tables import fact_table, group_table, rate_table
from mmh_core.statistics.areas import area_under_curve, clustered_area_interval
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow, counts
from mmh_core.studies.detection.counted_rows import detector_row, text_rows
from mmh_core.studies.detection.figures import (
    group_figures,
    group_sides,
    image_label_figures,
    realized,
    row_figures,
)
from mmh_core.studies.detection.labelled_prompts import read_labelled
from mmh_core.text_to_image.requests import Sampling

KINDS = ("memorized", "normal")
SAMPLING = Sampling(4, 2.0, 64, 64)
#: Group, memorized, score of each test prompt.
TESTED = (
    ("k = 1", True, 0.2), ("k = 1", True, 0.6), ("k = 8", True, 0.8), ("k = 8", True, 0.95),
    ("unseen name", False, 0.5), ("unseen name", False, 0.1), ("outside", False, 0.3),
    ("mixed", True, 0.7), ("mixed", False, 0.75),
)  # fmt: skip


def run_of(copies: list[list[float]] | None = None) -> BenchmarkRun:
    prompts = tuple(
        LabelledPrompt(f"p{i}", memorized, "memorized" if memorized else "normal", "test",
                       group=group)
        for i, (group, memorized, _) in enumerate(TESTED)
    )  # fmt: skip
    scores = torch.tensor([score for _, _, score in TESTED])
    normal = torch.linspace(0, 0.99, 100)
    row = detector_row(("a", "A", "-"), (1.0, 0.0), scores, normal, prompts)
    row = replace(row, images=torch.stack([scores - 0.01, scores + 0.01], 1))
    none = torch.full((len(prompts),), float("nan"))
    return BenchmarkRun(
        "m", "0" * 64, SAMPLING, (0, 1), "complete", prompts, none, none, none, (row,), None,
        None, 1.0, copies=None if copies is None else torch.tensor(copies),
    )  # fmt: skip


def test_thresholds_come_from_the_calibration_half_and_rates_from_the_test_half() -> None:
    run = run_of()
    strict, middle, loose = realized(run, run.detectors[0])
    assert strict.threshold == pytest.approx(0.98)
    assert (middle.threshold, loose.threshold) == (pytest.approx(0.94), pytest.approx(0.89))
    assert (strict.tpr.count, middle.tpr.count, loose.tpr.count) == (0, 1, 1)
    assert (strict.tpr.among, strict.fpr.among, strict.reference) == (5, 4, 100)
    assert strict.fpr.high == pytest.approx(1 - 0.025 ** (1 / 4)) and strict.fpr.low == 0


def test_every_group_is_counted_against_what_it_says() -> None:
    run = run_of()
    found = {group.group: group for group in group_figures(run, run.detectors[0])}
    assert list(found) == ["k = 1", "k = 8", "unseen name", "outside", "mixed"]
    # Against the references .5 .1 .3 .75: .2 beats one, .6 beats three.
    assert found["k = 1"].area.value == pytest.approx(4 / 8)
    assert found["k = 8"].area.value == 1 and found["k = 8"].against == "all reference prompts"
    # Memorized .2 .6 .8 .95 .7 against .5 and .1: .2 loses once.
    assert found["unseen name"].area.value == pytest.approx(9 / 10)
    assert found["mixed"].area.value == 0 and found["mixed"].against == "within the group"
    assert [rate.count for rate in found["k = 8"].tpr] == [0, 1, 1]
    assert [rate.among for rate in found["unseen name"].tpr] == [0, 0, 0]


def test_a_prompt_without_a_group_is_counted_by_its_kind() -> None:
    run = run_of()
    run = replace(run, prompts=tuple(replace(one, group="") for one in run.prompts))
    found = group_figures(run, run.detectors[0])
    assert [group.group for group in found] == ["memorized", "normal"]
    assert found[0].area.value == pytest.approx(run.detectors[0].all.auc)


def test_by_fact_counts_images_and_within_memorized_captions_only_theirs() -> None:
    copies = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    copies += [[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, float("nan")], [0.0, 0.0]]
    run = run_of(copies)
    row = run.detectors[0]
    every, within = (
        image_label_figures(run, row),
        image_label_figures(run, row, memorized_only=True),
    )
    assert every is not None and within is not None and row.images is not None
    assert (every.copies, every.others, every.captions) == (6, 11, 9)
    assert (within.copies, within.others, within.captions) == (5, 4, 5)
    kept = torch.tensor(copies[:4]).flatten()
    scores = torch.cat([row.images[:4].flatten(), row.images[7, :1]])
    truth = torch.cat([kept > 0, torch.tensor([False])])
    expected = float(area_under_curve(scores[truth], scores[~truth]))
    assert within.area.value == pytest.approx(expected)
    # One score for all images of a prompt: within a caption it says nothing either way.
    alone = replace(row, images=None)
    only = replace(run, copies=torch.tensor([[0.0, 1.0]] * len(TESTED)))
    area = image_label_figures(only, alone)
    assert area is not None and area.area.value == 0.5


@pytest.mark.parametrize("copies", [None, [[float("nan")] * 2] * len(TESTED)])
def test_without_a_training_set_the_truth_is_by_caption_only(
    copies: list[list[float]] | None,
) -> None:
    run = run_of(copies)
    assert image_label_figures(run, run.detectors[0]) is None
    assert "Truth by caption only" in fact_table(run, row_figures(run)).markdown()


def test_the_tables_name_every_row_and_every_group() -> None:
    run = run_of([[0.0, 1.0]] * len(TESTED))
    figures = row_figures(run)
    rates = rate_table(run, figures).markdown()
    assert "| A | 0/4 (0.000 to 0.602) | 0/5 (0.000 to 0.522) |" in rates
    groups = group_table(run, figures).markdown().splitlines()
    assert len(groups) == 2 + 5 + 2
    assert groups[2].startswith("| k = 1 | A | 2 | 0 | 0.500 (")
    assert (
        "9 images that are copies of a training image against 9 others"
        in fact_table(run, figures).markdown()
    )


def listed(words: tuple[str, str], split: Split) -> list[LabelledPrompt]:
    """Return 24 prompts of a half, every other one memorized; the first word is its side."""
    colors = ("red", "blue", "green", "gray")
    return [
        LabelledPrompt(
            f"{words[i % 2]} {colors[i // 2 % 4]} {split[0]}", i % 2 == 0, KINDS[i % 2], split
        )
        for i in range(24)
    ]


def test_a_row_of_words_is_fitted_on_the_calibration_half_alone() -> None:
    learned = listed(("castle", "meadow"), "calibration")
    labelled = [*learned, *listed(("castle", "meadow"), "test")]
    rows, missing = text_rows(labelled)
    assert [row.name for row in rows] == ["text_words", "text_characters"] and not missing
    assert all(
        row.all.auc == 1 and row.nfe == 0 and len(row.reference_scores) == 12 for row in rows
    )
    # Other words in the test half: nothing of it was seen, so words say nothing.
    swapped = [*learned, *listed(("meadow", "castle"), "test")]
    assert all(row.all.auc == 0 for row in text_rows(swapped)[0])


def test_words_that_cannot_be_fitted_are_named() -> None:
    labelled = [
        LabelledPrompt(f"{i}q{i}", i % 2 == 0, "x", "test" if i % 4 > 1 else "calibration")
        for i in range(20)
    ]
    rows, missing = text_rows(labelled)
    assert [row.name for row in rows] == ["text_characters"]
    assert len(missing) == 1 and missing[0].startswith("Text alone, words and pairs has no row")


def test_a_run_of_an_older_version_loads_without_the_new_fields(tmp_path: Path) -> None:
    run = run_of([[0.0, 1.0]] * len(TESTED))
    save_record(tmp_path / "run.safetensors", run)
    kept = load_record(tmp_path / "run.safetensors", BenchmarkRun)
    assert kept.prompts == run.prompts and kept.copies is not None
    root = Path(__file__).parents[3] / "assets" / "benchmark" / "pocket-sd.safetensors"
    older = load_record(root, BenchmarkRun)
    assert all(isinstance(row, DetectorRow) for row in older.rows)
    figures = row_figures(older)
    assert len(figures) == len(older.rows)


def test_a_clustered_area_of_single_rows_is_close_to_delong() -> None:
    generator = torch.Generator().manual_seed(2)
    positive = torch.arange(80) < 40
    scores = torch.randn(80, generator=generator) + positive
    found = clustered_area_interval(scores, positive, torch.arange(80))
    assert found.value == pytest.approx(float(area_under_curve(scores[positive],
                                                               scores[~positive])))  # fmt: skip
    # Two equal rows of each prompt are no more than one.
    twice = clustered_area_interval(scores.repeat(2), positive.repeat(2),
                                    torch.arange(80).repeat(2))  # fmt: skip
    assert (twice.low, twice.high) == (pytest.approx(found.low), pytest.approx(found.high))


def _table(folder: Path, form: str) -> Path:
    """Write one list of four published types in the form that its authors chose."""
    captions = [f"caption {i}" for i in range(16)]
    types = [("MV", "RV", "TV", "N")[i % 4] for i in range(16)]
    path = folder / f"list.{'csv' if form == 'semicolon' else form}"
    frame = pd.DataFrame({"caption": captions, "overfit_type": types, "url": "http://x"})
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        renamed = frame.rename(columns={"caption": "Caption", "overfit_type": "type"})
        renamed.to_csv(path, sep=";")
    return path


@pytest.mark.parametrize("form", ["parquet", "jsonl", "semicolon"])
def test_published_lists_are_read_unchanged_with_their_types_as_groups(
    tmp_path: Path, form: str
) -> None:
    labelled = read_labelled(_table(tmp_path, form))
    assert len(labelled) == 16
    assert {one.group for one in labelled} == {"MV", "RV", "TV", "N"}
    assert all(one.memorized == (one.group != "N") for one in labelled)
    for group in ("MV", "RV", "TV", "N"):
        halves = [one.split for one in labelled if one.group == group]
        assert halves.count("calibration") == halves.count("test") == 2


def test_a_list_of_verbatim_and_template_captions_is_read_with_a_list_of_references(
    tmp_path: Path,
) -> None:
    """Semicolons, an unnamed index, quotes in quotes, and references without types."""
    memorized, references = tmp_path / "memorized.csv", tmp_path / "unmemorized.csv"
    memorized.write_text(
        ";Caption;URL;type;mean_sscd;max_sscd;Index\n"
        "0;A <i>Show</i> About Nothing;https://x/0.jpg;VM;0.83;0.85;1\n"
        "1;Hall painted in BLUE & more;https://x/1.jpg?a=1&b=2;TM;-0.01;0.2;2\n"
        '3;"""Listen: """"Song(s)""""""";https://x/3.jpg;VM;0.9;0.91;3\n'
        "4;Café Grün®;https://x/4.jpg;TM;0.3;0.4;4\n",
        encoding="utf-8",
    )
    references.write_text(
        ";Caption;URL;Index\n"
        "0;A pagoda at dusk | アヤワスカ;https://x/5.jpg;5\n"
        '7;"A panorama; three images, stitched";https://x/6.jpg;6\n',
        encoding="utf-8",
    )
    labelled = read_labelled(memorized, "", references)
    assert [(one.prompt, one.memorized, one.group) for one in labelled] == [
        ("A <i>Show</i> About Nothing", True, "VM"),
        ("Hall painted in BLUE & more", True, "TM"),
        ('"Listen: ""Song(s)"""', True, "VM"),
        ("Café Grün®", True, "TM"),
        ("A pagoda at dusk | アヤワスカ", False, ""),
        ("A panorama; three images, stitched", False, ""),
    ]


def test_a_column_group_comes_before_the_types(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("prompt,label,Group\na,MV,k = 8\nb,N,\nc,memorized,k = 8\nd,0,\n")
    assert [one.group for one in read_labelled(path)] == ["k = 8", "N", "k = 8", ""]


def test_equal_captions_of_two_types_are_one_and_of_two_labels_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("caption;overfit_type\na;MV\na;TV\nb;N\n")
    assert [(one.prompt, one.group) for one in read_labelled(path)] == [("a", "MV"), ("b", "N")]
    path.write_text("caption;overfit_type\na;MV\na;N\n")
    with pytest.raises(MMHError, match="Rows 1 and 2 of"):
        read_labelled(path)


#: Memorized, kind, exclusion, score of test prompts, of which those above .5 are flagged.
APART = (
    (True, "memorized", "", 0.9), (True, "memorized", "", 0.1), (True, PARAPHRASE, "", 0.8),
    (True, "memorized", "between", 0.7), (True, "memorized", "between", 0.95),
    (True, PARAPHRASE, "between", 0.6), (False, "normal", "between", 0.6),
    (False, "normal", "between", 0.2), (False, "normal", "", 0.55), (False, "normal", "", 0.3),
)  # fmt: skip


def test_prompts_kept_apart_count_neither_as_flagged_nor_as_memorized() -> None:
    """Two of three flagged prompts with a label are memorized; with the others it were five."""
    prompts = tuple(
        LabelledPrompt(f"p{i}", memorized, kind, "test", exclusion=exclusion)
        for i, (memorized, kind, exclusion, _) in enumerate(APART)
    )
    scores = torch.tensor([row[-1] for row in APART])
    row = detector_row(("a", "A", "-"), (1.0, 0.0), scores, torch.linspace(0, 0.5, 50), prompts)
    run = replace(run_of(), prompts=prompts, detectors=(row,))
    counted = counts(run, row, 0.0)
    assert (counted.precision.count, counted.precision.total) == (2, 3)
    assert (counted.flagged.count, counted.flagged.total) == (3, 5)
    assert (counted.excluded.count, counted.excluded.total) == (4, 5)
    parts = (counted.memorized, counted.paraphrases, counted.reference, counted.excluded)
    assert sum(part.total for part in parts) == len(APART)
    assert [(part.count, part.total) for part in parts[:3]] == [(1, 2), (1, 1), (1, 2)]


def test_a_group_counts_no_prompt_kept_apart_unless_it_has_no_other() -> None:
    run = run_of()
    first = replace(run.prompts[0], exclusion="between")
    mixed = replace(run, prompts=(first, *run.prompts[1:]))
    assert {each.group: int(each.memorized.sum()) for each in group_sides(mixed)}["k = 1"] == 1
    second = replace(run.prompts[1], exclusion="between")
    alone = replace(run, prompts=(first, second, *run.prompts[2:]))
    assert {each.group: int(each.memorized.sum()) for each in group_sides(alone)}["k = 1"] == 2
