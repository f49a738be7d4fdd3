"""The median LID of reference prompts: known answers, one prompt counting once."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.statistics.intervals import median_interval
from mmh_core.subject.reference_prompts import ReferencePrompts, median_lid, usual_lid
from mmh_core.text_to_image.requests import Sampling


@pytest.mark.parametrize(
    ("lids", "median"),
    [
        ({"a": (1.0,), "b": (2.0,), "c": (9.0,)}, 2.0),
        ({"a": (1.0, 3.0), "b": (8.0, 8.0, 8.0)}, 5.0),
        ({"a": (4.0, math.nan, math.inf), "b": (6.0,), "c": (math.nan,)}, 5.0),
        ({str(number): (float(number),) for number in range(11)}, 5.0),
    ],
)
def test_the_median_is_over_prompts_each_the_mean_of_its_images(
    lids: dict[str, tuple[float, ...]], median: float
) -> None:
    images = [(prompt, lid) for prompt, own in lids.items() for lid in own]
    interval = median_lid(images)
    assert interval.value == median
    prompts, values = zip(*images, strict=True)
    empty = torch.empty(0)
    reference = ReferencePrompts(
        *("model", "0" * 64, Sampling(4, 2.0, 32, 32), 0.0, empty, prompts, torch.tensor(values)),
        *(empty, empty, empty),
    )
    assert usual_lid(reference).value == pytest.approx(median)
    if len(lids) == 11:
        ends = median_interval(torch.arange(11.0))
        assert (interval.low, interval.high) == (ends.low, ends.high) == (1.0, 9.0)


def test_without_reference_prompts_there_is_no_median() -> None:
    for interval in (median_lid([]), median_lid([("a", math.nan)]), usual_lid(None)):
        assert all(math.isnan(each) for each in (interval.value, interval.low, interval.high))
