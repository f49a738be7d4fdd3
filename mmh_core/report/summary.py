"""The summary of an image run: all numbers as JSON types, and a paragraph for anybody."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from platform import python_version
from typing import Any

from torch import Tensor

from mmh_core.counting import agreeing, plural
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.subject.copies import ImageCopyEvidence, TrainingNeighbor
from mmh_core.subject.image_lid import ImageLid
from mmh_core.text_to_image.catalogue import CATALOGUE

#: The first field of a run's JSON file, which names the format.
FORMAT = "mmh-image-run-1"
#: The same of a comparison of mitigations.
MITIGATION_FORMAT = "mmh-mitigation-run-1"


def run_summary(run: ImageRun) -> dict[str, Any]:
    """Return all numbers of a run as JSON types, unknown ones as None.

    Measured seconds are left out, so that repeating a run gives the same bytes on one machine.
    """
    config = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(run.config).items()}
    # Decoded steps are for looking at while a run is fresh; no figure depends on their number.
    del config["frames"]
    reference = run.reference
    return {
        "format": FORMAT,
        "model": run.model,
        "model_sha256": run.sha256,
        "noise_sha256": run.noise_sha256,
        "device": run.device,
        "versions": versions(),
        "state": run.state,
        "missing": list(run.missing),
        "model_notes": list(run.notes),
        "config": config,
        "log_delta": number(run.log_delta),
        "log_deltas": numbers(run.log_deltas),
        "times": numbers(run.times),
        "searched": run.searched,
        "embedder": run.embedder,
        "prompts": [
            {
                "prompt": prompt,
                "not_read": not_read,
                "windows_needed": windows or None,
                "seed_similarity": number(similarity),
            }
            for prompt, not_read, windows, similarity in zip(
                run.config.prompts,
                run.cut,
                run.needed or (0,) * len(run.cut),
                padded(run.seed_similarity, len(run.cut)),
                strict=True,
            )
        ],
        "reference_images": None if reference is None else len(reference.conditional),
        "verdicts": verdict_counts(run),
        "images": [image_summary(image) for image in run.images],
    }


def versions() -> dict[str, str]:
    """Return the versions on which numbers depend."""
    names = ("torch", "diffusers", "transformers")
    return {"python": python_version()} | {name: version(name) for name in names}


def verdict_counts(run: ImageRun) -> dict[str, int]:
    """Return how many images got each verdict, those that occur."""
    counts: dict[str, int] = {}
    for image in run.images:
        counts[image.verdict] = counts.get(image.verdict, 0) + 1
    return dict(sorted(counts.items()))


def model_label(run: ImageRun) -> str:
    """Return the name of the model for people."""
    entry = CATALOGUE.get(run.model)
    return run.model if entry is None else entry.label


def paragraph(run: ImageRun) -> str:
    """Return the results of a run in words for somebody who does not know the method."""
    total, counts = len(run.images), verdict_counts(run)
    if not total:
        return f"{model_label(run)} has generated no image in this run yet."
    requested = len(run.config.prompts) * len(run.config.seeds)
    of = "" if requested == total else f" of the {requested} requested"
    prompts = plural(len(run.config.prompts), "prompt")
    sentences = [f"{model_label(run)} generated {plural(total, 'image')}{of} from {prompts}."]
    not_measured = counts.get("not read yet", 0)
    if not_measured:
        sentences.append(
            f"{not_measured} of them {_is(not_measured)} not measured: the run ended before."
        )
    if run.searched:
        sentences += _searched(run, counts, total - not_measured)
    else:
        sentences += _unsearched(counts, total - not_measured)
    return " ".join(sentences)


def number(value: float) -> float | None:
    """Return a figure with the seven digits that float32 holds, None for NaN and infinity."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def numbers(values: Tensor) -> list[float | None]:
    """Return the numbers of a tensor of one dimension."""
    return [number(float(value)) for value in values.tolist()]


def padded(values: Iterable[float], count: int) -> list[float]:
    """Return `count` values, NaN for those that are not known yet."""
    first = list(values)[:count]
    return first + [math.nan] * (count - len(first))


def _searched(run: ImageRun, counts: dict[str, int], measured: int) -> list[str]:
    exact, template = counts.get("exact copy", 0), counts.get("template copy", 0)
    suspicious = counts.get("suspicious, no copy found", 0)
    likely = counts.get("likely copy, compare by eye", 0)
    low = counts.get("memorized, cause not identifiable", 0)
    no_search_result = counts.get("cannot be judged", 0) + low
    copies, searched = exact + template, f"{run.searched:,} training images that were searched"
    parts = []
    if exact:
        parts.append(f"{exact} {agreeing(exact, 'repeats', 'each repeat')} a training image")
    if template:
        verb = agreeing(template, "repeats", "repeat")
        parts.append(f"{template} {verb} the layout that several training images share")
    if copies:
        sentences = [
            f"{copies} of {measured} {_is(copies)} {agreeing(copies, 'a copy', 'copies')} of "
            f"what the model was trained on: {' and '.join(parts)}. The model reproduces "
            "training data instead of making something new, and anybody who enters the same "
            "prompt can get it."
        ]
    elif measured > no_search_result + likely:
        sentences = [
            f"None of {measured - no_search_result - likely} is a copy of one of the {searched}, "
            "as far as the search can tell."
        ]
    else:
        sentences = []
    if likely:
        sentences.append(
            f"{likely} {_is(likely)} so near to a training image that a person has to compare "
            "the two."
        )
    if no_search_result:
        sentences.append(
            f"{no_search_result} cannot be judged by the search. For these, 'no copy found' is "
            "not evidence; the reason is given with each image."
        )
    if suspicious:
        sentences.append(
            f"{suspicious} {_is(suspicious)} suspicious: LID is lower than for nearly all "
            "reference prompts, yet no copy was found, so a person should look."
        )
    if low:
        sentences.append(
            f"For {low} of them LID is lower than for nearly all reference prompts, a sign of "
            "memorization."
        )
    more = (
        "This does not tell who owns an image, nor what other prompts would give"
        if copies
        else "This does not show that the model copies nothing at other prompts"
    )
    sentences.append(
        f"{more}; and the search covers only the {searched}: a cropped or recolored copy can be "
        "missed."
    )
    return sentences


def _unsearched(counts: dict[str, int], measured: int) -> list[str]:
    low = counts.get("memorized, cause not identifiable", 0)
    sentences = [
        "No training images were searched, so it is unknown whether any generated image is a copy."
    ]
    if low:
        sentences.append(
            f"For {low} of {measured} LID is lower than for nearly all reference prompts, a sign "
            "of memorization; whether overfitting (OD-Mem) or the data (DD-Mem) is the cause is "
            "not identifiable."
        )
    sentences.append(
        "That is neither proof of memorization nor of its absence: add a folder of training "
        "images."
    )
    return sentences


def _is(count: int) -> str:
    return agreeing(count, "is", "are")


def image_summary(image: ImageResult) -> dict[str, Any]:
    """Return all numbers of one image as JSON types, unknown ones as None."""
    truth = image.truth
    return {
        "image": image.index,
        "prompt": image.prompt,
        "seed": image.seed,
        "verdict": image.verdict,
        "reason": image.reason,
        "lids": [_lid(lid) for lid in image.lids],
        "guidance_norm": numbers(image.guidance_norm),
        "curve": numbers(image.curve),
        "curve_standard_error": numbers(image.curve_error),
        "copy": None if image.copy is None else _copy(image.copy),
        "neighbors": [_neighbor(near) for near in image.neighbors],
        "truth": None if truth is None else asdict(truth) | {"lid": number(truth.lid)},
    }


def _lid(lid: ImageLid) -> dict[str, Any]:
    return {
        "estimator": lid.estimator,
        "log_delta": number(lid.log_delta),
        "conditional": number(lid.conditional),
        "conditional_standard_error": number(lid.conditional_error),
        "probes": lid.probes,
        "unconditional": number(lid.unconditional),
        "unconditional_standard_error": number(lid.unconditional_error),
        "unconditional_probes": lid.unconditional_probes,
        "percentile": number(lid.percentile),
        "nfe": number(lid.nfe),
    }


def _copy(copy: ImageCopyEvidence) -> dict[str, Any]:
    values = asdict(copy)
    return {k: number(v) if isinstance(v, float) else v for k, v in values.items()}


def _neighbor(near: TrainingNeighbor) -> dict[str, Any]:
    return {
        "id": near.id,
        "file": near.file,
        "similarity": number(near.similarity),
        "caption": near.caption,
        "kind": near.kind,
        "multiplicity": near.multiplicity,
    }
