"""LID of a text-to-image model: its parameterization, precision and conditioning do not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel, expand
from mmh_core.dimension.flipd import flipd, flipd_exact
from mmh_core.dimension.spectral import soft_spectral_count, soft_spectral_count_exact, spectrum
from mmh_core.text_to_image.model import TextToImage
from tests.text_to_image.conftest import ModelOf

LOG_DELTA = -0.7


def points(model: TextToImage, count: int = 2) -> Tensor:
    return torch.randn(count, *model.score_model.shape, generator=torch.Generator().manual_seed(1))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def as_other_target(model: ScoreModel) -> ScoreModel:
    """Return the same model as a v-network if it predicts eps, and as an eps-network if v."""

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        alpha = expand(model.schedule.alpha(t), x_t)
        sigma = expand(model.schedule.sigma(t), x_t)
        said = model.net(x_t, t, cond)
        if model.target == "eps":
            # v = alpha eps - sigma x0, with x0 = (x_t - sigma eps) / alpha.
            return alpha * said - sigma * (x_t - sigma * said) / alpha
        return alpha * said + sigma * x_t

    return replace(model, net=net, target="v" if model.target == "eps" else "eps")


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
@pytest.mark.parametrize("conditional", [False, True])
def test_lid_is_the_same_in_eps_and_in_v(model_of: ModelOf, kind: str, conditional: bool) -> None:
    model = model_of(kind)
    x = points(model)
    cond = model.encode_text(["the cat", "a dog"]) if conditional else None
    one, other = model.score_model, as_other_target(model.score_model)
    ours = spectrum(one, x, LOG_DELTA, cond=cond).eigenvalues
    theirs = spectrum(other, x, LOG_DELTA, cond=cond).eigenvalues
    # Float32 through a random network whose Jacobian has norms of 1 to 10.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    # The count too, but for eigenvalues that lie on the threshold itself.
    sure = (ours - 0.5).abs() > 1e-3
    assert torch.equal(ours[sure] > 0.5, theirs[sure] > 0.5) and sure.float().mean() > 0.9
    for estimate in (flipd, soft_spectral_count):
        a = estimate(one, x, LOG_DELTA, cond=cond, generator=seeded()).lid
        b = estimate(other, x, LOG_DELTA, cond=cond, generator=seeded()).lid
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
def test_estimates_with_probes_tend_to_the_exact_ones(model_of: ModelOf, kind: str) -> None:
    model = model_of(kind)
    x, cond = points(model), model.encode_text(["the cat", "a dog"])
    exact = flipd_exact(model.score_model, x, LOG_DELTA, cond=cond).lid
    probed = flipd(model.score_model, x, LOG_DELTA, cond=cond, probes=64, generator=seeded())
    assert bool(((probed.lid - exact).abs() < 4 * probed.standard_error).all())
    soft = soft_spectral_count(model.score_model, x, LOG_DELTA, cond=cond, generator=seeded())
    whole = soft_spectral_count_exact(model.score_model, x, LOG_DELTA, cond=cond).lid
    # Five Lanczos steps over a spectrum far wider than [0, 1] are biased: 10 % of D = 64.
    assert bool(((soft.lid - whole).abs() < 4 * soft.standard_error + 6.4).all())


def test_no_condition_is_the_empty_prompt_and_a_prompt_is_another(model_of: ModelOf) -> None:
    model = model_of("tiny")
    x = points(model)
    free = flipd_exact(model.score_model, x, LOG_DELTA).lid
    empty = flipd_exact(model.score_model, x, LOG_DELTA, cond=model.encode_text(["", ""])).lid
    torch.testing.assert_close(free, empty, rtol=1e-4, atol=1e-2)
    cat = flipd_exact(model.score_model, x, LOG_DELTA, cond=model.encode_text(["the cat"] * 2)).lid
    assert bool(((free - cat).abs() > 0.5).all())


def test_a_batch_is_its_points_one_by_one(model_of: ModelOf) -> None:
    model = model_of("tiny")
    x, cond = points(model), model.encode_text(["the cat", "a dog"])
    together = flipd_exact(model.score_model, x, LOG_DELTA, cond=cond).lid
    for row in range(2):
        alone = flipd_exact(
            model.score_model, x[row : row + 1], LOG_DELTA, cond=cond[row : row + 1]
        )
        torch.testing.assert_close(alone.lid, together[row : row + 1], rtol=1e-4, atol=1e-2)


def test_scales_on_the_schedule_reach_its_ends(model_of: ModelOf) -> None:
    """The table's first and last step are scales like any other; beyond them is refused."""
    model = model_of("tiny")
    ends = model.schedule.log_delta(torch.tensor([0.0, 1.0])).tolist()
    for end in ends:
        assert bool(
            torch.isfinite(
                flipd(model.score_model, points(model), end, generator=seeded()).lid
            ).all()
        )
    with pytest.raises(ValueError, match="log_delta must lie between"):
        flipd(model.score_model, points(model), ends[0] - 0.1, generator=seeded())
