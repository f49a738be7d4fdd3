"""A chain of mitigations, applied in order of cost until one passes the detector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    Mitigation,
    MitigationContext,
    Work,
    holds_for_other_seeds,
)
from mmh_core.mitigations.none import NoMitigation
from mmh_core.mitigations.rewrite import detector_and_threshold
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True, eq=False)
class ChainAttempt:
    """The attempt of a chain with one mitigation, applied and scored.

    `score` is the detector's of the mitigated request, and `kept` its prompt alignment as a share
    of that without mitigation (NaN where the detector returns none). `passed` is whether the score
    is below the threshold and enough alignment is kept. `refused` is a sentence on why a
    mitigation could not be applied, "" else; nothing was scored then, and the score is NaN. `nfe`
    were spent on it and its detector.
    """

    name: str
    label: str
    strength: float
    score: float
    kept: float
    passed: bool
    mitigated: Mitigated | None
    refused: str
    nfe: float


@dataclass(frozen=True, eq=False)
class ChainOutcome:
    """All mitigations that were tried, in order, and the accepted one.

    `accepted` is its name: the first that passed, or else the one with the lowest score, no
    mitigation among them; of those below the threshold, and of those with equal scores, the one
    that keeps most alignment. `passed` is whether it passed.
    """

    tried: tuple[ChainAttempt, ...]
    accepted: str
    passed: bool
    mitigated: Mitigated
    threshold: float

    @property
    def nfe(self) -> float:
        """Return the NFE of all trials together, per image."""
        return sum(attempt.nfe for attempt in self.tried)


def cheapest_first(mitigations: Sequence[Mitigation], steps: int) -> tuple[Mitigation, ...]:
    """Return mitigations sorted by expected cost; equal ones keep their order."""
    return tuple(sorted(mitigations, key=lambda mitigation: mitigation.cost(steps)))


def try_in_turn(
    model: TextToImage,
    request: Request,
    mitigations: Sequence[Mitigation],
    *,
    keep: float = 0.0,
    context: MitigationContext = NO_CONTEXT,
) -> Iterator[ChainAttempt | None]:
    """Yield the outcome without mitigation, then that of each mitigation on its own.

    None is yielded wherever the work may be stopped in between.

    Ends after the first that passes, so a request that is not suspicious is left alone. To pass
    takes a score below the threshold, and at least the share `keep` of the alignment without
    mitigation where the detector returns one. The detector is `context.detector`, or the
    first-step guidance norm, which depends on the first step alone: chains with mitigations that
    act later need a detector that generates. All of it is done with the selection seeds of the
    context, where it has any.
    """
    detector, threshold = detector_and_threshold(model, context)
    request = context.selecting(request)
    queue = [NoMitigation(), *cheapest_first(mitigations, request.sampling.steps)]
    before = math.nan
    for number, mitigation in enumerate(queue):
        if number and mitigation.name == "none":
            continue
        try:
            mitigated = yield from mitigation.apply(model, request, context=context)
        except MMHError as error:
            nan = math.nan
            yield ChainAttempt(
                mitigation.name,
                mitigation.label,
                mitigation.strength,
                nan,
                nan,
                False,
                None,
                str(error),
                0.0,
            )
            continue
        scored = yield from detector(mitigated.request)
        before = scored.alignment if not number else before
        kept = scored.alignment / before if before > 0 else math.nan
        passed = scored.score < threshold and not kept < keep and not scored.wrong_content
        yield ChainAttempt(
            mitigation.name,
            mitigation.label,
            mitigation.strength,
            scored.score,
            kept,
            passed,
            mitigated,
            "",
            mitigated.nfe + scored.nfe,
        )
        if passed:
            return


def chain(
    model: TextToImage,
    request: Request,
    mitigations: Sequence[Mitigation],
    *,
    keep: float = 0.0,
    context: MitigationContext = NO_CONTEXT,
) -> Work[ChainOutcome]:
    """Run `try_in_turn` to its end and return its outcome."""
    tried = []
    for attempt in try_in_turn(model, request, mitigations, keep=keep, context=context):
        if attempt is None:
            yield
        else:
            tried.append(attempt)
    return outcome(tried, detector_and_threshold(model, context)[1])


def outcome(tried: Sequence[ChainAttempt], threshold: float) -> ChainOutcome:
    """Return the outcome of the mitigations tried so far."""

    def rank(attempt: ChainAttempt) -> tuple[bool, float, float]:
        lost = 0.0 if math.isnan(attempt.kept) else -attempt.kept
        return not attempt.passed, max(attempt.score, threshold), lost

    applied = [attempt for attempt in tried if attempt.mitigated is not None]
    best = min(applied, key=rank, default=None)
    if best is None or best.mitigated is None:
        raise ValueError("Nothing was tried: a chain starts with the request as it is.")
    return ChainOutcome(tuple(tried), best.name, best.passed, best.mitigated, threshold)


@dataclass(frozen=True)
class AutomaticChain:
    """The first of `candidates` that passes, the cheapest first, `strength` of them at most.

    To pass, a candidate must also keep the share `keep` of the prompt alignment, where the
    detector returns one. A request that passes without mitigation stays unchanged.
    """

    candidates: tuple[Mitigation, ...]
    strength: float = 13.0
    keep: float = 0.9
    name: str = "automatic_chain"
    label: str = "Automatic chain"
    summary: str = (
        "Applies the others in order of cost, searches for copies after each, and stops at the "
        "first that passes."
    )
    citation: str = "this project"
    strength_label: str = "mitigations tried at most"
    strengths: tuple[float, ...] = (4.0, 8.0, 13.0)

    def cost(self, steps: int) -> float:
        """Return the cost of the cheaper half of the candidates, with a generation after each."""
        tried = cheapest_first(self.candidates, steps)[: -(-round(self.strength) // 2)]
        return sum(attempt.cost(steps) + 2.0 * steps for attempt in tried) + 2.0 * steps

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the accepted mitigation, with the NFE of all trials."""
        yield
        tried = cheapest_first(self.candidates, request.sampling.steps)[: round(self.strength)]
        chained = yield from chain(model, request, tried, keep=self.keep, context=context)
        accepted, nfe = chained.mitigated, chained.nfe
        if accepted.request.seeds != request.seeds:
            if holds_for_other_seeds(accepted.request):
                accepted = replace(
                    accepted, request=replace(accepted.request, seeds=request.seeds)
                )
            else:
                # Its embedding or noise is that of each seed: applied anew, and not scored again.
                chosen = next(one for one in tried if one.name == chained.accepted)
                accepted = yield from chosen.apply(model, request, context=context)
                nfe += accepted.nfe
        score_name = "first-step guidance norm" if context.detector is None else context.score_name
        explanation = f"{_sentence(chained, score_name)} {accepted.explanation}"
        return replace(accepted, explanation=explanation, nfe=nfe)


def _sentence(chained: ChainOutcome, score_name: str) -> str:
    """Return a sentence on which mitigation is used, and why that one."""
    used = next(attempt for attempt in chained.tried if attempt.mitigated is chained.mitigated)
    details = f"{score_name} {used.score:.3g}; it passes below {chained.threshold:.3g}"
    if not math.isnan(used.kept):
        fell = f"fell to {used.kept:.0%} of what it was" if used.kept < 1 else "did not fall"
        details += f", the alignment with the prompt {fell}"
    if chained.passed:
        chosen = (
            f"“{used.label}”, number {len(chained.tried)} of those tried, is the first to pass"
        )
    else:
        best = "kept most" if used.score < chained.threshold else "scored lowest"
        chosen = f"None of the {len(chained.tried)} tried passed; “{used.label}” {best}"
    return f"{chosen} ({details})."
