"""A fit that was stopped goes on as if it had not been; what cannot go on says so."""

from __future__ import annotations

import copy
import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmh_core.pocket.fit import Fitted, Fitting, Loss, fit
from mmh_core.records import MMHError

STEPS = 6


def small() -> nn.Module:
    """Return a network of seven weights, equal at every call."""
    net = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.arange(6.0).reshape(2, 3) / 6)
    return net


def random_loss(net: nn.Module) -> Loss:
    """Return a loss that depends on the generator."""

    def loss(generator: torch.Generator) -> Tensor:
        x = torch.randn(5, 3, generator=generator)
        return (net(x) - x[:, :2] * 2).square().mean()

    return loss


def fitted(checkpoint: Path | None, until: int = STEPS, stamp: str = "one") -> Fitted:
    """Fit the small network up to a step, keeping each, and return what is said of it."""
    net = small()
    generator = torch.Generator().manual_seed(3)
    config = Fitting(STEPS, 5, 0.05, warm_up=2, weight_decay=0.1)
    steps = fit(
        net,
        random_loss(net),
        config,
        generator=generator,
        checkpoint=checkpoint,
        stamp=stamp,
        save_every=-1.0,
    )
    last = None
    for last in steps:
        if last.step == until:
            break
    assert last is not None
    return last


def weights(report: Fitted) -> Tensor:
    """Return the averaged weights as they are now."""
    found: Any = report.model.weight
    return found.detach().clone()


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_fit_ends_at_the_same_bits(stop: int, tmp_path: Path) -> None:
    whole = fitted(None)
    first = fitted(tmp_path / "a.pt", until=stop)
    assert first.taken == stop
    second = fitted(tmp_path / "a.pt")
    assert second.taken == STEPS - stop
    assert torch.equal(weights(second), weights(whole))
    assert second.loss == whole.loss


def test_a_finished_fit_yields_its_last_step_again_and_takes_none(tmp_path: Path) -> None:
    whole, again = fitted(tmp_path / "a.pt"), fitted(tmp_path / "a.pt")
    assert (again.step, again.taken, again.loss) == (STEPS, 0, whole.loss)
    assert torch.equal(weights(again), weights(whole))


def test_a_checkpoint_of_another_stamp_is_passed_over_and_replaced(tmp_path: Path) -> None:
    fitted(tmp_path / "a.pt", stamp="one")
    other = fitted(tmp_path / "a.pt", stamp="two")
    assert other.taken == STEPS
    assert torch.equal(weights(other), weights(fitted(None)))
    assert fitted(tmp_path / "a.pt", stamp="two").taken == 0


@pytest.mark.parametrize("other", [b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named(other: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    if other is None:
        torch.save({"step": 1}, path)
    else:
        path.write_bytes(other)
    with pytest.raises(MMHError, match=r"a\.pt cannot be read: remove it"):
        fitted(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_it_is_kept(value: float, tmp_path: Path) -> None:
    net, path = small(), tmp_path / "a.pt"
    real, calls = random_loss(net), []

    def loss(generator: torch.Generator) -> Tensor:
        calls.append(0)
        return real(generator) * (value if len(calls) == 3 else 1.0)

    steps = fit(
        net,
        loss,
        Fitting(STEPS, 5, 0.05),
        generator=torch.Generator().manual_seed(3),
        checkpoint=path,
        save_every=-1.0,
    )
    with pytest.raises(MMHError, match="no longer a number at step 3"):
        list(steps)
    kept = torch.load(path, weights_only=True)
    assert kept["step"] == 2
    assert torch.isfinite(kept["model"]["weight"]).all()


def test_the_average_and_the_rate_follow_their_formulas() -> None:
    net = small()
    start, average = net.weight.detach().clone(), net.weight.detach().clone()
    by_hand = copy.deepcopy(net)
    config = Fitting(STEPS, 2, 0.05, warm_up=3)
    optimizer = torch.optim.AdamW(by_hand.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    steps = fit(net, lambda _: net.weight.square().sum() / 20, config, generator=torch.Generator())
    for step, report in enumerate(steps, 1):
        cosine = (1 + math.cos(math.pi * step / STEPS)) / 2
        optimizer.param_groups[0]["lr"] = 0.05 * (min(1, step / 3) * cosine + 0.001)
        optimizer.zero_grad()
        (by_hand.weight.square().sum() / 20).backward()
        optimizer.step()
        average += max(0.001, 9 / (9 + step)) * (by_hand.weight.detach() - average)
        # The two optimizers round differently: a few units in the seventh digit.
        torch.testing.assert_close(net.weight.detach(), by_hand.weight.detach(), atol=1e-6, rtol=0)
        torch.testing.assert_close(
            weights(report), average, atol=1e-6, rtol=2**-11 if step == STEPS else 0
        )
    # At the end the average is rounded to float16, of 11 bits.
    assert torch.equal(weights(report), weights(report).half().float())
    assert not torch.allclose(average, start, atol=1e-3)


def test_a_finished_checkpoint_holds_the_averaged_weights_alone(tmp_path: Path) -> None:
    last = fitted(tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert set(state) == {"stamp", "step", "loss", "averaged"}
    assert state["averaged"]["weight"].dtype == torch.float16
    assert torch.equal(state["averaged"]["weight"].float(), weights(last))


def test_a_frozen_weight_stays() -> None:
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    bias = net.bias.clone()
    report = list(
        islice(fit(net, random_loss(net), Fitting(3, 2, 0.05), generator=torch.Generator()), 3)
    )[-1]
    found: Any = report.model
    assert torch.equal(net.bias, bias)
    assert torch.equal(found.bias, bias.half().float())


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"batch": 1}, {"rate": 0.0}, {"rate": 1.0}, {"warm_up": 0}]
)
def test_what_cannot_be_run_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Fitting(**{"steps": 3, "batch": 4, "rate": 0.1, **bad})
