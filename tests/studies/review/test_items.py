"""Items to judge say what their runs and scans say, worst image first."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmh_core.memorization.cause import cause_words
from mmh_core.records import MMHError
from mmh_core.store.archive import save_record
from mmh_core.store.prompt_table import RepeatedRow
from mmh_core.store.review_checks import checked_item
from mmh_core.store.shards import ScanRow, scan_folder, scan_manifest
from mmh_core.studies.images.examples import pocket_examples
from mmh_core.studies.images.run import most_severe_image
from mmh_core.studies.review.demonstration import demonstration_prompts
from mmh_core.studies.review.items import (
    kinds,
    run_item,
    scan_items,
    score_label,
    score_words,
    thumbnail,
)
from mmh_core.studies.review.scan_rows import COLUMNS, RUNS
from tests.drawn_runs import drawn_run, noise, unsearched_run

FOLDER = Path(__file__).parents[3] / "assets" / "pocket-sd"
NOTHING = {
    "verdict": "",
    "copy_rate": float("nan"),
    "similarity": float("nan"),
    "nearest": -1,
    "lid": float("nan"),
    "lid_percentile": float("nan"),
    "cut": "",
    "unread": "",
    "more": "",
    "run": "",
}


def test_an_item_has_the_means_of_its_run_and_the_image_of_its_worst_verdict() -> None:
    run = drawn_run()
    item = run_item(run, 0, file="a.safetensors")
    assert (item.prompt, item.seeds, item.run) == ("a red fox", (0, 7), "a.safetensors")
    assert item.lid == pytest.approx((5.0 + 11.5) / 2)
    assert item.lid_percentile == pytest.approx(0.1)
    assert (item.similarity, item.nearest, item.kind) == (0.97, 40, "exact copy")
    pixels = Image.open(io.BytesIO(item.thumbnail)).tobytes()
    assert pixels == run.images[0].image.permute(1, 2, 0).numpy().tobytes()
    assert dict(item.scores)["times in training"] == 60
    other = run_item(run, 1)
    assert (other.kind, other.cause) == ("no copy found", "not identifiable")


def test_the_most_severe_image_comes_first_whatever_its_place() -> None:
    run = drawn_run()
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        assert most_severe_image(tuple(run.images[i] for i in order)).index == 0
    assert most_severe_image(run.images[1:]).verdict == "template copy"
    assert most_severe_image(run.images[2:]).verdict == "suspicious, no copy found"


def test_without_a_training_set_nothing_is_called_a_copy() -> None:
    one = unsearched_run().images[0]
    assert kinds(one) == {"kind": "not searched", "cause": ""}
    low = replace(one, verdict="memorized, cause not identifiable")
    assert kinds(low)["cause"] == "not identifiable"


def test_a_prompt_without_images_is_no_item() -> None:
    run = drawn_run()
    with pytest.raises(ValueError, match="no image"):
        run_item(replace(run, images=run.images[:2]), 1)


def test_causes_and_shares_are_said_in_plain_words() -> None:
    assert cause_words("OD-Mem") == "the model overfitted (OD-Mem)"
    assert cause_words("not identifiable") == "not identifiable" and cause_words("") == ""
    # A share is one of the figures that `run_item` names.
    names = [name for name, _ in run_item(drawn_run(), 0).scores]
    assert [name for name in names if score_words(name, 0.5) == "50%"] == [
        "share of images copied"
    ]
    assert score_words("times in training", 33.0) == "33"
    assert score_label("share of images copied") == "Copy rate"
    assert score_label("times in training") == "Occurrences in the training set"


def test_a_thumbnail_keeps_small_images_and_reduces_large_ones() -> None:
    small, large = noise(1, 64), torch.full((3, 512, 256), 77, dtype=torch.uint8)
    assert Image.open(io.BytesIO(thumbnail(small))).tobytes() == (
        small.permute(1, 2, 0).numpy().tobytes()
    )
    reduced = Image.open(io.BytesIO(thumbnail(large)))
    assert reduced.size == (64, 128) and set(reduced.tobytes()) == {77}


def test_a_scan_becomes_items_in_its_tables_order_and_a_missing_run_is_told(
    tmp_path: Path,
) -> None:
    run = drawn_run()
    save_record(tmp_path / RUNS / "fox.safetensors", run)
    manifest = scan_manifest("pocket-sd", run.sha256, {"share": 0.1}, COLUMNS)

    def row(number: int, prompt: str, score: float, **values: object) -> ScanRow:
        about = {"row": number, "label": "L", "name": f"n{number}", "tags": "a; b", "more": ""}
        early = {"score": score, "guidance_norm": 1.0, "cosine": 0.5, "percentile": 0.9}
        found = about | early | NOTHING | {"flagged": False} | values
        return ScanRow(prompt, (0, 7), found)  # type: ignore[arg-type]

    with scan_folder(tmp_path, manifest) as folder:
        # The flagged come last, for they are drawn.
        folder.write([row(1, "low", -1.0), row(3, "high", 3.0)])
        folder.write([row(2, "a red fox", 2.0, flagged=True, run="fox.safetensors")])
    found = list(scan_items(tmp_path, flagged=False))
    assert [(one.prompt, one.score) for one in found] == [
        ("low", -1.0),
        ("a red fox", 2.0),
        ("high", 3.0),
    ]
    assert (found[0].label, found[0].name, found[0].tags) == ("L", "n1", ("a", "b"))
    [fox] = scan_items(tmp_path, flagged=True)
    written = (tmp_path / "runs" / "fox.safetensors").read_bytes()
    assert fox.run_sha256 == hashlib.sha256(written).hexdigest()
    assert fox == replace(
        run_item(run, 0, file="fox.safetensors", sha256=fox.run_sha256),
        score=2.0,
        scores=(
            ("guidance_norm", 1.0),
            ("cosine", 0.5),
            ("percentile", 0.9),
            *run_item(run, 0).scores,
        ),
        label="L",
        name="n2",
        tags=("a", "b"),
        more=(("row of the table", "2"),),
    )
    (tmp_path / RUNS / "fox.safetensors").unlink()
    with pytest.raises(MMHError, match="is gone"):
        list(scan_items(tmp_path, flagged=True))


def test_every_column_of_the_table_and_its_repeated_rows_come_along(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    manifest = scan_manifest("m", "ab", {}, COLUMNS)
    texts = {"label": "", "name": "P2", "tags": "", **NOTHING}
    scores = {"score": 1.0, "guidance_norm": 1.0, "cosine": 0.0, "percentile": 1.0}
    with scan_folder(folder, manifest) as opened:
        rows = [
            ScanRow(
                f"prompt {row}",
                (0,),
                {"row": row, **texts, **scores, "flagged": row == 2, "more": more},
            )
            for row, more in ((7, "[1]"), (2, '{"source": "crawl", "year": "1999"}'))
        ]
        opened.write(rows)
    repeats = {2: [RepeatedRow(5, 2, name="P5", more=(("source", "mail"),))]}
    first, second = scan_items(folder, flagged=False, repeats=repeats)
    assert first.more == (
        *(("source", "crawl"), ("year", "1999"), ("row of the table", "2")),
        ("rows with the same prompt", "5 (P5; source: mail)"),
    )
    # What is no record of columns takes no item with it.
    assert second.more == (("row of the table", "7"),)
    assert checked_item(first) == first


def test_the_demonstration_asks_for_every_kind_of_the_calibration_half_once() -> None:
    from mmh_core.pocket.assets import read_prompts

    found = demonstration_prompts(FOLDER)
    table = read_prompts(FOLDER)
    tested = set(table[table.split == "test"].caption)
    captions = [one.caption for one in found]
    assert len(set(captions)) == len(captions) and not tested & set(captions)
    # Whatever world is shipped: every kind that its table has, and both sides of the question.
    examples = pocket_examples(FOLDER)
    assert {one.kind for one in found} == {one.kind for one in examples}
    assert {one.memorized for one in found} == {True, False}
    paraphrases = [one for one in found if not one.trained]
    assert paraphrases and {one.subject for one in paraphrases} <= {
        one.subject for one in found if one.trained
    }
