"""The range and the defaults of the settings of the image study."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.formats.texts import is_blank
from mmh_core.records import MMHError
from mmh_core.studies.images.run import (
    DEFAULT_ESTIMATOR,
    MOST_FRAMES,
    MOST_IMAGES,
    MOST_PROMPTS,
    ImageConfig,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import LONGEST_TEXT, MOST_WORK

#: Seeds that a page or a command takes by default.
DEFAULT_SEEDS = (0, 1, 2, 3)


def default_config(model: TextToImage, source: str, prompt: str) -> ImageConfig:
    """Return the config that the model's card recommends; `source` is what it was loaded by."""
    return ImageConfig(source, (prompt,), DEFAULT_SEEDS, model.sampling)


def checked(config: ImageConfig) -> ImageConfig:
    """Return the config, or refuse it in one sentence that names the value and what to do.

    Errors: MMHError for what a person can mistype, ValueError for an unknown choice.
    """
    if not 1 <= len(config.prompts) <= MOST_PROMPTS:
        raise MMHError(f"There are {len(config.prompts)} prompts: give 1 to {MOST_PROMPTS}.")
    for prompt in config.prompts:
        check_prompt(prompt)
    check_text(config.sampling.negative, "negative prompt")
    for prompt in config.prompts:
        config.request(prompt)
    if len(set(config.seeds)) < len(config.seeds):
        raise MMHError("A seed is given twice: equal seeds draw equal images, so give it once.")
    count = len(config.prompts) * len(config.seeds)
    work = count * config.sampling.pixels * config.sampling.steps
    if count > MOST_IMAGES:
        raise MMHError(
            f"{count} images are more than one run may generate ({MOST_IMAGES}): ask for fewer "
            "prompts or seeds."
        )
    if work > MOST_WORK:
        raise MMHError(
            f"{count} images of {config.sampling.height} x {config.sampling.width} in "
            f"{config.sampling.steps} steps are more than one run may generate: ask for fewer "
            "prompts, seeds or steps, or for smaller images."
        )
    for name in config.estimators:
        if name not in ESTIMATORS:
            raise ValueError(
                f"Unknown estimator {name!r}; choose from {', '.join(sorted(ESTIMATORS))}."
            )
    if not 0 <= config.frames <= MOST_FRAMES:
        raise MMHError(f"{config.frames} decoded steps: choose from 0 to {MOST_FRAMES}.")
    further = tuple(name for name in config.estimators if name != DEFAULT_ESTIMATOR)
    return replace(config, estimators=tuple(dict.fromkeys(further)))


def check_negative(config: ImageConfig) -> None:
    """Raise MMHError for a negative prompt that no branch of the network uses, as in diffusers."""
    if config.sampling.negative.strip() and config.sampling.guidance <= 1:
        raise MMHError(
            f"At guidance {config.sampling.guidance:g} the network is not asked without the "
            "prompt, so the negative prompt does nothing: choose a guidance above 1, or leave it "
            "out."
        )


def check_prompt(prompt: str) -> None:
    """Raise MMHError for a prompt that is empty, far too long or no text."""
    check_text(prompt, "prompt")
    if is_blank(prompt):
        raise MMHError("The prompt is empty: write what the image should show.")
    if len(prompt) > LONGEST_TEXT:
        raise MMHError(
            f"The prompt is too long ({len(prompt):,} characters): shorten it to {LONGEST_TEXT:,}."
        )


def check_text(text: str, name: str) -> None:
    """Raise MMHError for characters that no tokenizer, file or page can show."""
    for letter in text:
        if unicodedata.category(letter) == "Cs":
            raise MMHError(
                f"The {name} holds half of a character (U+{ord(letter):04X}): write it whole or "
                "remove it."
            )
        if letter not in "\t\n\r" and unicodedata.category(letter) == "Cc":
            raise MMHError(
                f"The {name} holds the control character U+{ord(letter):04X}: remove it."
            )
