"""The model with known answers, drawn from once; random pipelines from the neighbors' tests."""

from __future__ import annotations

import pytest

from mmh_core.detectors.generation import generated_inputs
from mmh_core.detectors.inputs import DetectorInputs, encode, noise_inputs
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.joined import joined
from tests.detectors.worlds import PROMPTS, world
from tests.text_to_image.conftest import folder_of, model_of

__all__ = ["folder_of", "model_of"]

SEEDS = (3, 1, 8)


@pytest.fixture(scope="session")
def model() -> TextToImage:
    """Return the model that predicts eps."""
    return world()


@pytest.fixture(scope="session")
def early(model: TextToImage) -> DetectorInputs:
    """Return all prompts with three seeds, nothing generated."""
    return noise_inputs(model, encode(model, PROMPTS), SEEDS)


@pytest.fixture(scope="session")
def generated(model: TextToImage) -> DetectorInputs:
    """Return all prompts with three seeds, generated in 12 steps."""
    return joined(list(generated_inputs(model, PROMPTS, SEEDS, guidance=2.0, steps=12)))
