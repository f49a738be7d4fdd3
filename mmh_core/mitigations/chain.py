"""Try mitigations one after the other, the cheapest first, until the detector is satisfied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmh_core.mitigations.none import NoMitigation
from mmh_core.mitigations.record import NOTHING, Given, Mitigated, Mitigation
from mmh_core.mitigations.rewrite import judge
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Tried:
    """Hold one mitigation that was tried.

    `score` is the scan's, of what became of the request, and `passed` whether it is below the
    threshold. `refused` says in one sentence why a mitigation could not be applied, "" else;
    nothing was scanned then, and the score is NaN. `forwards` were spent on it and its scan.
    """

    name: str
    strength: float
    score: float
    passed: bool
    mitigated: Mitigated | None
    refused: str
    forwards: float


@dataclass(frozen=True, eq=False)
class ChainOutcome:
    """Hold all that was tried, in order, and what is used.

    `accepted` is the name of the mitigation in use: the first that passed, or else the one with
    the lowest score, the request as it was among them. `passed` says which of the two it is.
    """

    tried: tuple[Tried, ...]
    accepted: str
    passed: bool
    mitigated: Mitigated
    threshold: float

    @property
    def forwards(self) -> float:
        """Return what all trials cost together, per picture."""
        return sum(each.forwards for each in self.tried)

    def frame(self) -> pd.DataFrame:
        """Return one row per mitigation tried."""
        import pandas as pd

        rows = [(t.name, t.strength, t.score, t.passed, t.refused, t.forwards) for t in self.tried]
        columns = ["mitigation", "strength", "score", "passed", "refused", "forwards"]
        return pd.DataFrame(rows, columns=columns)


def cheapest_first(mitigations: Sequence[Mitigation], steps: int) -> tuple[Mitigation, ...]:
    """Sort by expected cost; equal ones stay in the order given."""
    return tuple(sorted(mitigations, key=lambda each: each.cost(steps)))


def try_in_turn(
    model: TextToImage,
    request: Request,
    mitigations: Sequence[Mitigation],
    *,
    given: Given = NOTHING,
) -> Iterator[Tried]:
    """Yield what becomes of the request: first as it is, then by each mitigation on its own.

    Ends after the first that passes, so a request that is not suspicious is left alone. The scan
    is `given.scan`, or the first-step guidance norm, which does not see what is only decided while
    drawing: chains with such mitigations need a scan that draws.
    """
    scan, threshold = judge(model, given)
    queue = [NoMitigation(), *cheapest_first(mitigations, request.steps)]
    for number, each in enumerate(queue):
        if number and each.name == "none":
            continue
        try:
            mitigated = each.apply(model, request, given=given)
        except MMHError as error:
            yield Tried(each.name, each.strength, float("nan"), False, None, str(error), 0.0)
            continue
        found = scan(mitigated.request)
        passed = found.score < threshold
        yield Tried(
            each.name,
            each.strength,
            found.score,
            passed,
            mitigated,
            "",
            mitigated.forwards + found.forwards,
        )
        if passed:
            return


def chain(
    model: TextToImage,
    request: Request,
    mitigations: Sequence[Mitigation],
    *,
    given: Given = NOTHING,
) -> ChainOutcome:
    """Run `try_in_turn` to its end and say which mitigation is used."""
    tried = tuple(try_in_turn(model, request, mitigations, given=given))
    return outcome(tried, judge(model, given)[1])


def outcome(tried: Sequence[Tried], threshold: float) -> ChainOutcome:
    """Return the outcome of what was tried, which may be cut short."""
    applied = [each for each in tried if each.mitigated is not None]
    best = min(applied, key=lambda each: (not each.passed, each.score), default=None)
    if best is None or best.mitigated is None:
        raise ValueError("Nothing was tried: a chain starts with the request as it is.")
    return ChainOutcome(tuple(tried), best.name, best.passed, best.mitigated, threshold)


@dataclass(frozen=True)
class AutomaticChain:
    """Use the first of `candidates` that passes, the cheapest first, `strength` of them at most.

    The sentence says which; a request that passes as it is stays as it is.
    """

    candidates: tuple[Mitigation, ...]
    strength: float = 12.0
    name: str = "automatic_chain"
    label: str = "Automatic"
    reference: str = "the cheapest mitigation that passes"
    strength_label: str = "mitigations tried at most"
    strengths: tuple[float, ...] = (4.0, 8.0, 12.0)

    def cost(self, steps: int) -> float:
        """Return what all candidates and a drawing scan after each would cost."""
        tried = cheapest_first(self.candidates, steps)[: round(self.strength)]
        return sum(each.cost(steps) + 2.0 * steps for each in tried) + 2.0 * steps

    def apply(self, model: TextToImage, request: Request, *, given: Given = NOTHING) -> Mitigated:
        """Return the outcome of the chain, with the forwards of all trials."""
        tried = cheapest_first(self.candidates, request.steps)[: round(self.strength)]
        found = chain(model, request, tried, given=given)
        score = min(each.score for each in found.tried if each.name == found.accepted)
        changed = (
            f"{found.accepted}, number {len(found.tried)} of those tried, is the first to pass"
            if found.passed
            else f"None of the {len(found.tried)} tried passed; {found.accepted} scored lowest"
        )
        return replace(
            found.mitigated,
            changed=f"{changed} (score {score:.3g}, threshold {found.threshold:.3g}). "
            f"{found.mitigated.changed}",
            forwards=found.forwards,
        )
