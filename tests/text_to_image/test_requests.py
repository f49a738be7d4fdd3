"""What a request refuses, field by field and in total."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmh_core.records import MMHError
from mmh_core.text_to_image.requests import MOST_WORK, Request, Sampling, Steering

SAMPLING: dict[str, Any] = {"steps": 30, "guidance": 2.0, "height": 64, "width": 72}
GOOD: dict[str, Any] = {
    "prompt": "the cat",
    "seeds": (0, 2**63 - 1),
    "sampling": Sampling(**SAMPLING),
}


def test_equal_fields_make_equal_requests() -> None:
    assert Request(**GOOD) == Request(**GOOD)
    assert hash(Request(**GOOD)) == hash(Request(**GOOD))
    assert Sampling(**SAMPLING) != Sampling(**SAMPLING, negative="a dog")
    assert Request(**GOOD) != Request(**{**GOOD, "sampling": Sampling(**SAMPLING, windows=2)})


def test_steering_is_equal_only_to_itself() -> None:
    steering = Steering(noise=torch.zeros(2, 4, 8, 9))
    same = Request(**GOOD, steering=steering)
    assert same == Request(**GOOD, steering=steering)
    assert same != Request(**GOOD, steering=Steering(noise=torch.zeros(2, 4, 8, 9)))


def test_a_sampling_is_said_in_words() -> None:
    assert Sampling(**SAMPLING).words == "30 steps, guidance 2, ddim, 64 x 72"
    other = Sampling(3, 7.5, 8, 8, "euler", "fog", 2)
    assert other.words == (
        "3 steps, guidance 7.5, euler, 8 x 8, a negative prompt, 2 context windows"
    )


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
        ("guidance", float("nan"), "up to 1,000"),
        ("guidance", float("inf"), "up to 1,000"),
        ("guidance", 1e30, "up to 1,000"),
        ("height", 60, "multiples of 8"),
        ("width", 0, "multiples of 8"),
        ("width", -8, "multiples of 8"),
        ("height", 100_000, "^The height is 100,000 pixels: .* up to 2,048"),
        ("width", 2056, "^The width is 2,056 pixels: .* up to 2,048"),
        ("windows", 0, "context windows"),
        ("prompt", "a" * 10_001, "too long"),
        ("negative", "a" * 10_001, "too long"),
    ],
)
def test_what_a_person_can_mistype_is_said(field: str, value: Any, says: str) -> None:
    with pytest.raises(MMHError, match=says):
        if field in GOOD:
            Request(**{**GOOD, field: value})
        else:
            Sampling(**{**SAMPLING, field: value})


def test_an_unknown_scheduler_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'heun'.*ddim"):
        Sampling(**{**SAMPLING, "scheduler": "heun"})


def test_the_product_of_steps_pixels_and_images_is_limited() -> None:
    seeds, steps = tuple(range(8)), MOST_WORK // (8 * 1024 * 1024)
    Request("", seeds, Sampling(steps, 2.0, 1024, 1024))
    with pytest.raises(MMHError, match=r"fewer steps\.$"):
        Request("", seeds, Sampling(steps + 1, 2.0, 1024, 1024))
    with pytest.raises(MMHError, match=r"1024 are more .*: choose fewer or smaller images\.$"):
        Request("", tuple(range(9)), Sampling(1, 2.0, 1024, 1024))
