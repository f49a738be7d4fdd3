"""Which mitigations of a comparison pass, which is the best, and why others do not pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mmh_core.memorization.verdict import OUTCOME_ROWS
from mmh_core.statistics.intervals import Interval, paired_interval
from mmh_core.studies.mitigation.outcome import (
    NEW_COPY,
    CriteriaJudgement,
    ImageOutcome,
    ReferenceEffect,
    effect_on_references,
    judgement,
    loses_alignment,
)
from mmh_core.studies.mitigation.robustness_rows import RobustnessRow, returning, rows_of_run
from mmh_core.studies.mitigation.run import MitigationRun, Treatment
from mmh_core.studies.mitigation.table import TreatmentRow, treatment_rows

_NAN = float("nan")
_FIGURE = re.compile(r"(-?\d+\.\d+|-?\d+)")


@dataclass(frozen=True)
class ReferenceRow:
    """What a mitigation does to the reference prompts, over `images` images.

    `alignment` is the change against no mitigation with its 95 % interval, `new_copies` the number
    of images that are copies and were none without it, and `variation` how much more alike an
    image and its unmitigated one are than unmitigated images of two seeds. `effect` is that of
    `effect_on_references`, by new copies, lost alignment or changed images.
    """

    effect: ReferenceEffect
    alignment: Interval
    new_copies: int
    images: int
    loses_alignment: bool
    variation: Interval


@dataclass(frozen=True)
class TreatmentResult:
    """Whether a mitigation passes: every image is good and no criterion is failed.

    `judgement` says which criteria are passed, failed, and unknown, the reference prompts and the
    robustness where they were not tried. `reasons` are why it does not pass, most important first.
    `row` are its figures, and `robustness` what comes back, None where it was not tried.
    """

    treatment: Treatment
    row: TreatmentRow
    references: ReferenceRow
    passes: bool
    reasons: tuple[str, ...]
    judgement: CriteriaJudgement
    robustness: RobustnessRow | None

    @property
    def sentence(self) -> str:
        """Say which criterion defeats the mitigation, with the counts; else what is not judged."""
        why = "; ".join(self.reasons)
        return f"{self.judgement.sentence} ({why})" if why else self.judgement.sentence


_UNKNOWN = Interval(_NAN, _NAN, _NAN)
_UNCHECKED = ReferenceRow("not checked", _UNKNOWN, 0, 0, False, _UNKNOWN)


def treatment_results(run: MitigationRun) -> tuple[TreatmentResult, ...]:
    """Return the result of every mitigation of the prompt in question, in the order generated.

    `none` has one too and never passes. Reference prompts count where they were generated.
    """
    rows = treatment_rows(run)
    others, robust = reference_rows(run), rows_of_run(run)
    return tuple(
        _verdict(row, rows[0], others.get(row.treatment, _UNCHECKED), robust.get(row.treatment))
        for row in rows
    )


def best(judged: Sequence[TreatmentResult]) -> TreatmentResult | None:
    """Return of those that pass the one with the best alignment, among equals the cheapest."""

    def rank(verdict: TreatmentResult) -> tuple[float, float]:
        return -verdict.row.alignment.mean.value, verdict.row.nfe

    return min((verdict for verdict in judged if verdict.passes), key=rank, default=None)


def nothing_to_solve(judged: Sequence[TreatmentResult]) -> bool:
    """Return whether no image is a copy without mitigation, so that nothing can be solved."""
    return bool(judged) and all(outcome.kind == "no copy" for outcome in judged[0].row.outcomes)


def reference_rows(run: MitigationRun) -> dict[Treatment, ReferenceRow]:
    """Return by mitigation what it does to the reference prompts generated with all of them."""
    complete = [
        prompt
        for prompt in range(1, len(run.config.prompts))
        if all(run.cell(prompt, treatment) for treatment in run.config.treatments)
    ]
    return {
        row.treatment: _reference(row, _variation(run, complete, row.treatment))
        for row in treatment_rows(run, complete)
    }


def _reference(row: TreatmentRow, variation: Interval) -> ReferenceRow:
    change = row.alignment.difference
    before = row.alignment.mean.value - change.value
    new = sum(outcome.reason == NEW_COPY for outcome in row.outcomes)
    effect = effect_on_references(new, change, before, variation)
    if effect == "unchanged" and any(outcome.kind == "unknown" for outcome in row.outcomes):
        # A figure that is missing shows no harm.
        effect = "not checked"
    lost = loses_alignment(change, before)
    return ReferenceRow(effect, change, new, row.images, lost, variation)


def _variation(run: MitigationRun, prompts: Sequence[int], treatment: Treatment) -> Interval:
    """Return the similarity to the unmitigated images minus that of different seeds."""
    none = run.config.treatments[0]
    cells = [(run.cell(prompt, treatment), run.cell(prompt, none)) for prompt in prompts]
    pairs = [(cell, base) for cell, base in cells if cell and base and not cell.refused]
    similarity = torch.tensor([float(cell.similarity_to_unmitigated.mean()) for cell, _ in pairs])
    return paired_interval(similarity, torch.tensor([base.seed_similarity for _, base in pairs]))


def _verdict(
    row: TreatmentRow,
    base: TreatmentRow,
    references: ReferenceRow,
    robust: RobustnessRow | None,
) -> TreatmentResult:
    # A mitigation that cannot be applied leaves the copies, as in the benchmark.
    criteria = judgement(
        [outcome.kind for outcome in row.outcomes] if row.images else ["copy"] * base.images,
        allowed=0.0,
        unharmed=None if references.effect == "not checked" else references.effect == "unchanged",
        robust=None if robust is None else robust.robust,
    )
    if row.treatment.mitigation == "none":
        why: tuple[str, ...] = ("nothing was done",)
        return TreatmentResult(row.treatment, row, references, False, why, criteria, robust)
    reasons = reasons_of(row.outcomes)
    if not row.images:
        reasons = (row.refused or "nothing was generated",)
    elif all(outcome.kind == "no copy" for outcome in base.outcomes):
        reasons = (*reasons, "no image is a copy without mitigation")
    if references.effect == "harmed":
        reasons = (*reasons, harm(references))
    if robust is not None and robust.robust is False:
        reasons = (*reasons, f"copies come back: {'; '.join(returning(robust))}")
    passes = criteria.solves and not reasons
    return TreatmentResult(row.treatment, row, references, passes, reasons, criteria, robust)


def harm(references: ReferenceRow) -> str:
    """Return in a few words how reference prompts are harmed, "" where they are not."""
    if references.effect != "harmed":
        return ""
    parts = []
    if references.new_copies:
        parts.append(f"{references.new_copies} of {references.images} become copies")
    change = references.alignment
    if references.loses_alignment:
        parts.append(f"alignment {change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]")
    if not parts:
        parts.append("images change more than from seed to seed")
    return f"harms reference prompts: {' and '.join(parts)}"


def reasons_of(outcomes: Sequence[ImageOutcome]) -> tuple[str, ...]:
    """Count the images that are not good, the most severe outcome first."""
    bad = [kind for kind, row in OUTCOME_ROWS.items() if not row.good]
    reasons = []
    for kind in sorted(bad, key=lambda kind: -OUTCOME_ROWS[kind].severity):
        texts = [outcome.reason for outcome in outcomes if outcome.kind == kind]
        if texts:
            text = "copies" if kind == "copy" else "; ".join(_merged(texts))
            reasons.append(f"{len(texts)} of {len(outcomes)}: {text}")
    return tuple(reasons)


def _merged(reasons: Sequence[str]) -> list[str]:
    """Return the reasons, those that differ in figures alone as one with the range of each."""
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for reason in reasons:
        pieces = _FIGURE.split(reason)
        groups.setdefault(tuple(pieces[::2]), []).append(pieces[1::2])
    merged = []
    for words, figures in groups.items():
        ranges = [sorted(set(values), key=float) for values in zip(*figures, strict=True)]
        spans = [
            values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}" for values in ranges
        ]
        merged.append("".join(a + b for a, b in zip(words, [*spans, ""], strict=True)))
    return merged
