"""Keeping a picture off the one that its prompt ends in by itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmh_core.mitigations.lid_loss import drawn_latents
from mmh_core.mitigations.record import NOTHING, Given, Scan
from mmh_core.mitigations.sparse_repellency import SparseRepellency, out_of_cones
from mmh_core.text_to_image.generation import draw, generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request
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


def test_a_row_in_the_cone_moves_to_the_nearest_point_of_its_surface() -> None:
    reference = normal(1, 3, 4, 4)
    x = near(reference, [10.0, 40.0, 70.0]) + 2.0
    moved = out_of_cones(x, reference, math.cos(math.pi / 3))
    found = torch.rad2deg(torch.arccos(cosines(moved, reference)[:, 0]))
    torch.testing.assert_close(found, torch.tensor([60.0, 60.0, 70.0], dtype=torch.float64))
    # The way to a ray at the angle d is the length times sin(d).
    length = float(centered(reference).norm())
    ways = (moved - x).flatten(1).norm(dim=1)
    expected = [length * math.sin(math.radians(d)) for d in (50.0, 20.0, 0.0)]
    torch.testing.assert_close(ways, torch.tensor(expected, dtype=torch.float64))
    # Brightness stays, and what is outside stays to the last bit.
    torch.testing.assert_close(moved.mean((2, 3)), x.mean((2, 3)))
    assert torch.equal(moved[2], x[2])


def test_no_other_point_of_the_surface_is_nearer() -> None:
    reference = normal(1, 1, 2, 2)
    x = near(reference, [25.0])
    best = float((out_of_cones(x, reference, 0.5) - x).norm())
    z = centered(reference) / centered(reference).norm()
    for seed in range(200):
        w = centered(normal(1, 1, 2, 2, seed=seed))
        w = w - (w @ z.T) * z
        ray = 0.5 * z + math.sqrt(0.75) * w / w.norm()
        away = (centered(x) - (centered(x) @ ray.T) * ray).norm()
        assert float(away) >= best - 1e-9


def test_overshoot_lengthens_the_way() -> None:
    reference = normal(1, 3, 4, 4)
    x = near(reference, [5.0, 30.0])
    once, more = (out_of_cones(x, reference, 0.8, overshoot) for overshoot in (1.0, 1.6))
    torch.testing.assert_close(more - x, 1.6 * (once - x))


def test_brightness_and_contrast_do_not_lead_out_of_a_cone() -> None:
    """What a ball around the reference would let pass is still moved."""
    reference = normal(1, 3, 4, 4)
    shift = torch.tensor([5.0, -3.0, 0.5], dtype=torch.float64)[None, :, None, None]
    for changed in (reference + shift, 0.3 * reference, 3 * reference + shift):
        nudged = changed + 0.05 * normal(1, 3, 4, 4, seed=6)
        assert float(cosines(nudged, reference)) > 0.9
        moved = out_of_cones(nudged, reference, 0.9)
        assert float(cosines(moved, reference)) == pytest.approx(0.9)


def test_the_nearest_reference_repels() -> None:
    references = normal(3, 3, 4, 4)
    x = near(references[1:2], [20.0])
    alone = out_of_cones(x, references[1:2], 0.7)
    assert torch.equal(out_of_cones(x, references, 0.7), alone)


def test_a_row_on_the_axis_stays_finite() -> None:
    reference = normal(1, 3, 4, 4)
    moved = out_of_cones(reference, reference, 0.9)
    assert bool(torch.isfinite(moved).all())
    assert float(centered(moved).norm()) < float(centered(reference).norm())
    flat = torch.ones(1, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(out_of_cones(flat, reference, 0.9), flat)
    assert torch.equal(out_of_cones(reference, flat, 0.9), reference)


@KINDS
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_each_step_aims_outside_the_cone(model_of: ModelOf, kind: str, guidance: float) -> None:
    """In the record of a step, `x0_hat` is what the corrected output aims at."""
    model = model_of(kind)
    request = request_for(model, guidance=guidance)
    first, _ = drawn_latents(model, request)
    out = SparseRepellency(0.5, 1.0).apply(model, request)
    moved = 0
    for step in generate(model, out.request):
        assert step.eps_u is not None
        eps = step.eps_u + guidance * (step.eps_c - step.eps_u)
        time = torch.tensor(step.t, dtype=torch.float64)
        alpha, sigma = float(model.schedule.alpha(time)), float(model.schedule.sigma(time))
        plain = (step.x_t - sigma * eps) / alpha
        aimed = out_of_cones(plain, first, 0.5)
        # Where alpha is small x0_hat is large and its rounding with it.
        torch.testing.assert_close(step.x0_hat, aimed, rtol=1e-2, atol=2e-2)
        moved += int((cosines(plain, first).amax(1) > 0.5).sum())
        assert float(cosines(step.x0_hat, first).amax()) < 0.51
    assert moved > 0


def test_what_is_unlike_the_first_picture_is_left_alone(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    # No picture has a cosine above 1 with another.
    out = SparseRepellency(0.0).apply(model, request)
    assert torch.equal(draw(model, out.request), draw(model, request))


def test_latents_at_hand_spare_the_first_drawing(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    first, forwards = drawn_latents(model, request)
    alone = SparseRepellency(0.4).apply(model, request, given=NOTHING)
    helped = SparseRepellency(0.4).apply(model, request, given=Given(latents=first))
    assert (alone.forwards, helped.forwards) == (forwards, 0.0)
    assert torch.equal(draw(model, alone.request), draw(model, helped.request))
    assert not torch.equal(draw(model, alone.request), draw(model, request))


def scanned(model: TextToImage, request: Request, score: float) -> tuple[bool, float, str]:
    """Apply it with a detector; return whether the request stays, the forwards, the sentence."""
    given = Given(
        scan=lambda asked: Scan(score, 7.0), threshold=0.5, latents=torch.ones(2, 4, 4, 4)
    )
    out = SparseRepellency().apply(model, request, given=given)
    return out.request is request, out.forwards, out.changed


def test_a_request_that_the_detector_passes_is_left_alone(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    kept, forwards, said = scanned(model, request, 0.49)
    assert (kept, forwards) == (True, 7.0)
    assert said == "Nothing was repelled: the score 0.49 is below the threshold 0.5."
    kept, forwards, said = scanned(model, request, 0.5)
    assert (kept, forwards) == (False, 7.0)
    assert said.endswith("latents' cosine exceeded 0.9.")


def test_a_strength_outside_its_range_is_refused(model_of: ModelOf) -> None:
    model = model_of("tiny")
    for strength in (-0.1, 1.1):
        with pytest.raises(ValueError, match="from 0 to 1"):
            replace(SparseRepellency(), strength=strength).apply(model, request_for(model))
