"""The chain tries the cheapest first and stops where it should."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from mmh_core.mitigations.chain import AutomaticChain, chain, cheapest_first, outcome, try_in_turn
from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    MitigationContext,
    RequestScore,
    Work,
    result_of,
    steered,
    with_prompt,
    without_work,
)
from mmh_core.mitigations.padding_fix import PaddingFix
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request
from tests.mitigations.conftest import ModelOf, request_for


@dataclass(frozen=True)
class Planted:
    """Set the prompt to the mitigation's own name, at a price."""

    name: str
    price: float
    strength: float = 1.0
    label: str = ""
    summary: str = ""
    citation: str = ""
    strength_label: str = ""
    strengths: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.name.capitalize())

    def cost(self, steps: int) -> float:
        return self.price * steps

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        found = Mitigated(with_prompt(request, self.name), self.name, "Planted.", self.price)
        return (yield from without_work(found))


CHEAP, MIDDLE, DEAR = Planted("cheap", 1.0), Planted("middle", 2.0), Planted("dear", 3.0)
ALL = (DEAR, CHEAP, MIDDLE)


def context_with_scores(**scores: float) -> MitigationContext:
    """Return a detector that scores a request by its prompt, "plain" where it is no name."""
    known = {"cheap", "middle", "dear"}

    def detector(request: Request) -> Work[RequestScore]:
        score = scores[request.prompt if request.prompt in known else "plain"]
        return (yield from without_work(RequestScore(score, 10.0)))

    return MitigationContext(detector=detector, threshold=0.5)


def test_the_first_that_passes_ends_the_chain(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = context_with_scores(plain=0.9, cheap=0.8, middle=0.2, dear=0.0)
    found = result_of(chain(model, request_for(model), ALL, context=context))
    assert [each.name for each in found.tried] == ["none", "cheap", "middle"]
    assert [each.passed for each in found.tried] == [False, False, True]
    assert (found.accepted, found.passed) == ("middle", True)
    assert found.mitigated.request.prompt == "middle"
    assert found.nfe == 10 + (1 + 10) + (2 + 10)
    assert [each.score for each in found.tried] == [0.9, 0.8, 0.2]
    assert all(math.isnan(each.kept) for each in found.tried)


def test_a_request_that_passes_as_it_is_stays_as_it_is(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    found = result_of(chain(model, request, ALL, context=context_with_scores(plain=0.4)))
    assert (found.accepted, len(found.tried)) == ("none", 1)
    assert found.mitigated.request is request


def test_the_lowest_score_is_used_when_none_passes(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = context_with_scores(plain=0.9, cheap=0.7, middle=0.6, dear=0.8)
    found = result_of(chain(model, request_for(model), ALL, context=context))
    assert (found.accepted, found.passed, len(found.tried)) == ("middle", False, 4)


def test_a_threshold_is_passed_only_below_it(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = context_with_scores(plain=0.5, cheap=0.5, middle=0.4, dear=0.4)
    assert result_of(chain(model, request_for(model), ALL, context=context)).accepted == "middle"


def judged(**found: tuple[float, float]) -> MitigationContext:
    """Return a detector that tells score and alignment of a request by its prompt."""

    def detector(request: Request) -> Work[RequestScore]:
        score, alignment = found[request.prompt if request.prompt in found else "plain"]
        return (yield from without_work(RequestScore(score, 10.0, alignment)))

    return MitigationContext(detector=detector, threshold=0.5)


def test_what_loses_the_prompt_does_not_pass(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = judged(plain=(0.9, 0.8), cheap=(0.1, 0.7), middle=(0.2, 0.74), dear=(0.0, 0.8))
    found = result_of(chain(model, request_for(model), ALL, keep=0.9, context=context))
    # 0.7 is less than nine tenths of 0.8, and 0.74 is more.
    assert [each.passed for each in found.tried] == [False, False, True]
    assert [each.kept for each in found.tried] == pytest.approx([1.0, 0.875, 0.925])
    # Without the demand the first below the threshold is good enough.
    assert result_of(chain(model, request_for(model), ALL, context=context)).accepted == "cheap"


def test_of_those_that_stop_copying_the_one_that_keeps_most_is_used(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = judged(plain=(0.9, 0.8), cheap=(0.0, 0.2), middle=(0.4, 0.6), dear=(0.6, 0.7))
    found = result_of(chain(model, request_for(model), ALL, keep=0.9, context=context))
    # Both of the cheap ones are below the threshold; how far below counts for nothing.
    assert (found.accepted, found.passed) == ("middle", False)
    out = result_of(AutomaticChain(ALL).apply(model, request_for(model), context=context))
    assert out.explanation.startswith("None of the 4 tried passed; “Middle” kept most (score 0.4")
    assert "the alignment with the prompt fell to 75% of what it was" in out.explanation


def test_of_equal_scores_the_one_that_keeps_most_is_used(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = judged(plain=(0.9, 0.8), cheap=(0.6, 0.2), middle=(0.6, 0.7), dear=(0.6, 0.5))
    found = result_of(chain(model, request_for(model), ALL, keep=0.9, context=context))
    assert (found.accepted, found.passed) == ("middle", False)


def test_what_is_refused_is_passed_over_and_told(model_of: ModelOf) -> None:
    model = model_of("tiny")

    @dataclass(frozen=True)
    class Refusing(Planted):
        def apply(
            self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
        ) -> Work[Mitigated]:
            yield
            raise MMHError("Not with this model: choose another.")

    context = context_with_scores(plain=0.9, cheap=0.1)
    found = result_of(
        chain(model, request_for(model), (Refusing("broken", 0.5), CHEAP), context=context)
    )
    assert [each.refused for each in found.tried][1] == "Not with this model: choose another."
    assert found.tried[1].mitigated is None
    assert found.accepted == "cheap"


def test_it_can_be_cut_short_and_keeps_what_was_tried(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = context_with_scores(plain=0.9, cheap=0.8, middle=0.2)
    steps = try_in_turn(model, request_for(model), ALL, context=context)
    tried = (each for each in steps if each is not None)
    found = outcome([next(tried), next(tried)], 0.5)
    assert (found.accepted, found.passed) == ("cheap", False)
    with pytest.raises(ValueError, match="Nothing was tried"):
        outcome([], 0.5)


def test_equal_costs_stay_in_order() -> None:
    same = Planted("same", 1.0)
    assert cheapest_first((DEAR, same, CHEAP, MIDDLE), 30) == (same, CHEAP, MIDDLE, DEAR)


def test_the_chain_is_a_mitigation_that_says_which(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = context_with_scores(plain=0.9, cheap=0.8, middle=0.2, dear=0.1)
    automatic = AutomaticChain(ALL)
    out = result_of(automatic.apply(model, request_for(model), context=context))
    assert out.explanation.startswith("“Middle”, number 3 of those tried, is the first to pass")
    assert out.request.prompt == "middle"
    assert out.nfe == 33
    short = result_of(
        replace(automatic, strength=1.0).apply(model, request_for(model), context=context)
    )
    assert short.explanation.startswith("None of the 2 tried passed; “Cheap” scored lowest")


def test_the_chain_is_expected_to_end_with_the_cheaper_half() -> None:
    # Of three the two cheapest, 1 and 2 network evaluations a step, and three drawings of 2
    # network evaluations a step.
    assert AutomaticChain(ALL, strength=3.0).cost(10) == 10 + 20 + 3 * 20


def test_the_usual_scan_sees_what_changes_the_first_step(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    found = result_of(
        chain(model, request, (PaddingFix(1.0),), context=MitigationContext(threshold=0.0))
    )
    assert len({each.score for each in found.tried}) == 2
    assert [each.nfe for each in found.tried] == [2.0, 2.0]


@pytest.mark.parametrize("selection", [(7, 8), (9,), (1, 2, 5)])
def test_a_chain_searches_with_selection_seeds_and_answers_for_the_others(
    model_of: ModelOf, selection: tuple[int, ...]
) -> None:
    model = model_of("tiny")
    request = request_for(model)
    scored: list[tuple[int, ...]] = []

    def detector(asking: Request) -> Work[RequestScore]:
        scored.append(asking.seeds)
        return (
            yield from without_work(
                RequestScore(0.9 if asking.prompt == request.prompt else 0.1, 10.0)
            )
        )

    context = MitigationContext(detector=detector, threshold=0.5, selection_seeds=selection)
    found = result_of(AutomaticChain((CHEAP,)).apply(model, request, context=context))
    assert set(scored) == {selection} and len(scored) == 2
    assert found.request.prompt == "cheap" and found.request.seeds == request.seeds


def test_an_accepted_mitigation_of_single_seeds_is_applied_anew_to_the_others(
    model_of: ModelOf,
) -> None:
    model = model_of("tiny")
    request = request_for(model)

    @dataclass(frozen=True)
    class OfEachSeed(Planted):
        def apply(
            self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
        ) -> Work[Mitigated]:
            noise = torch.tensor(request.seeds).float().reshape(-1, 1, 1, 1).expand(-1, 4, 8, 8)
            changed = steered(with_prompt(request, "cheap"), noise=noise)
            return (yield from without_work(Mitigated(changed, "cheap", "Planted.", self.price)))

    scores = context_with_scores(plain=0.9, cheap=0.1)
    context = replace(scores, selection_seeds=(7, 8, 9))
    found = result_of(
        AutomaticChain((OfEachSeed("cheap", 1.0),)).apply(model, request, context=context)
    )
    assert found.request.seeds == request.seeds
    steering = found.request.steering
    assert steering is not None and steering.noise is not None
    assert steering.noise[:, 0, 0, 0].tolist() == [float(seed) for seed in request.seeds]
    # Two scans, the trial, and the mitigation once more.
    assert found.nfe == 10 + (1 + 10) + 1
