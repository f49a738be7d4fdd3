"""LID beside LID* by stand-ins whose correlation and bias are given."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from mmh_core.pocket.second.dimensions import bias_rows, cells_of, lid_captions, within_rows
from mmh_core.pocket.second.tables import build_tables
from mmh_core.statistics.agreement import partial_rank_correlation

CELLS, IN_CELL = 12, 15


def captions() -> pd.DataFrame:
    """Return captions of twelve cells."""
    rows = [(f"role {c % 4}", f"painter {c // 4}") for c in range(CELLS) for _ in range(IN_CELL)]
    made = pd.DataFrame(rows, columns=["role", "painter"])
    return made.assign(id=np.arange(len(made)), group="trained")


def stand_in(
    correlation: float, rng: np.random.Generator, offset: float = 0.0, networks: int = 1
) -> pd.DataFrame:
    """Return LIDs whose correlation with LID* within cells is given, both normal there."""
    count = CELLS * IN_CELL
    cell = np.repeat(np.arange(CELLS), IN_CELL)
    true = rng.standard_normal(count)
    noise = math.sqrt(1 - correlation**2) * rng.standard_normal((networks, count))
    return pd.concat(
        pd.DataFrame(
            {
                "network": n, "caption": np.arange(count), "image": 0,
                "lid": correlation * true + noise[n] + offset * cell,
                "lid_star": true + offset * cell,
            }
        )
        for n in range(networks)
    )  # fmt: skip


def spearman(correlation: float) -> float:
    """Return Spearman's correlation of a normal pair with Pearson's given."""
    return 6 / math.pi * math.asin(correlation / 2)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_correlation_within_cells_is_that_of_the_stand_in(correlation: float) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(40):
        row = within_rows(stand_in(correlation, rng), captions(), True)[0]
        held += row.low <= spearman(correlation) <= row.high
    assert held >= 35


@pytest.mark.parametrize("offset", [0.0, 2.0])
def test_it_is_the_correlation_of_what_least_squares_leave_of_the_ranks(offset: float) -> None:
    from scipy.stats import rankdata

    table = stand_in(0.6, np.random.default_rng(3), offset)
    cells = np.repeat(np.arange(CELLS), IN_CELL)
    design = np.eye(CELLS)[cells]
    left = []
    for column in ("lid", "lid_star"):
        ranks = rankdata(table[column])
        fitted = design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        left.append(ranks - fitted)
    value = partial_rank_correlation(
        torch.tensor(table.lid.to_numpy()),
        torch.tensor(table.lid_star.to_numpy()),
        torch.from_numpy(cells),
    )
    assert value == pytest.approx(np.corrcoef(left)[0, 1])


def test_a_constant_of_each_cell_ranks_all_and_nothing_within() -> None:
    table = stand_in(0.0, np.random.default_rng(1), offset=5.0)
    cell = np.repeat(np.arange(CELLS), IN_CELL)
    rows = within_rows(table.assign(lid=5.0 * cell), captions(), True)
    assert math.isnan(rows[0].value)
    assert rows[0].short
    figures = {row.figure: row.value for row in rows}
    overall = figures["rank correlation of LID with LID* over all cells"]
    assert overall > 0.95
    constant = figures[
        "rank correlation of the best constant of each cell with LID* over all cells"
    ]
    assert constant == pytest.approx(overall, abs=0.02)


def test_networks_have_rows_and_what_is_not_complete_has_no_value() -> None:
    table = stand_in(0.9, np.random.default_rng(1), networks=3)
    rows = within_rows(table, captions(), True)
    assert [row.figure for row in rows[1:4]] == [f"of these, network {n}" for n in range(3)]
    # The mean of three networks is less noisy than each of them.
    assert rows[0].value > max(row.value for row in rows[1:4])
    assert (rows[0].bound, rows[0].bar, rows[0].short) == ("least", 0.7, False)
    unfinished = within_rows(table, captions(), False)[0]
    assert math.isnan(unfinished.value)
    assert unfinished.count == CELLS * IN_CELL
    assert within_rows(table.iloc[:0], captions(), False)[0].short


@pytest.mark.parametrize(
    ("bias", "short"), [(4.0, False), (-4.0, False), (6.0, True), (-6.0, True)]
)
def test_the_bias_is_that_of_the_stand_in_whatever_its_sign(bias: float, short: bool) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 20, 60).astype(float)
    lid = true + bias + rng.standard_normal(60)
    frame = {"network": 0, "image": np.arange(60), "lid": lid, "lid_star": true}
    rows = bias_rows(pd.DataFrame({**frame, "soft": lid, "trace": lid}), True)
    assert rows[0].short is short
    assert rows[0].low <= abs(bias) <= rows[0].high
    assert rows[1].low <= bias <= rows[1].high
    assert rows[2].value == pytest.approx(true.mean())
    assert math.isnan(bias_rows(pd.DataFrame(frame | {"soft": lid, "trace": lid}), False)[0].value)
    assert bias_rows(pd.DataFrame(), False)[0].short


def test_halves_share_no_caption_and_cells_are_role_and_painter() -> None:
    tables = build_tables(0)
    first, second = (lid_captions(tables, half) for half in ("calibration", "test"))
    assert not set(first) & set(second)
    chosen = tables.captions.iloc[second]
    assert set(chosen.group) == {"trained", "held-out"}
    cells = cells_of(chosen)
    assert len(set(cells)) == 30
    assert (
        pd.DataFrame({"c": cells, "p": chosen.painter.to_numpy()}).groupby("c").p.nunique().max()
        == 1
    )
