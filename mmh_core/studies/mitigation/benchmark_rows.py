"""The rows of the benchmark of mitigations, with intervals over captions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.memorization.verdict import OutcomeKind
from mmh_core.statistics.agreement import correlation_interval, rank_correlation
from mmh_core.statistics.intervals import (
    Interval,
    mean_interval,
    mean_share_interval,
    paired_interval,
    paired_share_interval,
)
from mmh_core.studies.mitigation.benchmark_run import CaptionRecord, MitigationBenchmark
from mmh_core.studies.mitigation.outcome import (
    GOOD,
    CriteriaJudgement,
    ReferenceEffect,
    effect_on_references,
    judgement,
)
from mmh_core.studies.mitigation.robustness_rows import RobustnessRow, robustness_rows
from mmh_core.studies.mitigation.run import Treatment

#: A mitigation succeeds where at least this share of images are copies without it, and where it
#: solves at least this share of them.
COPIES_BEFORE, SOLVED_SHARE = 0.9, 0.9
#: Mitigations that correct the image at every step and leave the prompt and the model alone.
IMAGE_SPACE = ("anti_memorization_guidance", "sparse_repellency")
#: Descriptors of equal images agree to this, from rounding in float32.
_SAME = 1 - 1e-5
#: Means of shares in float32 miss a tenth by less.
_ROUNDING = 1e-6
_NAN = float("nan")


@dataclass(frozen=True)
class BenchmarkRow:
    """One mitigation over the test captions, means with intervals over captions.

    `captions` were generated and `refused` could not be. `solved` is the share of images that are
    solved or were no copy and are none, `not_solved` that of images moved off the threshold whose
    LID has not risen; `alignment_before` and `alignment` are means. Costs are per image.
    """

    treatment: Treatment
    label: str
    captions: int
    refused: int
    before: Interval
    copied: Interval
    solved: Interval
    not_solved: Interval
    similarity: Interval
    alignment_before: Interval
    alignment: Interval
    lid_before: Interval
    lid: Interval
    seconds: Interval
    nfe: Interval


@dataclass(frozen=True)
class ReferenceCaptionsRow:
    """A mitigation on reference captions: differences to `none` and their intervals.

    `seed_similarity` is that of `CaptionRecord`. A `half_width` is half the 95 % interval of the
    mean of `none` over captions, to compare the difference with. `changed_share` is the share of
    images whose descriptors are not those of the unmitigated image to the last digit. `variation`
    is the similarity to the unmitigated image of the same seed minus that between unmitigated
    images of different seeds: below 0 a mitigation changes an image more than another seed does.
    `new_copies` is the number of images that are copies and were none, `alignment_before` the mean
    alignment of `none`.
    """

    treatment: Treatment
    captions: int
    alignment: Interval
    seed_similarity: Interval
    changed_share: float
    alignment_half_width: float
    seed_similarity_half_width: float
    new_copies: int
    alignment_before: float
    variation: Interval


@dataclass(frozen=True)
class Correlation:
    """The rank correlation over cells with its 95 % interval (jackknife over captions).

    A cell is a caption under a mitigation; `cells` were counted. `share` correlates the fall of
    the share of copies with the rise of LID, `similarity` the fall of similarity with it.
    """

    share: Interval
    similarity: Interval
    cells: int


@dataclass(frozen=True)
class AttributionRow:
    """The share of copies left, and its difference to random words, over captions."""

    by: str
    left: Interval
    difference: Interval


def benchmark_rows(result: MitigationBenchmark) -> tuple[BenchmarkRow, ...]:
    """Return a row per mitigation of the test captions, in the order of generation."""
    if not result.test:
        return ()
    return tuple(_row(result.test, treatment) for treatment in result.test[0].treatments)


def _row(records: Sequence[CaptionRecord], treatment: Treatment) -> BenchmarkRow:
    rows = [(record, record.treatments.index(treatment)) for record in records]
    applied = [(record, row) for record, row in rows if not record.refused[row]]

    def means(read: Callable[[CaptionRecord], Tensor], *, before: bool = False) -> Tensor:
        return torch.tensor(
            [float(read(record)[0 if before else row].mean()) for record, row in applied]
        )

    def shares(*kinds: OutcomeKind) -> Tensor:
        return torch.tensor([record.share(row, *kinds) for record, row in applied])

    return BenchmarkRow(
        treatment,
        rows[0][0].labels[rows[0][1]],
        len(applied),
        len(rows) - len(applied),
        mean_share_interval(means(lambda r: r.copied, before=True)),
        mean_share_interval(means(lambda r: r.copied)),
        mean_share_interval(shares(*GOOD)),
        mean_share_interval(shares("not solved")),
        mean_interval(means(lambda r: r.similarity)),
        mean_interval(means(lambda r: r.alignment, before=True)),
        mean_interval(means(lambda r: r.alignment)),
        mean_interval(means(lambda r: r.lid, before=True)),
        mean_interval(means(lambda r: r.lid)),
        mean_interval(means(lambda r: r.seconds)),
        mean_interval(means(lambda r: r.nfe)),
    )


def meets(row: BenchmarkRow, verdict: CriteriaJudgement | None) -> bool:
    """Return whether a mitigation succeeds where `COPIES_BEFORE` are copies without it."""
    enough = row.before.value >= COPIES_BEFORE - _ROUNDING
    return verdict is not None and verdict.succeeds and enough


def effect_of(row: ReferenceCaptionsRow) -> ReferenceEffect:
    """Return what a mitigation does to the reference captions, not checked where unknown."""
    return effect_on_references(row.new_copies, row.alignment, row.alignment_before, row.variation)


def robustness_of(result: MitigationBenchmark) -> tuple[RobustnessRow, ...]:
    """Return what comes back under each mitigation, with the control by reference captions."""
    return robustness_rows(
        [record.robustness for record in result.robustness],
        [record.robustness for record in result.control],
    )


def judged(result: MitigationBenchmark) -> dict[Treatment, CriteriaJudgement]:
    """Return by mitigation which criteria it passes over the test captions.

    A caption that refuses a mitigation counts as copied in all its images.
    """
    if not result.test:
        return {}
    effects = {row.treatment: effect_of(row) for row in reference_caption_rows(result)}
    robust = {row.treatment: row.robust for row in robustness_of(result)}
    judgements = {}
    for treatment in result.test[0].treatments[1:]:
        outcomes: list[str] = []
        for record in result.test:
            row = record.treatments.index(treatment)
            refused = bool(record.refused[row])
            kinds = record.outcomes[row] if record.outcomes else ("unknown",)
            outcomes += ["copy"] * record.copied.shape[1] if refused else kinds
        effect = effects.get(treatment, "not checked")
        judgements[treatment] = judgement(
            outcomes,
            allowed=1 - SOLVED_SHARE,
            unharmed=None if effect == "not checked" else effect == "unchanged",
            robust=robust.get(treatment),
        )
    return judgements


def correlation(
    records: Sequence[CaptionRecord], left_out: Collection[str] = ("none",)
) -> Correlation:
    """Return how the fall of copying goes with the rise of LID over all cells but some."""
    parts = [_falls(record, left_out) for record in records]
    cells = torch.cat(parts) if parts else torch.empty(0, 3)

    def interval(column: int) -> Interval:
        def spearman(chosen: Tensor) -> float:
            return rank_correlation(chosen[:, column], chosen[:, 2])

        without = [
            spearman(torch.cat([*parts[:i], *parts[i + 1 :]]))
            for i in range(len(parts))
            if len(parts) > 1
        ]
        return correlation_interval(spearman(cells), torch.tensor(without))

    return Correlation(interval(0), interval(1), len(cells))


def _falls(record: CaptionRecord, left_out: Collection[str]) -> Tensor:
    """Return (N, 3): fall of the share of copies, fall of similarity, rise of LID."""
    rows = [
        i
        for i, treatment in enumerate(record.treatments)
        if treatment.mitigation not in left_out and not record.refused[i]
    ]
    falls = [
        [
            float(record.copied[0].mean() - record.copied[i].mean()),
            float(record.similarity[0].mean() - record.similarity[i].mean()),
            float(record.lid[i].mean() - record.lid[0].mean()),
        ]
        for i in rows
    ]
    return torch.tensor(falls).reshape(-1, 3)


def reference_caption_rows(result: MitigationBenchmark) -> tuple[ReferenceCaptionsRow, ...]:
    """Return what each mitigation does to the reference captions."""
    if not result.reference:
        return ()
    return tuple(_reference_row(result.reference, t) for t in result.reference[0].treatments[1:])


def _reference_row(records: Sequence[CaptionRecord], treatment: Treatment) -> ReferenceCaptionsRow:
    rows = [(record, record.treatments.index(treatment)) for record in records]
    rows = [(record, row) for record, row in rows if not record.refused[row]]

    def pairs(read: Callable[[CaptionRecord], Tensor]) -> tuple[Tensor, Tensor]:
        after = [float(read(record)[row].mean()) for record, row in rows]
        before = [float(read(record)[0].mean()) for record, row in rows]
        return torch.tensor(after), torch.tensor(before)

    alignment, seeds = pairs(lambda r: r.alignment), pairs(lambda r: r.seed_similarity)
    kept = [record.similarity_to_unmitigated[row] for record, row in rows]
    similarity = torch.cat(kept) if kept else torch.empty(0)
    return ReferenceCaptionsRow(
        treatment,
        len(rows),
        paired_interval(*alignment),
        paired_interval(*seeds),
        float((similarity < _SAME).float().mean()) if len(similarity) else _NAN,
        _half(mean_interval(alignment[1])),
        _half(mean_interval(seeds[1])),
        sum(_new_copies(record, row) for record, row in rows),
        float(alignment[1].mean()),
        paired_interval(pairs(lambda r: r.similarity_to_unmitigated)[0], seeds[1]),
    )


def _new_copies(record: CaptionRecord, row: int) -> int:
    return int(((record.copied[row] == 1) & (record.copied[0] == 0)).sum())


def _half(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def attribution_rows(result: MitigationBenchmark) -> tuple[AttributionRow, ...]:
    """Return what is left of copying when the words with the highest attribution are dropped.

    Over captions that are copied at all; differences are to random words.
    """
    records = [record for record in result.attributions if record.before > 0]
    if not records:
        return ()
    left = torch.stack([record.copied for record in records])
    control = records[0].by.index("random")
    return tuple(
        AttributionRow(
            by, mean_share_interval(shares), paired_share_interval(shares, left[:, control])
        )
        for by, shares in zip(records[0].by, left.unbind(1), strict=True)
    )
