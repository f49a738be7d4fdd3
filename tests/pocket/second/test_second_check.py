"""The check of the second world: what is measured, what is short, what is not built."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmh_core.cli.app import main
from mmh_core.cli.tables import check_table
from mmh_core.pocket.figures import Check, Row
from mmh_core.pocket.second.check import (
    autoencoder_rows,
    either_way,
    lid_rows,
    table_rows,
)
from mmh_core.pocket.second.families import family_of
from mmh_core.pocket.second.finish import draw_all, parameters
from mmh_core.pocket.second.images import open_images
from mmh_core.pocket.second.inspection import Inspection
from mmh_core.pocket.second.network_figures import network_rows, part_rows
from mmh_core.pocket.second.perfect import latent_map
from mmh_core.pocket.second.plan import SecondConfig
from mmh_core.pocket.second.tables import Tables, build_tables
from mmh_core.pocket.second.training import Workshop


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return the tables of the world that is trained on."""
    return build_tables(0)


def truth_of(tables: Tables, lid: float | None = None) -> pd.DataFrame:
    """Return a truth with one LID*, or with the number of free parameters for it."""
    captions = tables.captions
    free = captions.free.astype(float) if lid is None else lid
    return pd.DataFrame({"caption": captions.id, "lid": free, "chance": 0.0})  # fmt: skip


def by_figure(rows: list[Row]) -> dict[str, Row]:
    """Return rows by the first words of their figures."""
    return {row.figure: row for row in rows}


def test_counts_of_the_world_hold_their_bars(tables: Tables) -> None:
    rows = table_rows(tables, truth_of(tables, 5.0))
    assert [row.figure for row in rows if row.short] == []
    assert rows[0].value == 40


def test_narrow_captions_do_not_count_and_copies_by_chance_are_bounded(tables: Tables) -> None:
    truth = truth_of(tables, 5.0)
    exact = tables.captions[(tables.captions.role == "exact") & (tables.captions.copies == 64)]
    truth.loc[exact.id.to_numpy()[:25], "lid"] = 4.9
    rows = table_rows(tables, truth)
    assert (rows[0].value, rows[0].short) == (15, True)
    assert (rows[1].value, rows[1].short) == (0, False)
    truth["chance"] = 0.06
    assert table_rows(tables, truth)[1].short
    # Without a truth nothing is known of them.
    assert math.isnan(table_rows(tables, truth.iloc[:0])[0].value)


def test_a_phrase_moved_to_one_side_is_short(tables: Tables) -> None:
    changed = tables.captions.copy()
    portraits = (changed.painter == "portrait") & (changed.opening == 0)
    changed.loc[portraits & (changed.role != ""), ["role", "copies"]] = ["exact", 128]
    rows = table_rows(replace(tables, captions=changed), truth_of(tables))
    assert rows[4].short
    assert rows[4].value >= 1


def test_lid_is_not_built_before_its_stage(tables: Tables) -> None:
    [row] = lid_rows(tables, truth_of(tables).iloc[:0])
    assert math.isnan(row.value)
    assert row.short


def test_lid_varies_within_kind_and_painter(tables: Tables) -> None:
    rows = lid_rows(tables, truth_of(tables))
    found = by_figure(rows)
    # A constant of each cell explains next to nothing.
    assert found["share of LID*'s variance that a constant of each cell explains"].value < 0.15
    assert found["least interquartile range of LID* in a cell of kind and painter"].value > 3
    constant = truth_of(tables)
    constant["lid"] = pd.factorize(tables.captions.painter)[0].astype(float)
    share = by_figure(lid_rows(tables, constant))
    assert share["share of LID*'s variance that a constant of each cell explains"].value == (
        pytest.approx(1)
    )


def test_what_needs_networks_is_short_until_it_is_built(tmp_path: Path) -> None:
    shop = Workshop(SecondConfig(), tmp_path, torch.device("cpu"), tmp_path)
    rows = [
        *network_rows(Inspection(shop)),
        *autoencoder_rows(shop),
        *part_rows(shop, np.zeros((1, 64, 64, 3), np.uint8)),
    ]
    check = Check(tuple(rows))
    assert check.short == check.rows
    table = check_table(check, ".4g")
    assert table.count("not built") == 10
    assert table.count("SHORT") == len(rows) == 11


def test_a_figure_that_holds_is_printed_with_its_interval() -> None:
    row = Row("text", 0.512, 0.46, 0.55, 0.6, "most", 620)
    assert "| text | at most 0.6 | 0.512 | 0.460 to 0.550 | 620 | holds |" in check_table(
        Check((row,)), ".4g"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--stage", "world"], "add --world 2, or leave --stage out"),
        (["--world", "2", "--stage", "unet"], "stage must be one of world, autoencoder"),
        (["--world", "3"], "Invalid value for '--world'"),
        (["--world", "2", "--stage", "world", "--minutes", "0"], "minutes must be a number above"),
        (["--world", "2", "--stage", "latents"], "run pocket build --world 2 --stage world first"),
    ],
)
def test_wrong_calls_are_refused_before_any_work(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["pocket", "build", "--work", str(tmp_path / "work"), *arguments])
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert sentence in " ".join(said.err.split())
    assert list(tmp_path.iterdir()) == []


def test_the_map_to_latents_moves_the_free_parameters_alone(tables: Tables) -> None:
    [image] = open_images(tables, 3, 1)
    free = family_of(image.caption, tables.seed).free
    names = parameters(image.scene.painter)
    theta = np.array([[image.scene.values[names.index(name)] for name in free]])
    mapped = latent_map(
        image.scene, free, lambda images: images.reshape(len(images), -1).astype(float)
    )
    own = draw_all([image.scene]).reshape(1, -1)
    np.testing.assert_array_equal(mapped(theta), own)
    assert len(free) > 0
    assert (mapped(1 - theta) != own).any()


def test_an_auc_below_chance_counts_as_far_above_it() -> None:
    above = either_way("AUC", 0.56, 0.52, 0.61, 700)
    below = either_way("AUC", 0.44, 0.39, 0.48, 700)
    assert (above.figure, above.value, above.low, above.high) == ("AUC", 0.56, 0.52, 0.61)
    assert below.figure == "AUC, turned round"
    assert (below.value, below.low, below.high) == pytest.approx((0.56, 0.52, 0.61))
