"""What a comparison of mitigations leaves: images, numbers, one page, and the command line.

As with image runs there is no date and no measured second in any file: drawing the comparison
again gives the same bytes on one machine.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from mmh_core.formats.export import frame_csv
from mmh_core.memorization.verdict import OUTCOME_ROWS
from mmh_core.mitigations.catalogue import mitigation_words
from mmh_core.mitigations.wording import word_diff
from mmh_core.report.charts import frontier_svg
from mmh_core.report.folder import FIGURES, PAGE, TABLE
from mmh_core.report.image_files import png_bytes
from mmh_core.report.page import SMALL, data_url, number_text, render
from mmh_core.report.summary import MITIGATION_FORMAT, number, numbers, versions
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.mitigation.outcome import ImageOutcome, image_outcomes, rank_bound_of
from mmh_core.studies.mitigation.robustness_rows import RobustnessRow, robustness_words
from mmh_core.studies.mitigation.run import Cell, MitigationRun
from mmh_core.studies.mitigation.table import TreatmentRow, treatment_rows
from mmh_core.studies.mitigation.verdict import (
    TreatmentResult,
    best,
    harm,
    nothing_to_solve,
    treatment_results,
)

#: Side of the images on the page, which are reduced to it where they are larger.
_SIDE = 256
#: Figures of a `TreatmentRow`, each with its name in run.json.
_FIGURES = {
    "copied": "copied",
    "similarity": "similarity",
    "similarity_to_unmitigated": "moved",
    "alignment": "alignment",
    "lid": "lid",
    "percentile": "percentile",
}


def mitigation_files(run: MitigationRun, command: str) -> dict[str, bytes]:
    """Return the files of a comparison by name: images, numbers, the page, and the table.

    Images are `NNN-seed-S.png`; run.json says which mitigation and prompt a number belongs to.
    """
    files = {}
    for index, (cell, seed) in enumerate(_images(run)):
        name = f"{index:03d}-seed-{run.config.seeds[seed]}.png"
        files[name] = png_bytes(cell.images[seed], None)
    figures = mitigation_summary(run) | {"command": command}
    files[FIGURES] = (json.dumps(figures, indent=2, allow_nan=False) + "\n").encode()
    files[PAGE] = mitigation_report(run, command).encode(errors="replace")
    files[TABLE] = frame_csv(run.frame())
    return files


def _images(run: MitigationRun) -> list[tuple[Cell, int]]:
    return [(cell, seed) for cell in run.cells for seed in range(len(cell.kinds))]


def mitigation_summary(run: MitigationRun) -> dict[str, Any]:
    """Return all numbers of a comparison as JSON types, unknown ones as None."""
    names = {id(cell): i for i, cell in enumerate(run.cells)}
    return {
        "format": MITIGATION_FORMAT,
        "model": run.model,
        "model_sha256": run.sha256,
        "device": run.device,
        "versions": versions(),
        "state": run.state,
        "missing": list(run.missing),
        "model_notes": list(run.notes),
        "config": asdict(run.config),
        "log_delta": number(run.log_delta),
        "training_images": run.training_images,
        "embedder": run.embedder,
        "treatments": [_treatment(result) for result in treatment_results(run)],
        "cells": [
            {
                "cell": i,
                "prompt": run.config.prompts[cell.prompt],
                "mitigation": cell.treatment.mitigation,
                "strength": cell.treatment.strength,
                "used_prompt": cell.used,
                "changed": cell.explanation,
                "refused": cell.refused,
                "noise_sha256": cell.noise_sha256,
                "nfe": number(cell.nfe),
                "seed_similarity": number(cell.seed_similarity),
                "copy": list(cell.kinds),
                "outcomes": [outcome.kind for outcome in _outcomes(run, cell)],
                "reasons": [outcome.reason for outcome in _outcomes(run, cell)],
                "contents": list(cell.contents),
                "nearest": cell.nearest.tolist(),
                "similarity": numbers(cell.similarity),
                "similarity_to_unmitigated": numbers(cell.similarity_to_unmitigated),
                "alignment": numbers(cell.alignment),
                "lid": numbers(cell.lid),
                "lid_standard_error": numbers(cell.lid_error),
                "guidance_norm_percentile": numbers(cell.percentile),
            }
            for i, cell in enumerate(run.cells)
        ],
        "images": [
            {"image": number, "cell": names[id(cell)], "seed": run.config.seeds[seed]}
            for number, (cell, seed) in enumerate(_images(run))
        ],
    }


def _outcomes(run: MitigationRun, cell: Cell) -> tuple[ImageOutcome, ...]:
    """Return the outcomes of a cell's images, none where its prompt has no unmitigated ones."""
    base = run.cell(cell.prompt, run.config.treatments[0])
    return () if base is None else image_outcomes(cell, base, rank_bound_of(run))


def _treatment(result: TreatmentResult) -> dict[str, Any]:
    row, references = result.row, result.references
    record: dict[str, Any] = {
        "mitigation": row.treatment.mitigation,
        "strength": row.treatment.strength,
        "label": row.label,
        "images": row.images,
        "refused": row.refused,
        "nfe": number(row.nfe),
        "passes": result.passes,
        "reasons": list(result.reasons),
        "solved": number(row.share("solved")),
        "not_solved": number(row.share("not solved")),
        "subject_lost": number(row.share("subject lost")),
        "cannot_be_judged": number(row.share("unknown")),
        "criteria_passed": list(result.judgement.passed),
        "criteria_failed": list(result.judgement.failed),
        "criteria_not_judged": list(result.judgement.unknown),
        "robustness": _robustness(result.robustness),
        "reference_prompts": references.effect,
        "reference_new_copies": references.new_copies,
        "reference_alignment_change": _interval(references.alignment),
    }
    for field, name in _FIGURES.items():
        compared = getattr(row, field)
        record[name] = _interval(compared.mean)
        record[f"{name}_difference"] = _interval(compared.difference)
    return record


def _robustness(row: RobustnessRow | None) -> dict[str, Any] | None:
    """Return counts and intervals of what comes back, None where it was not tried."""
    if row is None:
        return None
    counts = {
        "paraphrases": row.paraphrases,
        "other_seeds": row.seeds,
        "attack": row.attack,
        "attack_on_reference_prompts": row.control,
    }
    return {"robust": row.robust} | {
        name: {
            "copies": count.copies,
            "images": count.images,
            "cannot_be_judged": count.undecided,
            "share": _interval(count.share),
        }
        for name, count in counts.items()
    }


def _interval(value: Interval) -> list[float | None]:
    return [number(value.value), number(value.low), number(value.high)]


def mitigation_report(run: MitigationRun, command: str) -> str:
    """Return the page about a comparison as HTML; it opens anywhere and loads nothing."""
    judged = treatment_results(run)
    rows = [result.row for result in judged]
    others = range(1, len(run.config.prompts))
    references = [prompt for prompt in others if any(cell.prompt == prompt for cell in run.cells)]
    return render(
        "mitigation_report.html",
        run=run,
        config=run.config,
        summary=paragraph(judged),
        failed=_failed(judged),
        chart=Markup(frontier_svg(rows)),
        rows=[_row(i + 1, result.row) | _outcome_cells(result) for i, result in enumerate(judged)],
        references=[_row(i + 1, row) for i, row in enumerate(treatment_rows(run, references))]
        if references
        else [],
        cells=[_cell(run, cell) for cell in run.cells],
        command=command,
        versions=versions(),
    )


def paragraph(judged: tuple[TreatmentResult, ...]) -> str:
    """Return what a comparison found, in words for somebody who knows nothing of the method."""
    base = judged[0].row if judged else None
    if base is None or math.isnan(base.copied.mean.value):
        return (
            "No training images were searched, so it is unknown which mitigation stops "
            "copying; the images below can only be compared by eye."
        )
    text = (
        f"Without mitigation {base.copied.mean.value:.0%} of {base.images} images are copies of "
        "training images."
    )
    if len(judged) == 1:
        return text
    if nothing_to_solve(judged):
        return f"{text} So there is nothing for a mitigation to solve."
    chosen = best(judged)
    if chosen is None:
        text += " None of the mitigations passes; the reason of each is below."
    else:
        text += (
            f" With {_name(chosen.row)} none is, LID has risen on each, and the alignment with "
            f"the prompt goes from {base.alignment.mean.value:.2f} to "
            f"{chosen.row.alignment.mean.value:.2f}. {_REFERENCES[chosen.references.effect]} "
            f"{_robust_sentence(chosen.robustness)}"
        )
    return (
        f"{text} That holds for these seeds and this prompt; it does not show what other prompts "
        "would give, nor that nothing else is copied."
    )


def _robust_sentence(row: RobustnessRow | None) -> str:
    if row is None:
        return "Whether the copies come back, under paraphrases, say, was not tried."
    if row.robust is None:
        return "Whether the copies come back could not be judged in every way tried."
    return "They do not come back by paraphrases, other seeds, or an attack on the embedding."


_REFERENCES = {
    "unchanged": "Reference prompts are unchanged.",
    "harmed": "Reference prompts are harmed.",
    "not checked": "The effect on reference prompts was not checked.",
}


def _name(row: TreatmentRow) -> str:
    return mitigation_words(row.treatment.mitigation, row.treatment.strength)


def _failed(judged: tuple[TreatmentResult, ...]) -> list[dict[str, str]]:
    """Return the mitigations that do not pass, each with its reasons."""
    return [
        {"name": _name(result.row), "why": result.sentence}
        for result in judged
        if not result.passes and result.treatment.mitigation != "none"
    ]


def _outcome_cells(result: TreatmentResult) -> dict[str, str]:
    """Return the shares of images by outcome, and what becomes of the reference prompts."""
    row, names = result.row, ("paraphrases", "seeds", "attack", "control")
    robust = dict(zip(names, robustness_words(result.robustness), strict=True))
    if result.treatment.mitigation == "none" or not row.images:
        return robust | {"solved": "", "not_solved": "", "references": ""}
    return robust | {
        "solved": number_text(row.share("solved"), 2),
        "not_solved": number_text(row.share("not solved"), 2),
        "references": harm(result.references) or result.references.effect,
    }


def _row(number: int, row: TreatmentRow) -> dict[str, str]:
    base = row.treatment.mitigation == "none"

    def figure_text(name: str, digits: int) -> str:
        compared = getattr(row, name)
        text = number_text(compared.mean.value, digits)
        change = compared.difference
        if base or math.isnan(change.value):
            return text
        ends = ""
        if not math.isnan(change.low):
            ends = f" ({change.low:+.{digits}f} to {change.high:+.{digits}f})"
        return f"{text}, {change.value:+.{digits}f}{ends}"

    return {
        "place": str(number),
        "name": row.label if base else _name(row),
        "refused": "" if row.images else row.refused,
        "copied": figure_text("copied", 2),
        "similarity": figure_text("similarity", 3),
        "alignment": figure_text("alignment", 3),
        "lid": figure_text("lid", 1),
        "nfe": "" if math.isnan(row.nfe) else f"{row.nfe:,.0f}",
    }


def _cell(run: MitigationRun, cell: Cell) -> dict[str, Any]:
    prompt = run.config.prompts[cell.prompt]
    outcomes = _outcomes(run, cell)
    base = cell.treatment.mitigation == "none"
    return {
        "cell": cell,
        "asked": prompt,
        "name": cell.label
        if base
        else mitigation_words(cell.treatment.mitigation, cell.treatment.strength),
        "diff": word_diff(prompt, cell.used) if cell.used != prompt else (),
        "small": max(cell.images.shape[2:]) <= SMALL,
        "images": [
            {
                "seed": run.config.seeds[i],
                "url": data_url(cell.images[i], _SIDE),
                "kind": OUTCOME_ROWS[outcomes[i].kind].frame if outcomes else "",
                "said": outcomes[i].reason if outcomes else "not compared",
                "alignment": number_text(float(cell.alignment[i]), 2),
                "similarity": number_text(float(cell.similarity[i]), 3),
                "lid": number_text(float(cell.lid[i])),
            }
            for i in range(len(cell.kinds))
        ],
    }
