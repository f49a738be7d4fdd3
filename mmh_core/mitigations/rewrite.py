"""Reword the tokens that are to blame until the detector is satisfied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from mmh_core.mitigations.attribution import Attribution, AttributionBy, attribute
from mmh_core.mitigations.endpoint import Endpoint, ask
from mmh_core.mitigations.first_step import guidance_norm_scan
from mmh_core.mitigations.record import (
    NOTHING,
    Given,
    Mitigated,
    Scan,
    branches_per_step,
    quantile_of,
    with_prompt,
)
from mmh_core.mitigations.word_diff import word_diff
from mmh_core.mitigations.wording import Word, dropped, retold, reworded, words_at, words_of
from mmh_core.mitigations.work import Work
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

_Scanner = Callable[[Request], Work[Scan]]

#: Temperature and floor of the choice of tokens, on scores whose largest is 1.
_TEMPERATURE, _FLOOR = 0.1, 1e-3


@dataclass(frozen=True)
class TokenRewrite:
    """Reword `strength` tokens, drawn by attribution, and accept the first prompt that passes.

    Ross et al. 2025 (arXiv 2411.00113): tokens are drawn without replacement with
    `p ~ softmax(a / .1) + 1e-3`, a their scores divided by the largest; those of proper names are
    kept. Each attempt draws anew. Offline rules in turn: synonyms, dropping, another template; or
    an endpoint. A prompt passes when its scan is below the threshold; if none does, the one with
    the lowest score is used, the original among them.
    """

    strength: float = 4.0
    by: AttributionBy = "guidance norm"
    log_delta: float = -0.2
    attempts: int = 9
    endpoint: Endpoint | None = None
    name: str = "rewrite"
    label: str = "Reworded prompt"
    reference: str = "Ross et al. 2025, arXiv 2411.00113"
    strength_label: str = "tokens to reword"
    strengths: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)

    def cost(self, steps: int) -> float:
        """Return the attribution and a scan that draws, for half of the attempts."""
        drawn = 2.0 * steps if self.by in ("flipd", "denoising loss") else 0.0
        return drawn + 3 + steps * self.attempts

    def apply(
        self, model: TextToImage, request: Request, *, given: Given = NOTHING
    ) -> Work[Mitigated]:
        """Return the request with the accepted prompt; MMHError without a threshold.

        The scan is the first-step guidance norm where `given` has no other, and its threshold then
        the median of reference prompts.
        """
        yield
        scan, threshold = judge(model, given)
        attribution = yield from attribute(
            model, request, self.by, log_delta=self.log_delta, given=given
        )
        best, score, spent = request, float("inf"), attribution.nfe
        passed = False
        for prompt in self._candidates(attribution, given.drawing()):
            candidate = with_prompt(request, prompt)
            found = yield from scan(candidate)
            spent += found.nfe
            if found.score < score:
                best, score = candidate, found.score
            passed = found.score < threshold
            if passed:
                best = candidate
                break
        if not passed:
            found = yield from scan(request)
            spent += found.nfe
            if found.score <= score:
                best, score = request, found.score
        return Mitigated(
            best,
            best.prompt,
            _sentence(request.prompt, best.prompt, score, threshold),
            spent,
            branches_per_step(best),
        )

    def _candidates(self, attribution: Attribution, generator: torch.Generator) -> Iterator[str]:
        """Yield different prompts, at most one per attempt."""
        prompt = attribution.prompt
        seen = {prompt}
        others = retold(prompt)
        for attempt in range(self.attempts):
            chosen = chosen_words(attribution, round(self.strength), generator)
            if self.endpoint is not None:
                new = ask(self.endpoint, prompt, [word.text for word in chosen], attempt)
            elif attempt % 3 == 0:
                new = reworded(prompt, chosen, generator)
            elif attempt % 3 == 1:
                new = dropped(prompt, chosen)
            else:
                new = others[(attempt // 3) % len(others)] if others else prompt
            if new not in seen:
                seen.add(new)
                yield new


def judge(model: TextToImage, given: Given) -> tuple[_Scanner, float]:
    """Return the detector that judges a request and the score below which it is satisfied."""
    if given.scan is not None:
        if given.threshold is None:
            raise ValueError("A scan needs a threshold: give both.")
        return given.scan, given.threshold
    threshold = given.threshold
    if threshold is None:
        threshold = quantile_of(given.normal_norms, 0.5, "guidance norms")
    return (lambda request: guidance_norm_scan(model, request)), threshold


def chosen_words(
    attribution: Attribution, count: int, generator: torch.Generator
) -> tuple[Word, ...]:
    """Draw `count` tokens and return the words that they belong to, proper names left out."""
    words = words_of(attribution.prompt)
    places = words_at(attribution.prompt, attribution.spans)
    free = [i for i, place in enumerate(places) if place >= 0 and not words[place].name]
    if not free:
        return ()
    scores = attribution.scores[torch.tensor(free)].double()
    scores = scores / attribution.scores.max().clamp(min=1e-30)
    weights = (scores / _TEMPERATURE).softmax(0) + _FLOOR
    drawn = torch.multinomial(
        weights.to(generator.device), min(count, len(free)), generator=generator
    )
    return tuple(dict.fromkeys(words[places[free[i]]] for i in drawn.tolist()))


def _sentence(before: str, after: str, score: float, threshold: float) -> str:
    verdict = "below" if score < threshold else "not below"
    judged = f"the score {score:.3g} is {verdict} the threshold {threshold:.3g}"
    if before == after:
        return f"No rewording scored lower than the prompt as it is; {judged}."
    parts = [
        f"{'without' if kind == 'removed' else 'with'} “{text}”"
        for kind, text in word_diff(before, after)
        if kind != "kept"
    ]
    return f"The prompt is now {', '.join(parts)}; {judged}."
