"""Keeping an image off the one that its prompt ends in by itself."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    MitigationContext,
    RequestScore,
    result_of,
    without_work,
)
from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.padding_fix import PaddingFix
from mmh_core.mitigations.sparse_repellency import (
    Repellency,
    SparseRepellency,
    _roots,
    share_to_leave,
)
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import generate, generate_images, score_model_of_output
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Request
from tests.mitigations.conftest import ModelOf, request_for

KINDS = pytest.mark.parametrize("kind", ["tiny", "tiny-v"])


def normal(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def centered(x: Tensor) -> Tensor:
    return (x - x.mean((2, 3), keepdim=True)).flatten(1)


def cosines(x: Tensor, references: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(
        centered(x)[:, None], centered(references)[None], dim=2
    )


def near(reference: Tensor, degrees: list[float]) -> Tensor:
    """Return rows whose centered latents stand at these angles to the reference's."""
    z = centered(reference)
    across = centered(normal(len(degrees), *reference.shape[1:], seed=9))
    across = across - (across @ z.T) / (z @ z.T) * z
    across = across / across.norm(dim=1, keepdim=True) * z.norm()
    angles = torch.tensor(degrees, dtype=torch.float64)[:, None] * math.pi / 180
    rows = torch.cos(angles) * z + torch.sin(angles) * across
    return rows.view(len(degrees), *reference.shape[1:])


def test_the_share_is_where_the_way_leaves_the_cone() -> None:
    """From 0 straight towards 90 degrees: tan(angle) = s / (1 - s)."""
    reference = normal(1, 3, 4, 4)
    x, towards = near(reference, [0.0]), near(reference, [90.0])
    for degrees in (10.0, 30.0, 45.0, 60.0):
        share = share_to_leave(x, towards, reference, math.cos(math.radians(degrees)))
        tangent = math.tan(math.radians(degrees))
        assert float(share) == pytest.approx(tangent / (1 + tangent))


@pytest.mark.parametrize("cosine", [0.95, 0.8, 0.3])
def test_at_the_share_the_cosine_is_the_one_allowed_and_before_it_more(cosine: float) -> None:
    references = normal(2, 3, 4, 4)
    x = near(references[1:], [1.0, 8.0, 15.0]) + 4.0
    towards = 2 * normal(3, 3, 4, 4, seed=8)
    share = share_to_leave(x, towards, references[1:], cosine)[:, None, None, None]
    assert bool(((share > 0) & (share < 2)).all())
    found = cosines(x + share * (towards - x), references[1:])
    torch.testing.assert_close(found, torch.full_like(found, cosine))
    for part in (0.0, 0.3, 0.6, 0.99):
        assert bool((cosines(x + part * share * (towards - x), references[1:]) > cosine).all())
    # The nearest of several references is the one to leave.
    both = share_to_leave(x, towards, references, cosine)
    torch.testing.assert_close(both, share.flatten())


def test_what_is_outside_goes_no_way_and_what_has_no_way_out_all_of_it() -> None:
    reference = normal(1, 3, 4, 4)
    outside = share_to_leave(near(reference, [61.0, 180.0]), 5 * reference, reference, 0.5)
    assert outside.tolist() == [0.0, 0.0]
    x = near(reference, [10.0])
    # Towards more of the same, and nowhere at all.
    for towards in (x + reference, x):
        assert share_to_leave(x, towards, reference, 0.5).tolist() == [math.inf]


def test_brightness_and_contrast_do_not_lead_out_of_a_cone() -> None:
    """What would leave a ball around the reference is still in the cone."""
    reference = normal(1, 3, 4, 4)
    shift = torch.tensor([5.0, -3.0, 0.5], dtype=torch.float64)[None, :, None, None]
    towards = near(reference, [90.0])
    plain = share_to_leave(reference, towards, reference, 0.8)
    assert float(plain) > 0
    shifted = share_to_leave(reference + shift, towards, reference, 0.8)
    torch.testing.assert_close(shifted, plain)
    louder = share_to_leave(3 * reference, 3 * towards, reference, 0.8)
    torch.testing.assert_close(louder, plain)


def test_what_has_no_contrast_is_in_no_cone_and_around_none() -> None:
    reference, flat = normal(1, 3, 4, 4), torch.ones(1, 3, 4, 4, dtype=torch.float64)
    towards = near(reference, [90.0])
    assert share_to_leave(flat, towards, reference, 0.9).tolist() == [0.0]
    assert share_to_leave(reference, towards, flat, 0.9).tolist() == [0.0]
    both = share_to_leave(reference, towards, torch.cat([flat, reference]), 0.9)
    torch.testing.assert_close(both, share_to_leave(reference, towards, reference, 0.9))


def at(*degrees: float) -> Tensor:
    """Return rows in one plane at these angles."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    plane = torch.linalg.qr(centered(normal(2, 3, 4, 4)).T)[0]
    rows = torch.stack([torch.cos(angles), torch.sin(angles)], dim=1) @ plane.T
    return rows.view(len(degrees), 3, 4, 4)


@pytest.mark.parametrize(
    ("references", "start", "towards", "cosine", "leaves"),
    [
        # The way out of the first cone ends in the second, which it leaves at 30 + 36.9 degrees.
        ((0.0, 30.0), 10.0, 100.0, 0.8, 30 + math.degrees(math.acos(0.8))),
        ((30.0, 0.0), 10.0, 100.0, 0.8, 30 + math.degrees(math.acos(0.8))),
        # Three in a row that join up, and a fourth that does not.
        ((0.0, 20.0, 40.0, 120.0), 0.0, 170.0, math.cos(math.radians(15)), 55.0),
        # Turned around: what lies behind does not count.
        ((0.0, 30.0), 10.0, -100.0, 0.8, -math.degrees(math.acos(0.8))),
        ((0.0, 180.0), 0.0, 90.0, 0.5, 60.0),
    ],
)
def test_all_cones_that_join_up_are_left(
    references: tuple[float, ...], start: float, towards: float, cosine: float, leaves: float
) -> None:
    shapes, x = at(*references), at(start)
    share = float(share_to_leave(x, at(towards), shapes, cosine))
    # On the chord from one angle to another, both of length 1.
    reached = x + share * (at(towards) - x)
    axes = centered(at(0.0, 90.0))
    place = (centered(reached) @ axes.T)[0]
    assert math.degrees(math.atan2(float(place[1]), float(place[0]))) == pytest.approx(leaves)
    assert float(cosines(reached, shapes).max()) == pytest.approx(cosine)


@pytest.mark.parametrize("seed", range(24))
def test_the_share_is_the_first_at_which_no_cone_holds_the_row(seed: int) -> None:
    """Against walking the way in small steps, for random cones of any width that overlap."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(count: int, apart: float, around: Tensor) -> Tensor:
        noise = torch.randn(count, 2, 2, 2, generator=generator, dtype=torch.float64)
        return around + apart * noise

    middle = drawn(1, 1.0, torch.zeros((), dtype=torch.float64))
    references = drawn(1 + seed % 8, 0.1 + seed % 3, middle)
    x, towards = drawn(40, 0.5 + seed % 2, middle), drawn(40, 1.0 + seed % 5, -middle)
    cosine = float(torch.rand((), generator=generator)) * 0.98
    overshoot = 1.0 if seed % 2 else 1.7
    share = share_to_leave(x, towards, references, cosine, overshoot=overshoot)
    shares = torch.linspace(0, 6, 3001, dtype=torch.float64)
    ways = x[:, None] + shares[None, :, None, None, None] * (towards - x)[:, None]
    highest = cosines(ways.flatten(0, 1), references).amax(1).view(40, -1)
    step = float(shares[1])
    for row in range(40):
        free = torch.nonzero(highest[row] <= cosine).flatten()
        least = float(shares[free[0]]) if len(free) else math.inf
        rest = free[shares[free] >= overshoot * (least - step)]
        expected = float(shares[rest[0]]) if least and len(rest) else (least and math.inf)
        if math.isinf(expected) or float(share[row]) > 6 - 2 * step:
            assert float(share[row]) > 6 - 2 * overshoot * step
            continue
        # A gap between two cones that is narrower than a step may be walked over.
        assert float(share[row]) <= expected + 2 * overshoot * step
        reached = x[row] + share[row] * (towards[row] - x[row])
        assert float(cosines(reached[None], references).max()) <= cosine + 1e-9
        # Up to the least share every place is in some cone.
        lone = float(share_to_leave(x[row : row + 1], towards[row : row + 1], references, cosine))
        before = highest[row][shares < lone - 1e-9]
        assert bool((before > cosine - 1e-9).all())


def test_an_overshoot_ends_in_no_other_cone() -> None:
    """Twice the share would land in a cone that the way had not reached yet."""
    references, x, towards = at(0.0, 90.0), at(0.0), at(120.0)
    cosine = math.cos(math.radians(20))
    least = share_to_leave(x, towards, references, cosine)
    assert float(cosines(x + 3 * least * (towards - x), references).max()) > cosine
    share = share_to_leave(x, towards, references, cosine, overshoot=3.0)
    assert float(share) > 3 * float(least)
    assert float(cosines(x + share * (towards - x), references).max()) == pytest.approx(cosine)


@pytest.mark.parametrize("cosine", [-0.1, 1.1, math.nan])
def test_a_cone_that_is_none_is_refused(cosine: float) -> None:
    with pytest.raises(ValueError, match="cosine must be from 0 to 1"):
        share_to_leave(at(0.0), at(9.0), at(0.0), cosine)


def test_the_positive_roots_of_every_kind_of_quadratic() -> None:
    """Two positive roots, one of each sign, none; a line, a constant, and what would cancel."""
    rows = [
        ((1.0, -3.0, 2.0), (1.0, 2.0)),
        ((-1.0, 0.0, 4.0), (2.0, math.inf)),
        ((-1.0, -3.0, 4.0), (1.0, math.inf)),
        ((1.0, 3.0, 2.0), (math.inf, math.inf)),
        ((1.0, 0.0, 2.0), (math.inf, math.inf)),
        ((0.0, -2.0, 1.0), (0.5, math.inf)),
        ((0.0, 2.0, 1.0), (math.inf, math.inf)),
        ((0.0, 0.0, 1.0), (math.inf, math.inf)),
        ((1e-20, -1.0, 0.5), (0.5, 1e20)),
        ((-1e-20, -1.0, 0.5), (0.5, math.inf)),
        ((1.0, -2.0, 1.0), (1.0, 1.0)),
    ]
    a, b, c = torch.tensor([row for row, _ in rows], dtype=torch.float64).unbind(1)
    found = torch.stack(_roots(a, b, c), dim=1)
    expected = torch.tensor([roots for _, roots in rows], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@KINDS
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_each_step_aims_where_the_way_without_padding_leaves_the_cone(
    model_of: ModelOf, kind: str, guidance: float
) -> None:
    """In the record of a step, `x0_hat` is what the mixed output aims at."""
    model = model_of(kind)
    request = request_for(model, guidance=guidance)
    first, _ = result_of(generated_latents(model, request))
    chosen = SparseRepellency(0.3, overshoot=1.0, farthest=1e6)
    out = result_of(chosen.apply(model, request))
    padded = result_of(PaddingFix(1.0).apply(model, request)).request.steering
    assert padded is not None and padded.embedding is not None
    left = 0
    for step in generate(model, out.request):
        assert step.eps_u is not None
        time = torch.tensor(step.t, dtype=torch.float64)
        alpha, sigma = float(model.schedule.alpha(time)), float(model.schedule.sigma(time))
        eps = step.eps_u + guidance * (step.eps_c - step.eps_u)
        plain = (step.x_t - sigma * eps) / alpha
        was_in = cosines(plain, first).amax(1) > 0.7
        left += int(was_in.sum())
        # Where alpha is small x0_hat is large and its rounding with it.
        close = {"rtol": 1e-2, "atol": 2e-2}
        torch.testing.assert_close(step.x0_hat[~was_in], plain[~was_in], **close)
        reached = cosines(step.x0_hat, first).amax(1)[was_in]
        torch.testing.assert_close(reached, torch.full_like(reached, 0.7), **close)
    assert left > 0


@pytest.mark.parametrize(("overshoot", "farthest"), [(1.0, 5.0), (1.6, 5.0), (50.0, 1.25)])
def test_the_mixture_goes_further_than_it_must_but_not_beyond_the_farthest(
    model_of: ModelOf, overshoot: float, farthest: float
) -> None:
    model = model_of("tiny")
    shape = (2, 4, 4, 4)
    first, x_t, without, with_prompt, asked = (normal(*shape, seed=i).float() for i in range(5))
    branches = Branches(
        0.5, x_t, without, with_prompt, torch.ones(2), 3.0, lambda embedding: asked
    )
    zeroed = torch.zeros(1, 16, 8)
    output, other = without + 3 * (with_prompt - without), without + 3 * (asked - without)
    # Around what the step would have drawn every row is in a cone.
    x0 = score_model_of_output(model, output).x0(x_t, 0.5) + 0.1 * first
    repellency = Repellency(model, zeroed, x0, 0.9, overshoot, farthest)
    moved = (repellency.mix(branches) - output).flatten(1).norm(dim=1)
    least = (Repellency(model, zeroed, x0, 0.9, 1.0, 1e9).mix(branches) - output).flatten(1)
    whole = (other - output).flatten(1).norm(dim=1)
    expected = torch.minimum(overshoot * least.norm(dim=1), farthest * whole)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)
    assert bool((moved > 0).all())


@KINDS
def test_what_is_unlike_the_first_image_is_left_alone(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    request = request_for(model)
    # No image has a cosine above 1 with another.
    out = result_of(SparseRepellency(0.0).apply(model, request))
    assert torch.equal(generate_images(model, out.request), generate_images(model, request))


def test_latents_at_hand_spare_the_first_drawing(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    first, nfe = result_of(generated_latents(model, request))
    alone = result_of(SparseRepellency(0.4).apply(model, request, context=NO_CONTEXT))
    helped = result_of(
        SparseRepellency(0.4).apply(model, request, context=MitigationContext(latents=first))
    )
    assert (alone.nfe, helped.nfe) == (nfe, 0.0)
    assert alone.nfe_per_step == 3.0
    assert torch.equal(
        generate_images(model, alone.request), generate_images(model, helped.request)
    )
    assert not torch.equal(generate_images(model, alone.request), generate_images(model, request))


def test_a_prompt_without_padding_and_another_padding_are_refused(model_of: ModelOf) -> None:
    model = model_of("tiny")
    with pytest.raises(MMHError, match="no padding to set to zero: shorten it"):
        result_of(SparseRepellency().apply(model, request_for(model, prompt="x" * 40)))
    tokenizer: Any = copy.deepcopy(model.tokenizer)
    tokenizer.pad_token = "!"
    with pytest.raises(MMHError, match="padded with the end token"):
        result_of(
            SparseRepellency().apply(replace(model, tokenizer=tokenizer), request_for(model))
        )


def scanned(model: TextToImage, request: Request, score: float) -> tuple[bool, float, str]:
    """Apply it with a detector; return whether the request stays, the NFE, the sentence."""
    context = MitigationContext(
        detector=lambda asked: without_work(RequestScore(score, 7.0)),
        threshold=0.5,
        latents=torch.ones(2, 4, 4, 4),
    )
    out = result_of(SparseRepellency().apply(model, request, context=context))
    return out.request is request, out.nfe, out.explanation


def test_a_request_that_the_detector_passes_is_left_alone(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    kept, nfe, said = scanned(model, request, 0.49)
    assert (kept, nfe) == (True, 7.0)
    assert said == "Nothing was repelled: the score 0.49 is below the threshold 0.5."
    kept, nfe, said = scanned(model, request, 0.5)
    assert (kept, nfe) == (False, 7.0)
    assert said.endswith("latents below 0.9.")


def test_a_strength_outside_its_range_is_refused(model_of: ModelOf) -> None:
    model = model_of("tiny")
    for strength in (-0.1, 1.1):
        with pytest.raises(ValueError, match="from 0 to 1"):
            result_of(
                replace(SparseRepellency(), strength=strength).apply(model, request_for(model))
            )
