"""The choice of the noise scale of LID from kept items whose right choice is given."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mmh_core.pocket.calibration import DELTAS
from mmh_core.pocket.second.dimensions import lid_captions
from mmh_core.pocket.second.scale import (
    DUPLICATED,
    HELD_OUT,
    OTHERS,
    ScaleCaptions,
    scale_of,
)
from mmh_core.pocket.second.tables import Tables, build_tables


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return the tables of the world."""
    return build_tables(0)


def kept(
    tables: Tables, ranked: float, apart: float, sides: tuple[str, ...] = (DUPLICATED, OTHERS)
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return images and LIDs: one scale ranks held-out images, one sets the copies apart."""
    rng = np.random.default_rng(0)
    held = lid_captions(tables, "calibration")[:60]
    true = rng.integers(0, 20, len(held)).astype(float)
    images = pd.DataFrame({"caption": held, "lid_star": true, "copied": False})
    rows = []
    for delta in DELTAS:
        lids = true if delta == ranked else rng.permutation(true)
        rows += [(delta, HELD_OUT, c, lid) for c, lid in zip(held, lids, strict=True)]
        for side, mean in ((DUPLICATED, 0.0), (OTHERS, 9.0 if delta == apart else 0.0)):
            if side in sides:
                lids = mean + rng.standard_normal(30)
                rows += [(delta, side, c, lid) for c, lid in enumerate(lids)]
    return images, pd.DataFrame(rows, columns=["delta", "side", "caption", "lid"])


@pytest.mark.parametrize("best", DELTAS)
def test_the_scale_at_which_lid_ranks_and_separates_is_chosen(tables: Tables, best: float) -> None:
    scale = scale_of(tables, *kept(tables, best, best))
    place = DELTAS.index(best)
    assert scale.log_delta == math.log(best)
    assert scale.deltas == DELTAS
    assert scale.rank[place] == pytest.approx(1)
    assert scale.auc[place] > 0.99
    # The LIDs of images of captions that are not duplicated, at the chosen scale.
    assert np.mean(scale.reference_lid) == pytest.approx(9, abs=0.6)
    assert len(scale.reference_lid) == 30


def test_both_figures_count_alike(tables: Tables) -> None:
    scale = scale_of(tables, *kept(tables, 0.5, 0.23))
    total = np.add(scale.auc, scale.rank)
    assert scale.log_delta == math.log(DELTAS[int(total.argmax())])
    assert max(scale.rank) == scale.rank[DELTAS.index(0.5)]
    assert max(scale.auc) == scale.auc[DELTAS.index(0.23)]


@pytest.mark.parametrize("unbiased", DELTAS)
def test_of_scales_that_are_as_good_the_least_biased_is_chosen(
    tables: Tables, unbiased: float
) -> None:
    images, lids = kept(tables, 0.5, 0.5)
    same = lids[lids.delta == 0.5]
    rng = np.random.default_rng(1)
    every = []
    for delta in DELTAS:
        # As good but for a little noise, which sets the sums apart by less than their error.
        one = same.assign(delta=delta, lid=same.lid + 0.3 * rng.standard_normal(len(same)))
        one.loc[one.side == HELD_OUT, "lid"] += 0.0 if delta == unbiased else 7.0
        every.append(one)
    scale = scale_of(tables, images, pd.concat(every, ignore_index=True))
    assert scale.log_delta == math.log(unbiased)
    assert abs(scale.bias[DELTAS.index(unbiased)]) < 0.2
    assert min(abs(b) for d, b in zip(DELTAS, scale.bias, strict=True) if d != unbiased) > 6


def test_a_scale_that_is_clearly_worse_is_not_chosen_for_its_bias(tables: Tables) -> None:
    images, lids = kept(tables, 0.5, 0.5)
    lids.loc[(lids.delta == 0.5) & (lids.side == HELD_OUT), "lid"] += 20
    scale = scale_of(tables, images, lids)
    assert scale.log_delta == math.log(0.5)
    assert scale.bias[DELTAS.index(0.5)] == pytest.approx(20)


@pytest.mark.parametrize("sides", [(DUPLICATED,), (OTHERS,), ()])
def test_a_side_without_images_leaves_the_ranks_alone(
    tables: Tables, sides: tuple[str, ...]
) -> None:
    scale = scale_of(tables, *kept(tables, 0.75, 0.23, sides))
    assert scale.auc == (0.5,) * len(DELTAS)
    assert scale.log_delta == math.log(0.75)


def test_every_caption_is_in_one_item_of_images_and_in_one_of_each_scale() -> None:
    captions = {HELD_OUT: tuple(range(41)), DUPLICATED: (7,), OTHERS: ()}
    chosen = ScaleCaptions(captions)
    assert chosen.image_items == ("held-out-0", "held-out-1", "held-out-2", "duplicated-0")
    parts = [chosen.part(item) for item in chosen.image_items]
    for side, numbers in captions.items():
        assert sum((part.captions for part in parts if part.side == side), ()) == numbers
    assert len(set(chosen.lid_items)) == 4 * len(DELTAS)
    assert {item.partition("-")[2] for item in chosen.lid_items} == set(chosen.image_items)
