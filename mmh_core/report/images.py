"""One self-contained HTML page about an image run: it asks no network for anything.

The page forbids itself scripts and foreign content (Content-Security-Policy), and every text is
escaped by the template engine, whoever wrote it. There is no date and no measured second in it:
repeating a run gives the same page.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.memorization.verdict import IMAGE_ROWS
from mmh_core.report.charts import Chart, svg
from mmh_core.report.page import (
    SMALL,
    data_url,
    number_text,
    percentile_words,
    render,
    similarity_words,
)
from mmh_core.report.summary import model_label, padded, paragraph, versions
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.subject.caption_kinds import kind_words
from mmh_core.subject.copies import ImageCopyEvidence
from mmh_core.subject.reference_prompts import ReferencePrompts

#: Neighbors that the page lists; run.json has all.
NEIGHBORS_SHOWN = 6
#: Side of the images in the list of neighbors, which are reduced to it where they are larger.
_THUMB = 96


def image_report(run: ImageRun, command: str) -> str:
    """Return the page about a run as HTML; `command` is the command that repeats the run."""
    return render(
        "image_report.html",
        run=run,
        config=run.config,
        model=model_label(run),
        summary=paragraph(run),
        prompts=_prompts(run),
        settings=_settings(run),
        provenance=_provenance(run),
        command=command,
        neighbors_shown=NEIGHBORS_SHOWN,
    )


def _prompts(run: ImageRun) -> list[dict[str, Any]]:
    seed_similarity, unread = padded(run.seed_similarity, len(run.cut)), run.unread()
    return [
        {
            "number": number + 1,
            "text": prompt,
            "unread": unread[number],
            "seed_similarity": seed_similarity[number],
            "cards": [_card(run, image) for image in run.images if image.index // seeds == number],
        }
        for seeds in (len(run.config.seeds),)
        for number, prompt in enumerate(run.config.prompts)
    ]


def _card(run: ImageRun, image: ImageResult) -> dict[str, Any]:
    row = IMAGE_ROWS[image.verdict]
    nearest = image.evidence_neighbor
    return {
        "one": image,
        "sign": row.sign,
        "color": row.tone,
        "image": data_url(image.image),
        "small": max(image.image.shape[1:]) <= SMALL,
        "nearest": nearest,
        "nearest_image": "" if nearest is None else data_url(nearest.image),
        "nearest_small": nearest is not None and max(nearest.image.shape[1:]) <= SMALL,
        "figures": _figures(image),
        "neighbors": [(n, data_url(n.image, _THUMB)) for n in image.neighbors[:NEIGHBORS_SHOWN]],
        "charts": [
            Markup(chart) for chart in (_guidance(run, image), _curve(run, image)) if chart
        ],
    }


def _figures(image: ImageResult) -> list[tuple[str, str]]:
    """Return the numbers of an image with their names, what is unknown left out."""
    rows = []
    for lid in image.lids:
        rows.append(
            (
                f"LID, conditional, {lid.label}",
                _with_error(lid.conditional, lid.conditional_error),
            )
        )
        without = _with_error(lid.unconditional, lid.unconditional_error)
        rows.append(("LID, unconditional", without))
        if lid.probe_words:
            rows.append(("Probes", lid.probe_words))
        if not math.isnan(lid.percentile):
            rows.append(("LID percentile", percentile_words(lid.percentile)))
    if image.copy is not None:
        rows += _copy_figures(image.copy)
    if image.truth is not None:
        trained = "a training caption" if image.truth.trained else "not itself a training caption"
        rows.append(("Ground truth of the prompt", f"{kind_words(image.truth.kind)}, {trained}"))
        rows.append(("Data LID of the prompt", number_text(image.truth.lid)))
        rows.append(("Its training images, with duplicates", f"{image.truth.multiplicity:,}"))
    return rows


def _copy_figures(copy: ImageCopyEvidence) -> list[tuple[str, str]]:
    rows = [("Similarity", similarity_words(copy))]
    if not math.isnan(copy.calibrated_l2):
        rows.append(("Calibrated L2", number_text(copy.calibrated_l2, 2)))
    if not math.isnan(copy.ratio):
        rows.append(("Distance ratio", number_text(copy.ratio, 2)))
    if copy.file:
        rows.append(("File of the nearest training image", copy.file))
    if copy.nearest >= 0:
        rows.append(("Occurrences in the training set", f"{copy.multiplicity:,}"))
    return rows


def _with_error(value: float, error: float) -> str:
    return number_text(shown_lid(value)) + (
        "" if math.isnan(error) else f" ± {number_text(error)} SE"
    )


def _settings(run: ImageRun) -> list[tuple[str, str]]:
    config = run.config
    scale, dimensions = "not chosen yet", "unknown until an image is generated"
    if run.images:
        dimensions = f"{run.images[0].latents.numel():,}, the most that a LID can be"
    if not math.isnan(run.log_delta):
        scale = f"{math.exp(run.log_delta):.3g} (log delta {run.log_delta:.3f})"
    reference = "none at these settings"
    if run.reference is not None:
        reference = f"{len(run.reference.conditional):,} images of prompts that are not memorized"
    searched = "none: no training images"
    if run.searched:
        searched = (
            f"{run.searched:,} training images, all of them, with the embedder {run.embedder}"
        )
    rows = [
        ("Model", model_label(run)),
        *(("Note on the model", note) for note in run.notes),
        ("Seeds", ", ".join(str(seed) for seed in config.seeds)),
        ("Steps", str(config.sampling.steps)),
        ("Guidance", f"{config.sampling.guidance:g}"),
        ("Scheduler", config.sampling.scheduler),
        ("Height x width", f"{config.sampling.height} x {config.sampling.width} pixels"),
        ("Negative prompt", config.sampling.negative or "none"),
        ("Context windows", str(config.sampling.windows)),
        ("Dimensions of the latents", dimensions),
        ("Noise scale of LID", scale),
        ("Reference distribution", reference),
        ("Training images searched", searched),
        ("Device", run.device),
    ]
    return rows


def _provenance(run: ImageRun) -> list[tuple[str, str]]:
    rows = [
        ("Weights, SHA-256", run.sha256),
        ("Starting noise, SHA-256", run.noise_sha256 or "no image generated yet"),
    ]
    return rows + [(name, number) for name, number in versions().items()]


def _guidance(run: ImageRun, image: ImageResult) -> str:
    """Draw the guidance norm over the steps against the reference prompts."""
    low, high = _band(None if run.reference is None else run.reference.guidance_norm)
    steps = tuple(float(step + 1) for step in range(len(image.guidance_norm)))
    words = "" if not low else ", against the middle 90 % of the reference prompts"
    return svg(
        Chart(
            alt=f"Guidance norm of image {image.index} over the steps{words}",
            x_title="step",
            y_title="guidance norm",
            x=steps,
            y=_floats(image.guidance_norm),
            low=low if len(low) == len(steps) else (),
            high=high if len(low) == len(steps) else (),
        )
    )


def _curve(run: ImageRun, image: ImageResult) -> str:
    """Draw LID over the noise scale, with the scale of the estimate."""
    if len(image.curve) != len(run.log_deltas):
        return ""
    low, high = _band(_comparable(run.reference, run.log_deltas))
    has_truth = image.truth is not None
    return svg(
        Chart(
            alt=(
                f"LID of image {image.index} over the noise scale; dashed at the noise scale of "
                "the estimate"
            ),
            x_title="noise scale δ (units of the latents)",
            y_title="LID, conditional",
            x=_floats(run.log_deltas),
            y=_floats(image.curve),
            error=_floats(image.curve_error),
            low=low,
            high=high,
            upright=run.log_delta,
            level=image.truth.lid if image.truth is not None else math.nan,
            level_name="data LID" if has_truth else "",
            ticks=tuple(
                (float(at), f"{math.exp(float(at)):.2g}") for at in run.log_deltas[::2].tolist()
            ),
        )
    )


def _comparable(reference: ReferencePrompts | None, log_deltas: Tensor) -> Tensor | None:
    """Return the reference curves where they stand at the run's scales."""
    if reference is None or reference.log_deltas.shape != log_deltas.shape:
        return None
    return reference.curve if torch.allclose(reference.log_deltas, log_deltas) else None


def _band(values: Tensor | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the 5 % and the 95 % quantile of values (N, K) over N."""
    if values is None or not values.numel():
        return (), ()
    low, high = torch.nanquantile(values.double(), torch.tensor([0.05, 0.95]).double(), dim=0)
    return _floats(low), _floats(high)


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in values.tolist())
