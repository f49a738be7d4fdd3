"""The rank of a generator, from maps whose Jacobian is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmh_core.dimension.jacobian_rank import jacobian_rank
from tests.dimension.closed_forms import seeded


@pytest.mark.parametrize(("latent", "ambient"), [(3, 8), (8, 3), (5, 5)])
def test_a_linear_map_has_its_own_singular_values(latent: int, ambient: int) -> None:
    """Equal the singular values of the matrix, by columns and by rows, and count both ways."""
    matrix = torch.randn(ambient, latent, generator=seeded(), dtype=torch.float64)
    z = torch.randn(4, latent, generator=seeded(1), dtype=torch.float64)
    truth = torch.linalg.svdvals(matrix)
    delta = truth[1].item() * 0.99
    found = jacobian_rank(lambda v: v @ matrix.T, z, delta)
    torch.testing.assert_close(found.singular_values, truth.expand(4, -1))
    soft = (truth.square() / (truth.square() + delta**2)).sum()
    torch.testing.assert_close(found.soft, soft.expand(4))
    assert found.count.tolist() == [2.0] * 4
    assert found.nfe == (2 + 2 * latent if latent <= ambient else 1 + ambient)


def test_curved_maps_are_read_at_each_latent() -> None:
    """Find the tangents of a cone: lengths sqrt(2) and r, that is rank 1 at its tip."""

    def cone(z: Tensor) -> Tensor:
        r, angle = z.unbind(1)
        return torch.stack([r * angle.cos(), r * angle.sin(), r], dim=1)

    z = torch.tensor([[0.0, 0.3], [0.5, 1.0], [3.0, 2.0]])
    found = jacobian_rank(cone, z, 0.1)
    expected = torch.tensor([[2**0.5, 0.0], [2**0.5, 0.5], [3.0, 2**0.5]])
    torch.testing.assert_close(found.singular_values, expected, atol=1e-6, rtol=1e-6)
    assert found.count.tolist() == [1.0, 2.0, 2.0]


def test_images_come_out_of_images() -> None:
    """Take latents and outputs of any shape, leaving parameters alone and grad mode aside."""
    decoder = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        decoder.weight.copy_(torch.tensor([3.0, 4.0]).reshape(2, 1, 1, 1))
        found = jacobian_rank(decoder, torch.zeros(2, 1, 3, 3), 1.0)
    # Each of 9 pixels is stretched by sqrt(3^2 + 4^2) = 5.
    torch.testing.assert_close(found.singular_values, torch.full((2, 9), 5.0))
    torch.testing.assert_close(found.soft, torch.full((2,), 9 * 25 / 26))
    assert decoder.weight.grad is None


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan")])
def test_bad_input_is_refused(delta: float) -> None:
    """Refuse a scale that is not positive and latents that are not finite."""
    with pytest.raises(ValueError, match="delta must be finite and above 0"):
        jacobian_rank(lambda v: v, torch.zeros(1, 2), delta)
    with pytest.raises(ValueError, match="z must hold finite"):
        jacobian_rank(lambda v: v, torch.tensor([[torch.inf]]), 1.0)
