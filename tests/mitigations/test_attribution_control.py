"""The band of the random control, and what is said of the words above it."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.mitigations.attribution import (
    Attribution,
    AttributionBy,
    above_control,
    control_band,
    control_ratio,
)
from mmh_core.studies.mitigation.token_attribution import TokenRun, token_finding
from tests.mitigation_runs import comparison

PROMPT = "a photo of Anna in a green coat and hat"
WORDS = PROMPT.split()


def scored(by: AttributionBy, **high: float) -> Attribution:
    """Return scores of 1 for all words but those given."""
    spans, at = [], 0
    for word in WORDS:
        at = PROMPT.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    scores = torch.tensor([high.get(word, 1.0) for word in WORDS])
    return Attribution(by, PROMPT, tuple(WORDS), tuple(spans), scores, 3.0)


def finding(*attributions: Attribution) -> str:
    control = scored("random", green=9.0)
    return token_finding(TokenRun(comparison(PROMPT).config, -0.9, (*attributions, control)))


def test_the_control_exceeds_its_band_in_one_run_of_twenty() -> None:
    count, tokens = 2_000, 9
    scores = torch.rand(count, tokens, generator=torch.Generator().manual_seed(5))
    exceeded = sum(
        bool(above_control(Attribution("random", "", ("x",) * tokens, (), row, 0.0)))
        for row in scores
    )
    assert 0.035 < exceeded / count < 0.065


def test_the_ratio_of_two_scores_is_that_of_their_distribution() -> None:
    # Of two uniform scores the lower median is the smaller one, so torch's mean of both is used:
    # max / ((max + min) / 2) = 2 / (1 + r) with r uniform, so its .95 quantile is 2 / 1.05.
    assert control_ratio(2) == pytest.approx(2 / 1.05, abs=0.01)
    assert control_ratio(1) == math.inf
    # More scores, a steadier median: the band comes down towards 2, that of the distribution.
    assert control_ratio(8) > control_ratio(20) > control_ratio(77) > 2.0


def test_a_band_is_in_the_units_of_its_score() -> None:
    one = scored("flipd", Anna=5.0)
    many = Attribution("flipd", PROMPT, one.tokens, one.spans, one.scores * 1e-4, 3.0)
    assert control_band(many) == pytest.approx(1e-4 * control_band(one))
    assert above_control(one) == above_control(many) == (WORDS.index("Anna"),)


@pytest.mark.parametrize(
    ("attributions", "sentence"),
    [
        (
            (scored("flipd", Anna=5.0), scored("guidance norm", Anna=6.0)),
            "“Anna” stands out from the random control by both scores: change this word first.",
        ),
        (
            (scored("flipd", Anna=5.0, green=9.0), scored("guidance norm", Anna=6.0, green=7.0)),
            "“green” and “Anna” stand out from the random control by both scores: change these "
            "words first.",
        ),
        (
            (scored("flipd", Anna=5.0), scored("guidance norm")),
            "“Anna” stands out from the random control by FLIPD alone: the scores disagree, so "
            "this is a weak hint.",
        ),
        (
            (scored("flipd"), scored("guidance norm", photo=1.4)),
            "No word stands out from the random control: token attribution does not say which "
            "words to change here.",
        ),
        ((), "No detector could score the tokens of this prompt."),
    ],
)
def test_the_finding_names_the_words_and_the_scores(
    attributions: tuple[Attribution, ...], sentence: str
) -> None:
    assert finding(*attributions) == sentence
