"""The command that scores prompts by every detector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli.inputs import index_of, load_model, no_calibration
from mmh_core.cli.options import (
    CalibrationFile,
    DeviceName,
    EmbedderName,
    FalsePositiveRate,
    IndexFolder,
    IndexImages,
    JsonFile,
    ModelName,
    Windows,
)
from mmh_core.cli.output import check_writable, run_steps, write_json
from mmh_core.formats.markdown import markdown_table

if TYPE_CHECKING:
    from mmh_core.studies.detection.scores import DetectorScores


def score(
    prompts: Annotated[list[str], typer.Argument(help="Prompts to score.")],
    model: ModelName = "pocket-sd",
    calibration: CalibrationFile = None,
    fpr: FalsePositiveRate = 0.01,
    json_file: JsonFile = None,
    windows: Windows = 1,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    device: DeviceName = "auto",
) -> None:
    """Score prompts by every detector, beside the reference prompts of the model."""
    from mmh_core.studies.detection.scores import score_by_all
    from mmh_core.subject.subject import open_calibration, open_training_set
    from mmh_core.text_to_image.requests import check_prompt
    from mmh_core.text_to_image.stable_diffusion import check_model

    check_writable(json_file)
    # Before the model is loaded, which takes its time.
    for prompt in prompts:
        check_prompt(prompt)
    if calibration is None:
        check_model(model)
    indexed = index_of(index, index_images, embedder)
    kept = open_calibration(model, calibration)
    if kept.detectors is None:
        raise no_calibration(model, calibration, "calibrate TABLE --all", " of all detectors")
    if indexed is not None:
        # Scores need no training image: a named index is opened so that a wrong one is refused.
        open_training_set(model, indexed)
    loaded = load_model(model, device, windows)
    scores = run_steps(score_by_all(loaded, kept.detectors, prompts, fpr=fpr))
    typer.echo(score_table(scores))
    if json_file is not None:
        write_json(scores, json_file)


def score_table(scores: DetectorScores) -> str:
    """Return one table per prompt as Markdown, detectors in the order of the calibration."""
    from mmh_core.subject.reference_scores import threshold_words

    parts = []
    for i, prompt in enumerate(scores.prompts):
        lines = [prompt, ""]
        if scores.readings and not scores.readings[i].whole:
            lines += [scores.readings[i].words(), ""]
        heads = ("detector", "score", "percentile among reference prompts", "threshold", "")
        rows = [[label, *_score_cells(scores, i, k)] for k, label in enumerate(scores.labels)]
        lines.append(markdown_table(heads, rows))
        parts.append("\n".join(lines))
    parts += scores.left_out
    others = (
        "threshold but that of the early scan" if scores.scan_reference_prompts else "threshold"
    )
    parts.append(
        f"At {scores.fpr:.1%} each {others} of {scores.model} is "
        f"{threshold_words(scores.fpr, scores.reference_prompts)}. "
        f"{scores.detection_rate}".rstrip()
    )
    return "\n\n".join(parts)


def _score_cells(scores: DetectorScores, i: int, k: int) -> list[str]:
    """Return score, percentile, threshold and what they say of a prompt by a detector."""
    score, percentile = float(scores.score[i, k]), float(scores.percentile[i, k])
    threshold = f"{float(scores.threshold[k]):.3g}"
    if math.isnan(score):
        return ["-", "-", threshold, "undefined: the prompt changes nothing"]
    flag = "flagged" if scores.flagged[i, k] else ""
    return [f"{score:.3g}", f"{percentile:.0%}", threshold, flag]
