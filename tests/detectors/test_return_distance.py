"""Return distance against its closed forms: a Gaussian, guided and not, and a point mass."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import measure
from mmh_core.detectors.return_distance import LAST, ReturnDistance
from mmh_core.dimension.probes import gaussian
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.worlds import BROAD, PROMPTS, means, unet_of, variances, world


def levels(delta: float, steps: int) -> list[float]:
    """Return the noise scales of the steps, and the 0 at their end."""
    ratio = (LAST / delta) ** (1 / (steps - 1)) if steps > 1 else 1.0
    return [*(delta * ratio**step for step in range(steps)), 0.0]


def way_back(
    mean: Tensor, variance: Tensor, delta: float, steps: int, guidance: float
) -> tuple[Tensor, Tensor]:
    """Return (a, b) for which the steps take z to `a z + b` along each axis."""
    a, b = torch.ones_like(mean), torch.zeros_like(mean)
    scales = levels(delta, steps)
    for start, end in pairwise(scales):
        kept, broad = variance / (variance + start**2), BROAD / (BROAD + start**2)
        slope = guidance * kept + (1 - guidance) * broad
        shift = guidance * mean * (1 - kept)
        ratio = end / start
        step = slope + (1 - slope) * ratio
        a, b = step * a, step * b + shift * (1 - ratio)
    return a, b


@pytest.mark.parametrize("target", ["eps", "v"])
@pytest.mark.parametrize(("delta", "steps", "guidance"), [(1.6, 8, 2.0), (0.8, 3, 1.0)])
def test_the_distance_is_the_closed_form_of_a_gaussian(
    generated: DetectorInputs, target: str, delta: float, steps: int, guidance: float
) -> None:
    model = world("v" if target == "v" else "eps")
    inputs = replace(generated, trace=replace(generated.generated(), guidance=guidance))
    detector, unet = ReturnDistance(math.log(delta), steps), unet_of(model)
    measurement = measure(model, inputs, [detector])[detector.name]
    assert measurement.nfe == 2 * steps * 4 and unet.rows == measurement.nfe * len(inputs)
    trace = inputs.generated()
    texts = [inputs.text(row) for row in range(len(inputs))]
    own = probe_generators(model, detector.name, texts, trace.images)
    noise = gaussian(trace.latents, 2, own).flatten(2).double()
    x = trace.latents.flatten(1).double()
    mean, variance = means()[inputs.prompt_index], variances()[inputs.prompt_index]
    a, b = way_back(mean, variance, delta, steps, guidance)
    # A pair n and -n leaves no product of the two parts.
    squares = (a * x + b - x).square() + (a * delta).square() * noise.square().mean(1)
    torch.testing.assert_close(
        measurement.values[:, 0].double(), squares.mean(1), rtol=2e-2, atol=1e-4
    )
    torch.testing.assert_close(
        detector.score(measurement.values), -measurement.values[:, 0].log(), rtol=0, atol=0
    )


@pytest.mark.parametrize("delta", [0.8, 1.6])
def test_many_draws_give_the_expected_distance_of_an_isotropic_gaussian(
    model: TextToImage, generated: DetectorInputs, delta: float
) -> None:
    """Without a prompt the model is N(0, 1): a step leaves (1 + start end) / (1 + start^2)."""
    embeddings = torch.zeros_like(generated.embeddings)
    trace = replace(generated.generated(), guidance=1.0)
    inputs = replace(generated, trace=trace, embeddings=embeddings)
    detector = ReturnDistance(math.log(delta), draws=200)
    squares = measure(model, inputs, [detector])[detector.name].values[:, 0].double()
    scales = levels(delta, 8)
    left = math.prod((BROAD + start * end) / (BROAD + start**2) for start, end in pairwise(scales))
    x = trace.latents.flatten(1).double()
    expected = (1 - left) ** 2 * x.square().mean(1) + (left * delta) ** 2
    torch.testing.assert_close(squares, expected, rtol=0.05, atol=0)


def test_a_point_returns_to_itself_and_what_varies_does_not(
    model: TextToImage, generated: DetectorInputs
) -> None:
    latents = means().float()[generated.prompt_index].reshape_as(generated.generated().latents)
    trace = replace(generated.generated(), guidance=1.0, latents=latents)
    detector = ReturnDistance()
    values = measure(model, replace(generated, trace=trace), [detector])[detector.name].values
    duplicate = generated.prompt_index == PROMPTS.index("duplicate")
    assert (
        float(values[duplicate].max())
        < 1e-6
        < 1e-2
        < float(values[generated.prompt_index > 1].min())
    )
    scores = detector.score(values)
    assert bool((scores[duplicate].min() > scores[~duplicate].max()).all())
    assert bool(detector.score(torch.zeros(1, 1)).isfinite().all())


def test_an_image_has_one_distance_alone_and_among_others(
    model: TextToImage, generated: DetectorInputs
) -> None:
    detector = ReturnDistance()
    whole = measure(model, generated, [detector])[detector.name].values
    for row in (0, 5, 11):
        alone = generated.rows(torch.tensor([row]))
        value = measure(model, alone, [detector])[detector.name].values
        torch.testing.assert_close(value[0], whole[row], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"draws": 0}, "even number of at least 2, got 0"),
        ({"draws": 7}, "even number of at least 2, got 7"),
        ({"steps": 0}, "at least 1, got 0"),
        ({"log_delta": math.log(LAST)}, "above 0.1, got 0.1"),
        ({"log_delta": math.nan}, "above 0.1, got nan"),
    ],
)
def test_settings_without_a_way_back_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(ReturnDistance(), **settings)
