"""What a request refuses, field by field and in total."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmh_core.records import MMHError
from mmh_core.text_to_image.requests import MOST_WORK, Request, Steering

GOOD: dict[str, Any] = {
    "prompt": "the cat",
    "seeds": (0, 2**63 - 1),
    "steps": 30,
    "guidance": 2.0,
    "height": 64,
    "width": 72,
}


def test_equal_fields_make_equal_requests() -> None:
    assert Request(**GOOD) == Request(**GOOD)
    assert hash(Request(**GOOD)) == hash(Request(**GOOD))
    assert Request(**GOOD) != Request(**{**GOOD, "negative": "a dog"})


def test_steering_is_equal_only_to_itself() -> None:
    steering = Steering(noise=torch.zeros(2, 4, 8, 9))
    same = Request(**GOOD, steering=steering)
    assert same == Request(**GOOD, steering=steering)
    assert same != Request(**GOOD, steering=Steering(noise=torch.zeros(2, 4, 8, 9)))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("seeds", (), "at least one"),
        ("seeds", (-1,), "whole number"),
        ("seeds", (2**63,), "whole number"),
        ("seeds", (1.0,), "whole number"),
        ("seeds", (True,), "whole number"),
        ("steps", 0, "from 1 to 1,000"),
        ("steps", 1001, "from 1 to 1,000"),
        ("guidance", float("nan"), "finite"),
        ("guidance", float("inf"), "finite"),
        ("height", 60, "multiples of 8"),
        ("width", 0, "multiples of 8"),
        ("width", -8, "multiples of 8"),
        ("prompt", "a" * 10_001, "too long"),
        ("negative", "a" * 10_001, "too long"),
    ],
)
def test_what_a_person_can_mistype_is_said(field: str, value: Any, says: str) -> None:
    with pytest.raises(MMHError, match=says):
        Request(**{**GOOD, field: value})


def test_an_unknown_scheduler_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'heun'.*ddim"):
        Request(**{**GOOD, "scheduler": "heun"})


def test_the_product_of_steps_pixels_and_images_is_limited() -> None:
    size = {"height": 1024, "width": 1024, "seeds": tuple(range(8))}
    steps = MOST_WORK // (8 * 1024 * 1024)
    Request(**{**GOOD, **size, "steps": steps})
    with pytest.raises(MMHError, match="fewer"):
        Request(**{**GOOD, **size, "steps": steps + 1})
    with pytest.raises(MMHError, match="fewer"):
        Request(**{**GOOD, **size, "seeds": tuple(range(9)), "steps": 1})
