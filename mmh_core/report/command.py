"""The command lines that repeat a run of images and a comparison of mitigations."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from mmh_core.installation import PROGRAM
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.mitigation.run import MitigationConfig, MitigationRun

#: The folders that commands are shown with: where somebody really wrote to is not part of a run.
FOLDER, COMPARISON = "images", "comparison"


def image_command(config: ImageConfig, more: Sequence[str] = ()) -> str:
    """Return `./mmh images ...`, quoted for a POSIX shell, that draws the run again.

    `more` are arguments that a config does not hold, such as the index that was searched. The
    command line decodes no steps, so `frames` has no counterpart.
    """
    words = [PROGRAM, "images", *option("--model", config.model)]
    for prompt in config.prompts:
        words += option("--prompt", prompt)
    if config.sampling.negative:
        words += option("--negative", config.sampling.negative)
    words += ["--seeds", ",".join(str(seed) for seed in config.seeds)]
    words += ["--steps", str(config.sampling.steps)]
    words += option("--guidance", repr(float(config.sampling.guidance)))
    words += ["--scheduler", config.sampling.scheduler]
    words += ["--height", str(config.sampling.height), "--width", str(config.sampling.width)]
    if config.estimators:
        words += ["--estimators", ",".join(config.estimators)]
    if config.sampling.windows not in (None, 1):
        words += ["--windows", str(config.sampling.windows)]
    if not config.curve:
        words.append("--no-curve")
    return shlex.join([*words, *more, "--out", FOLDER])


def mitigation_command(config: MitigationConfig, more: Sequence[str] = ()) -> str:
    """Return `./mmh mitigate ...`, quoted for a POSIX shell; `more` are further options."""
    words = [PROGRAM, "mitigate", *option("--model", config.model)]
    words += option("--prompt", config.prompts[0])
    for prompt in config.prompts[1:]:
        words += option("--reference-prompt", prompt)
    words += ["--seeds", ",".join(str(seed) for seed in config.seeds)]
    tried = [
        f"{treatment.mitigation}:{treatment.strength!r}" for treatment in config.treatments[1:]
    ]
    words += ["--mitigations", ",".join(tried)] if tried else []
    words += [
        "--steps",
        str(config.sampling.steps),
        *option("--guidance", repr(float(config.sampling.guidance))),
    ]
    if config.sampling.windows > 1:
        words += ["--windows", str(config.sampling.windows)]
    return shlex.join([*words, *more, "--out", COMPARISON])


def run_command(run: MitigationRun, more: Sequence[str] = ()) -> str:
    """Return the command of a comparison, with its robustness where that was tried."""
    return mitigation_command(run.config, (*(["--robust"] if run.robustness else []), *more))


def option(name: str, value: str) -> list[str]:
    """Return an option with its value; in one word where the value could pass for an option."""
    return [f"{name}={value}"] if value.startswith("-") or not value else [name, value]
