"""Try mitigations one after the other, the cheapest first, until the detector is satisfied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmh_core.mitigations.none import NoMitigation
from mmh_core.mitigations.record import NOTHING, Given, Mitigated, Mitigation
from mmh_core.mitigations.rewrite import judge
from mmh_core.mitigations.work import Work
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Tried:
    """Hold one mitigation that was tried.

    `score` is the scan's, of what became of the request, and `kept` what is left of the alignment
    that the request had as it was (1 = all; NaN where the scan does not tell). `passed` says
    whether the score is below the threshold and enough is kept. `refused` says in one sentence why
    a mitigation could not be applied, "" else; nothing was scanned then, and the score is NaN.
    `nfe` were spent on it and its scan.
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
    """Hold all that was tried, in order, and what is used.

    `accepted` is the name of the mitigation in use: the first that passed, or else the one with
    the lowest score, the request as it was among them; of those below the threshold, and of those
    with equal scores, the one that keeps most. `passed` says which of the two it is.
    """

    tried: tuple[Tried, ...]
    accepted: str
    passed: bool
    mitigated: Mitigated
    threshold: float

    @property
    def nfe(self) -> float:
        """Return what all trials cost together, per image."""
        return sum(each.nfe for each in self.tried)

    def frame(self) -> pd.DataFrame:
        """Return one row per mitigation tried."""
        import pandas as pd

        rows = [
            (t.name, t.strength, t.score, t.kept, t.passed, t.refused, t.nfe) for t in self.tried
        ]
        columns = ["mitigation", "strength", "score", "kept", "passed", "refused", "nfe"]
        return pd.DataFrame(rows, columns=columns)


def cheapest_first(mitigations: Sequence[Mitigation], steps: int) -> tuple[Mitigation, ...]:
    """Sort by expected cost; equal ones stay in the order given."""
    return tuple(sorted(mitigations, key=lambda each: each.cost(steps)))


def try_in_turn(
    model: TextToImage,
    request: Request,
    mitigations: Sequence[Mitigation],
    *,
    keep: float = 0.0,
    given: Given = NOTHING,
) -> Iterator[Tried | None]:
    """Yield what becomes of the request: first as it is, then by each mitigation on its own.

    None is yielded wherever it may be stopped in between.

    Ends after the first that passes, so a request that is not suspicious is left alone: a score
    below the threshold, and at least the share `keep` of the alignment that the request had as it
    was, where the scan tells. The scan is `given.scan`, or the first-step guidance norm, which
    does not see what is only decided while drawing: chains with such mitigations need a scan that
    draws.
    """
    scan, threshold = judge(model, given)
    queue = [NoMitigation(), *cheapest_first(mitigations, request.sampling.steps)]
    before = math.nan
    for number, each in enumerate(queue):
        if number and each.name == "none":
            continue
        try:
            mitigated = yield from each.apply(model, request, given=given)
        except MMHError as error:
            nan = math.nan
            yield Tried(
                each.name, each.label, each.strength, nan, nan, False, None, str(error), 0.0
            )
            continue
        found = yield from scan(mitigated.request)
        before = found.alignment if not number else before
        kept = found.alignment / before if before > 0 else math.nan
        passed = found.score < threshold and not kept < keep and not found.astray
        yield Tried(
            each.name,
            each.label,
            each.strength,
            found.score,
            kept,
            passed,
            mitigated,
            "",
            mitigated.nfe + found.nfe,
        )
        if passed:
            return


def chain(
    model: TextToImage,
    request: Request,
    mitigations: Sequence[Mitigation],
    *,
    keep: float = 0.0,
    given: Given = NOTHING,
) -> Work[ChainOutcome]:
    """Run `try_in_turn` to its end and say which mitigation is used."""
    tried = []
    for each in try_in_turn(model, request, mitigations, keep=keep, given=given):
        if each is None:
            yield
        else:
            tried.append(each)
    return outcome(tried, judge(model, given)[1])


def outcome(tried: Sequence[Tried], threshold: float) -> ChainOutcome:
    """Return the outcome of what was tried, which may be cut short."""

    def rank(each: Tried) -> tuple[bool, float, float]:
        lost = 0.0 if math.isnan(each.kept) else -each.kept
        return not each.passed, max(each.score, threshold), lost

    applied = [each for each in tried if each.mitigated is not None]
    best = min(applied, key=rank, default=None)
    if best is None or best.mitigated is None:
        raise ValueError("Nothing was tried: a chain starts with the request as it is.")
    return ChainOutcome(tuple(tried), best.name, best.passed, best.mitigated, threshold)


@dataclass(frozen=True)
class AutomaticChain:
    """Use the first of `candidates` that passes, the cheapest first, `strength` of them at most.

    To pass, a candidate must also keep the share `keep` of the prompt alignment, where the scan
    tells: what no longer shows what was asked is no cure. The sentence says which; a request that
    passes as it is stays as it is.
    """

    candidates: tuple[Mitigation, ...]
    strength: float = 13.0
    keep: float = 0.9
    name: str = "automatic_chain"
    label: str = "Automatic"
    reference: str = "the cheapest mitigation that passes"
    strength_label: str = "mitigations tried at most"
    strengths: tuple[float, ...] = (4.0, 8.0, 13.0)

    def cost(self, steps: int) -> float:
        """Return what the cheaper half of the candidates and a drawing scan after each cost."""
        tried = cheapest_first(self.candidates, steps)[: -(-round(self.strength) // 2)]
        return sum(each.cost(steps) + 2.0 * steps for each in tried) + 2.0 * steps

    def apply(
        self, model: TextToImage, request: Request, *, given: Given = NOTHING
    ) -> Work[Mitigated]:
        """Return the outcome of the chain, with the network evaluations of all trials."""
        yield
        tried = cheapest_first(self.candidates, request.sampling.steps)[: round(self.strength)]
        found = yield from chain(model, request, tried, keep=self.keep, given=given)
        return replace(
            found.mitigated,
            changed=f"{_sentence(found)} {found.mitigated.changed}",
            nfe=found.nfe,
        )


def _sentence(found: ChainOutcome) -> str:
    """Say which mitigation is used, and why that one."""
    used = next(each for each in found.tried if each.mitigated is found.mitigated)
    told = f"score {used.score:.3g}; it passes below {found.threshold:.3g}"
    if not math.isnan(used.kept):
        fell = f"fell to {used.kept:.0%} of what it was" if used.kept < 1 else "did not fall"
        told += f", the alignment with the prompt {fell}"
    if found.passed:
        chosen = f"“{used.label}”, number {len(found.tried)} of those tried, is the first to pass"
    else:
        best = "kept most" if used.score < found.threshold else "scored lowest"
        chosen = f"None of the {len(found.tried)} tried passed; “{used.label}” {best}"
    return f"{chosen} ({told})."
