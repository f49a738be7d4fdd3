"""One self-contained HTML page about an image run: it asks no network for anything.

The page forbids itself scripts and foreign content (Content-Security-Policy), and every text is
escaped by the template engine, whoever wrote it. There is no date and no measured second in it:
drawing a run again gives the same page.
"""

from __future__ import annotations

import base64
import math
import unicodedata
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.memorization.verdict import IMAGE_ROWS
from mmh_core.report.charts import Chart, svg
from mmh_core.report.image_files import png_bytes
from mmh_core.report.summary import model_label, padded, paragraph, versions
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.subject.copies import CopyFound
from mmh_core.subject.reference_prompts import ReferencePrompts

#: Neighbors that the page lists; run.json has all.
NEIGHBORS_SHOWN = 6
#: Images up to this side are enlarged without smoothing.
SMALL = 160
#: Side of the images in the list of neighbors, which are reduced to it where they are larger.
_THUMB = 96


def image_report(run: ImageRun, command: str) -> str:
    """Return the page about a run as HTML; `command` is the line that draws the run again."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.filters["figure"] = figure
    template = environment.get_template("image_report.html")
    return template.render(
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


def shown(text: str) -> str:
    """Return a text with what no page may hold (control characters, lone surrogates) marked."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if letter not in "\t\n\r" and unicodedata.category(letter) in ("Cc", "Cs")
        else letter
        for letter in text
    )


def figure(value: float, digits: int = 1) -> str:
    """Return a figure as people read it, "unknown" for NaN."""
    # + 0.0 turns -0.0, a rounded small negative number, into 0.
    return "unknown" if math.isnan(value) else f"{round(value, digits) + 0.0:,.{digits}f}"


def _prompts(run: ImageRun) -> list[dict[str, Any]]:
    agreement, unread = padded(run.agreement, len(run.cut)), run.unread()
    return [
        {
            "number": number + 1,
            "text": prompt,
            "unread": unread[number],
            "agreement": agreement[number],
            "cards": [_card(run, one) for one in run.images if one.index // seeds == number],
        }
        for seeds in (len(run.config.seeds),)
        for number, prompt in enumerate(run.config.prompts)
    ]


def _card(run: ImageRun, one: ImageResult) -> dict[str, Any]:
    row = IMAGE_ROWS[one.verdict]
    nearest = one.nearest
    return {
        "one": one,
        "sign": row.sign,
        "color": row.tone,
        "image": data_url(one.image),
        "small": max(one.image.shape[1:]) <= SMALL,
        "nearest": nearest,
        "nearest_image": "" if nearest is None else data_url(nearest.image),
        "nearest_small": nearest is not None and max(nearest.image.shape[1:]) <= SMALL,
        "figures": _figures(one),
        "neighbors": [(n, data_url(_thumb(n.image))) for n in one.neighbors[:NEIGHBORS_SHOWN]],
        "charts": [Markup(chart) for chart in (_guidance(run, one), _curve(run, one)) if chart],
    }


def _figures(one: ImageResult) -> list[tuple[str, str]]:
    """Return the figures of an image with their names, what is unknown left out."""
    rows = []
    for lid in one.lids:
        rows.append((f"LID, {lid.label}", _with_error(lid.conditional, lid.conditional_error)))
        without = _with_error(lid.unconditional, lid.unconditional_error)
        rows.append(("without the prompt", without))
        if not math.isnan(lid.percentile):
            rows.append(("LID percentile", percentile_words(lid.percentile)))
    if one.copy is not None:
        rows += _copy_figures(one.copy)
    if one.truth is not None:
        trained = "a training caption" if one.truth.trained else "not itself a training caption"
        rows.append(("Ground truth of the prompt", f"{one.truth.kind}, {trained}"))
        rows.append(("Data LID", figure(one.truth.lid)))
        rows.append(("Training images of the caption", f"{one.truth.copies:,}"))
    return rows


def _copy_figures(copy: CopyFound) -> list[tuple[str, str]]:
    rows = [("Similarity", similarity_words(copy))]
    if not math.isnan(copy.calibrated_l2):
        rows.append(("Calibrated distance", figure(copy.calibrated_l2, 2)))
    if not math.isnan(copy.ratio):
        rows.append(("Distance ratio", figure(copy.ratio, 2)))
    if copy.file:
        rows.append(("File of the nearest", copy.file))
    if copy.nearest >= 0:
        rows.append(("Exact duplicates in training", f"{copy.copies:,}"))
    return rows


def similarity_words(copy: CopyFound) -> str:
    """Return a similarity with the threshold from which on a copy is proposed."""
    if math.isnan(copy.similarity):
        return "unknown"
    value = figure(copy.similarity, 3)
    if math.isnan(copy.threshold):
        return f"{value} (no calibrated threshold known)"
    return f"{value} (a copy is possible from {figure(copy.threshold, 3)})"


def percentile_words(percentile: float) -> str:
    """Say where an image stands among those of reference prompts; `percentile` from 0 to 1."""
    if percentile == 0:
        return "not above any"
    if 0.995 <= percentile < 1:
        return "above more than 99 %"
    return f"above {figure(100 * percentile, 0 if percentile >= 0.1 else 1)} %"


def _with_error(value: float, error: float) -> str:
    return figure(shown_lid(value)) + ("" if math.isnan(error) else f" ± {figure(error)}")


def _settings(run: ImageRun) -> list[tuple[str, str]]:
    config = run.config
    scale, dimensions = "not chosen yet", "unknown until an image is generated"
    if run.images:
        dimensions = f"{run.images[0].latents.numel():,}, the most that a LID can be"
    if not math.isnan(run.log_delta):
        scale = f"{math.exp(run.log_delta):.3g} (log delta {run.log_delta:.3f})"
    normal = "none at these settings"
    if run.normal is not None:
        normal = f"{len(run.normal.conditional):,} images of prompts that are not memorized"
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
        ("Text-encoder windows", str(config.sampling.windows)),
        ("Dimensions of the latents", dimensions),
        ("Noise scale of LID", scale),
        ("Reference distribution", normal),
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


def _guidance(run: ImageRun, one: ImageResult) -> str:
    """Draw the guidance norm over the steps against the reference prompts."""
    low, high = _band(None if run.normal is None else run.normal.guidance_norm)
    steps = tuple(float(step + 1) for step in range(len(one.guidance_norm)))
    words = "" if not low else ", against the middle 90 % of the reference prompts"
    return svg(
        Chart(
            alt=f"Guidance norm of image {one.index} over the steps{words}",
            x_title="step",
            y_title="guidance norm",
            x=steps,
            y=_floats(one.guidance_norm),
            low=low if len(low) == len(steps) else (),
            high=high if len(low) == len(steps) else (),
        )
    )


def _curve(run: ImageRun, one: ImageResult) -> str:
    """Draw LID over the noise scale, with the scale at which it is read."""
    if len(one.curve) != len(run.log_deltas):
        return ""
    low, high = _band(_comparable(run.normal, run.log_deltas))
    known = one.truth is not None
    return svg(
        Chart(
            alt=(
                f"LID of image {one.index} over the noise scale; dashed at the noise scale of "
                "the estimate"
            ),
            x_title="noise scale, in units of the latents' spread",
            y_title="LID with the prompt",
            x=_floats(run.log_deltas),
            y=_floats(one.curve),
            error=_floats(one.curve_error),
            low=low,
            high=high,
            upright=run.log_delta,
            level=one.truth.lid if one.truth is not None else math.nan,
            level_name="true LID" if known else "",
            ticks=tuple(
                (float(at), f"{math.exp(float(at)):.2g}") for at in run.log_deltas[::2].tolist()
            ),
        )
    )


def _comparable(normal: ReferencePrompts | None, log_deltas: Tensor) -> Tensor | None:
    """Return the normal curves where they stand at the run's scales."""
    if normal is None or normal.log_deltas.shape != log_deltas.shape:
        return None
    return normal.curve if torch.allclose(normal.log_deltas, log_deltas) else None


def _band(values: Tensor | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the 5 % and the 95 % quantile of values (N, K) over N."""
    if values is None or not values.numel():
        return (), ()
    low, high = torch.nanquantile(values.double(), torch.tensor([0.05, 0.95]).double(), dim=0)
    return _floats(low), _floats(high)


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in values.tolist())


def data_url(image: Tensor) -> str:
    """Return an image, uint8 (3, H, W), as a data URI of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image, None)).decode()


def _thumb(image: Tensor) -> Tensor:
    """Return an image of at most `_THUMB` pixels along its longer side."""
    share = _THUMB / max(image.shape[1:])
    if share >= 1:
        return image
    size = [max(1, round(side * share)) for side in image.shape[1:]]
    small: Tensor = torch.nn.functional.interpolate(
        image[None].float(), size=size, mode="bilinear", antialias=True
    )
    return small[0].round().clamp(0, 255).to(torch.uint8)
