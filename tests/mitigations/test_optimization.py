"""The descent that all optimizing mitigations share."""

from __future__ import annotations

import torch
from torch import Tensor

from mmh_core.mitigations.interface import result_of
from mmh_core.mitigations.optimization import descend

START = torch.tensor([[3.0], [0.2], [5.0]])


def distance(values: Tensor) -> Tensor:
    return values.abs().sum(1)


def test_each_row_stops_where_it_reaches_the_target() -> None:
    descent = result_of(descend(distance, START, 0.5, rate=0.5, steps=20))
    # AdamW moves by its rate while the sign of the gradient stays, and decay adds .5 % of it.
    assert bool((descent.after <= 0.5).all())
    # Row 2 needs four steps more than row 0, which would carry that one across 0.
    assert bool((descent.values > 0).all())
    assert torch.equal(descent.values[1], START[1])
    assert torch.equal(descent.before, START[:, 0])


def test_the_first_step_is_adamws() -> None:
    descent = result_of(descend(distance, START, 0.0, rate=0.05, steps=1))
    # Decay by rate * .01, then the rate times the sign of the gradient.
    torch.testing.assert_close(descent.values, START * (1 - 0.05 * 0.01) - 0.05)
    assert (descent.steps, descent.evaluations) == (1, 2)


def test_rows_do_not_depend_on_their_company() -> None:
    together = result_of(descend(distance, START, 0.5, rate=0.3, steps=6))
    for row in range(3):
        alone = result_of(descend(distance, START[row : row + 1], 0.5, rate=0.3, steps=6))
        torch.testing.assert_close(alone.values[0], together.values[row])


def test_it_stops_at_the_limit_and_says_how_far_it_came() -> None:
    descent = result_of(descend(distance, START, 0.0, rate=0.05, steps=3))
    assert descent.steps == 3
    torch.testing.assert_close(descent.after, distance(descent.values))
    assert bool((descent.after < descent.before).all())


def test_it_works_where_gradients_are_off() -> None:
    with torch.no_grad():
        descent = result_of(descend(distance, START, 0.5, rate=0.5, steps=20))
    assert not descent.values.requires_grad
    assert bool((descent.after <= 0.5).all())
