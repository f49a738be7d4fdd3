"""Rewording until the detector is satisfied."""

from __future__ import annotations

import pytest
import torch

from mmh_core.mitigations.attribution import Attribution
from mmh_core.mitigations.interface import (
    MitigationContext,
    RequestScore,
    Work,
    result_of,
    without_work,
)
from mmh_core.mitigations.rewrite import TokenRewrite, chosen_words
from mmh_core.mitigations.wording import words_of
from mmh_core.records import MMHError
from mmh_core.text_to_image.requests import Request
from tests.mitigations.conftest import ModelOf, full_context, request_for

PROMPT = "a photo of Mira Solano"


def attribution(scores: list[float]) -> Attribution:
    spans = tuple((word.start, word.end) for word in words_of(PROMPT))
    return Attribution("random", PROMPT, tuple(PROMPT.split()), spans, torch.tensor(scores), 0.0)


def shares(scores: list[float], draws: int = 2000) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    drawn = [chosen_words(attribution(scores), 1, generator)[0].text for _ in range(draws)]
    return [drawn.count(word) / draws for word in PROMPT.split()]


def test_tokens_are_drawn_by_their_scores_and_names_are_kept() -> None:
    found = shares([0.0, 0.9, 0.8, 1.0, 0.3])
    weights = (torch.tensor([0.0, 9.0, 8.0]).softmax(0) + 1e-3).tolist()
    expected = [weight / sum(weights) for weight in weights]
    # Binomial with 2,000 draws: standard deviation at most .011.
    assert found[:3] == pytest.approx(expected, abs=0.04)
    assert found[3:] == [0.0, 0.0]
    # Scores have no unit: only their share of the largest counts.
    assert shares([0.0, 9e6, 8e6, 1e7, 3e6]) == found


def test_no_more_tokens_are_drawn_than_there_are() -> None:
    chosen = chosen_words(attribution([1.0] * 5), 8, torch.Generator().manual_seed(0))
    assert {word.text for word in chosen} == {"a", "photo", "of"}


class Judge:
    """A detector that finds fault with some words and remembers what it was asked."""

    def __init__(self, *bad: str) -> None:
        self.bad, self.asked = bad, list[str]()

    def __call__(self, request: Request) -> Work[RequestScore]:
        self.asked.append(request.prompt)
        score = float(sum(word in request.prompt.split() for word in self.bad))
        return (yield from without_work(RequestScore(score, 3.0)))


def test_the_first_prompt_that_passes_is_accepted(model_of: ModelOf) -> None:
    model = model_of("tiny")
    judge = Judge("photo")
    context = MitigationContext(
        generator=torch.Generator().manual_seed(0), detector=judge, threshold=0.5
    )
    request = request_for(model, prompt="a photo of the cat")
    out = result_of(TokenRewrite(strength=8.0, by="random").apply(model, request, context=context))
    assert out.prompt == judge.asked[-1] != request.prompt
    assert "photo" not in out.prompt.split()
    assert all("photo" in prompt.split() for prompt in judge.asked[:-1])
    assert out.nfe == 3 * len(judge.asked)
    assert "below the threshold" in out.explanation and "not below" not in out.explanation


def test_the_lowest_score_is_used_when_none_passes(model_of: ModelOf) -> None:
    model = model_of("tiny")
    judge = Judge("photo", "the", "Mira")
    context = MitigationContext(
        generator=torch.Generator().manual_seed(0), detector=judge, threshold=0.5
    )
    request = request_for(model, prompt="a photo of Mira the cat")
    out = result_of(TokenRewrite(strength=8.0, by="random").apply(model, request, context=context))
    # The name stays, so nothing passes; dropping everything else leaves it alone.
    assert "Mira" in out.prompt.split() and "photo" not in out.prompt.split()
    assert len(set(judge.asked)) == len(judge.asked)
    assert "not below" in out.explanation


def test_a_prompt_that_no_rewording_improves_stays(model_of: ModelOf) -> None:
    model = model_of("tiny")
    context = MitigationContext(
        generator=torch.Generator().manual_seed(0),
        detector=lambda request: without_work(
            RequestScore(0.0 if request.prompt == PROMPT else 2.0, 0.0)
        ),
        threshold=-1.0,
    )
    request = request_for(model, prompt=PROMPT)
    out = result_of(TokenRewrite(by="random").apply(model, request, context=context))
    assert out.request is request
    assert out.explanation.startswith("No rewording scored lower")


def test_the_usual_detector_is_the_guidance_norm(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model, prompt="a photo of the cat")
    context = full_context(model)
    out = result_of(TokenRewrite(attempts=3).apply(model, request, context=context))
    # Attribution 3; two network evaluations for each different prompt and for the original.
    assert (out.nfe - 3) % 2 == 0 and 5 <= out.nfe <= 11
    with pytest.raises(MMHError, match="of reference prompts"):
        bare = MitigationContext(generator=torch.Generator().manual_seed(0))
        result_of(TokenRewrite().apply(model, request, context=bare))
    with pytest.raises(ValueError, match="A detector needs a threshold"):
        half = MitigationContext(generator=torch.Generator().manual_seed(0), detector=Judge())
        result_of(TokenRewrite().apply(model, request, context=half))
