"""Copy rates of samplers that copy with known probability, and the intervals' coverage."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mmh_core.pocket.figures import Row
from mmh_core.pocket.second.copy_rates import (
    caption_rates,
    copy_rate_rows,
    rate_row,
    transition,
    transition_rows,
)
from mmh_core.pocket.second.doses import COPIES
from mmh_core.pocket.second.tables import build_tables

CAPTIONS, SEEDS = 25, 16


def chance(copies: int) -> float:
    """Return the probability of a copy of the stand-in: logistic in log2 k, one half at 11.3."""
    return 1 / (1 + math.exp(-2.2 * (math.log2(copies) - 3.5)))


def table(captions: int = CAPTIONS) -> pd.DataFrame:
    """Return a caption table: so many captions of every level, 1 or 3 images each."""
    rows = [
        {"group": "trained", "role": "exact", "copies": k, "images": (1, 3)[i % 2]}
        for k in COPIES
        for i in range(captions)
    ]
    rows += [{"group": "trained", "role": "fresh", "copies": 4, "images": 0}] * 10
    rows += [{"group": "trained", "role": "near", "copies": 16, "transform": "crop"}] * 10
    rows += [{"group": "paraphrases"}] * 10
    made = pd.DataFrame(rows)
    made["id"] = np.arange(len(made))
    filled = made.fillna({"role": "", "transform": "", "copies": 0, "images": 0})
    return filled.astype({"copies": int, "images": int})


def sampled(captions: pd.DataFrame, rng: np.random.Generator, networks: int = 3) -> pd.DataFrame:
    """Return images of a sampler that copies with `chance`, captions differing around it."""
    rows = []
    for each in captions.to_dict("records"):
        rate = chance(each["copies"]) if each["role"] == "exact" else 0.0
        rate = float(rng.beta(3 * rate + 1e-9, 3 * (1 - rate) + 1e-9))
        for network in range(networks):
            for image in range(SEEDS):
                own = bool(rng.random() < rate)
                copied = own or each["group"] == "paraphrases"
                rows.append((network, each["id"], image, own, copied))
    return pd.DataFrame(rows, columns=["network", "caption", "image", "own", "copied"])


def level(rows: list[Row], copies: int) -> Row:
    """Return the row of a level of copies."""
    [row] = [row for row in rows if row.figure.endswith(f"captions with {_words(copies)}")]
    return row


def _words(copies: int) -> str:
    return "1 copy" if copies == 1 else f"{copies} copies"


def test_the_rates_of_a_sampler_lie_in_their_intervals_and_the_bars_hold() -> None:
    captions = table()
    rows = copy_rate_rows(sampled(captions, np.random.default_rng(0)), captions, True)
    inside = [level(rows, k).low <= chance(k) <= level(rows, k).high for k in COPIES]
    assert sum(inside) >= len(COPIES) - 1
    assert [level(rows, k).bound for k in COPIES] == ["most", *["none"] * 6, "least"]
    assert [row.figure for row in rows if row.short] == []
    assert {level(rows, k).count for k in COPIES} == {CAPTIONS}
    by_figure = {row.figure: row for row in rows}
    assert by_figure["copies of training images, captions whose images are always drawn anew"] == (
        Row("copies of training images, captions whose images are always drawn anew",
            0.0, 0.0, by_figure["copies of training images, captions whose images are always "
                                "drawn anew"].high, 0.0, "none", 10)
    )  # fmt: skip
    assert by_figure["paraphrases: copies of any training image"].value == 1
    assert by_figure["near-duplicates by crop, 16 of them"].count == 10
    assert by_figure["trained captions: copies of another caption's image"].value == 0
    half = by_figure["copies at which half of the images are copies"]
    assert 5 < half.value < 25


def test_a_sampler_that_never_copies_misses_the_upper_bar_and_one_that_always_does_the_lower() -> (
    None
):
    captions = table(4)
    images = sampled(captions, np.random.default_rng(0), networks=1)
    for own, short in ((False, 128), (True, 1)):
        rows = copy_rate_rows(images.assign(own=own, copied=own), captions, True)
        assert [row for row in rows if row.short] == [level(rows, short)]


def test_what_is_not_all_measured_has_no_value_where_there_is_a_bar() -> None:
    captions = table(4)
    images = sampled(captions, np.random.default_rng(0), networks=1)
    rows = copy_rate_rows(images, captions, False)
    assert [level(rows, k).short for k in COPIES] == [True, *[False] * 6, True]
    assert math.isnan(level(rows, 128).value)
    assert level(rows, 64).value > 0.5
    nothing = copy_rate_rows(images.iloc[:0], captions, False)
    assert [row.count for row in nothing] == [0, 0]
    assert all(row.short for row in nothing)


def test_networks_are_rows_of_their_own_and_their_mean_counts_captions_once() -> None:
    captions = table(4)
    images = sampled(captions, np.random.default_rng(0), networks=2)
    images["own"] = images.network == 1
    rows = copy_rate_rows(images, captions, True)
    first = rows.index(level(rows, 1))
    assert [row.value for row in rows[first : first + 3]] == [0.5, 0.0, 1.0]
    assert [row.count for row in rows[first : first + 3]] == [4, 4, 4]


@pytest.mark.parametrize("captions", [CAPTIONS])
def test_the_interval_of_a_rate_holds_the_true_one_often_enough(captions: int) -> None:
    rng = np.random.default_rng(1)
    held, trials, rate = 0, 300, 0.9
    for _ in range(trials):
        rates = rng.binomial(SEEDS, rng.beta(3 * rate, 3 * (1 - rate), captions)) / SEEDS
        row = rate_row("", pd.DataFrame({"caption": np.arange(captions), "rate": rates}))
        held += row.low <= rate <= row.high
    assert held / trials >= 0.93


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([(1, 0.0, 9), (2, 0.0, 9), (4, 1.0, 9), (8, 1.0, 9)], 2**1.5),
        ([(1, 0.0, 9), (2, 0.25, 9), (4, 0.75, 9)], 2**1.5),
        ([(1, 0.0, 9), (4, 0.5, 9), (16, 1.0, 9)], 4.0),
        # A dip is smoothed: levels 2 and 4 become .5 together.
        ([(1, 0.0, 9), (2, 0.6, 9), (4, 0.4, 9), (8, 1.0, 9)], 2.0),
        ([(1, 0.0, 9), (128, 0.2, 9)], 128.0),
        ([(1, 0.8, 9), (128, 0.9, 9)], 1.0),
    ],
)
def test_the_transition_is_where_the_rate_passes_one_half(
    levels: list[tuple[float, float, int]], expected: float
) -> None:
    assert transition(levels) == pytest.approx(expected)


@pytest.mark.parametrize("captions", [CAPTIONS])
def test_the_interval_of_the_transition_holds_the_true_one_often_enough(captions: int) -> None:
    rng = np.random.default_rng(2)
    true = transition([(float(k), chance(k), 1) for k in COPIES])
    held, trials = 0, 40
    for _ in range(trials):
        rows = []
        for k in COPIES:
            p = chance(k)
            for i in range(captions):
                hits = rng.binomial(SEEDS, rng.beta(3 * p + 1e-9, 3 * (1 - p) + 1e-9))
                rows.append((0, 1_000 * k + i, k, hits / SEEDS))
        exact = pd.DataFrame(rows, columns=["network", "caption", "copies", "rate"])
        row = transition_rows(exact)[0]
        held += row.low <= true <= row.high
    # Of 40 trials at .95 fewer than 35 hold with a probability of 1 %.
    assert held >= 35


def test_rates_are_of_captions_and_networks() -> None:
    images = pd.DataFrame(
        {"network": [0, 0, 1, 1], "caption": [5, 5, 5, 5], "own": [True, False, True, True]}
    )
    assert caption_rates(images).rate.tolist() == [0.5, 1.0]


def test_captions_generated_are_wide_and_none_that_a_threshold_is_fitted_on() -> None:
    from mmh_core.pocket.second.generated import others_to_generate, trained_to_generate

    tables = build_tables(0)
    truth = pd.DataFrame({"caption": tables.captions.id, "lid": tables.captions.id % 10})
    numbers = trained_to_generate(tables, truth)
    chosen = tables.captions.iloc[numbers]
    assert set(chosen.group) == {"trained"}
    assert (chosen.id % 10 >= 5).all()
    free = chosen[chosen.role.isin(("unique", "fresh"))]
    assert set(free.split) == {"test"}
    # A part of the list has captions of every level.
    assert set(chosen.iloc[:150].copies) >= set(COPIES)
    others = tables.captions.iloc[others_to_generate(tables, 20)]
    assert set(others.split) == {"test"}
    assert others.groupby("group").size().to_dict() == {
        "held-out": 20, "outside": 20, "paraphrases": 20,
        "unseen combinations": 20, "unseen names": 20,
    }  # fmt: skip
