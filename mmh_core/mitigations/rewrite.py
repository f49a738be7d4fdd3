"""Prompt rewriting: reword the tokens with the highest attribution until a detector passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from mmh_core.mitigations.attribution import Attribution, AttributionBy, attribute
from mmh_core.mitigations.first_step import guidance_norm_score
from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    MitigationContext,
    RequestScore,
    Work,
    quantile_of,
    with_prompt,
)
from mmh_core.mitigations.rewording_service import Endpoint, request_rewording
from mmh_core.mitigations.wording import (
    Word,
    dropped,
    paraphrases,
    reworded,
    word_diff,
    words_at,
    words_of,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

_RequestDetector = Callable[[Request], Work[RequestScore]]

#: Temperature and floor of the choice of tokens, on scores whose largest is 1.
_TEMPERATURE, _FLOOR = 0.1, 1e-3


@dataclass(frozen=True)
class TokenRewrite:
    """A prompt with `strength` tokens reworded, sampled by attribution: the first that passes.

    Ross et al. 2025 (arXiv 2411.00113): tokens are sampled without replacement with
    `p ~ softmax(a / .1) + 1e-3`, a their scores divided by the largest; those of proper names are
    kept. Each attempt samples anew. In this variant offline rules reword in turn (synonyms,
    dropping, another template), or a language model behind `endpoint` as in the paper. A prompt
    passes when its score is below the threshold; if none does, the one with the lowest score is
    used, the prompt as it was among them.
    """

    strength: float = 4.0
    by: AttributionBy = "guidance norm"
    log_delta: float = -0.2
    attempts: int = 9
    endpoint: Endpoint | None = None
    name: str = "rewrite"
    label: str = "Token-attribution rewriting, variant"
    summary: str = (
        "Rewords the tokens with the highest attribution until a detector passes; by offline "
        "rules where the paper has a language model."
    )
    citation: str = "Ross et al. 2025, arXiv 2411.00113"
    strength_label: str = "tokens to reword"
    strengths: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)

    def cost(self, steps: int) -> float:
        """Return the cost of the attribution and a generation for half of the attempts."""
        generation = 2.0 * steps if self.by in ("flipd", "denoising loss") else 0.0
        return generation + 3 + steps * self.attempts

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with the accepted prompt; MMHError without a threshold.

        The detector is the first-step guidance norm where `context` has no other, with the median
        of reference prompts as its threshold. It scans the context's selection seeds.
        """
        yield
        detector, threshold = detector_and_threshold(model, context)
        seeds, request = request.seeds, context.selecting(request)
        attribution = yield from attribute(
            model, request, self.by, log_delta=self.log_delta, context=context
        )
        best, score, spent = request, float("inf"), attribution.nfe
        passed = False
        for prompt in self._candidates(attribution, context.random()):
            candidate = with_prompt(request, prompt)
            scored = yield from detector(candidate)
            spent += scored.nfe
            if scored.score < score:
                best, score = candidate, scored.score
            passed = scored.score < threshold
            if passed:
                best = candidate
                break
        if not passed:
            scored = yield from detector(request)
            spent += scored.nfe
            if scored.score <= score:
                best, score = request, scored.score
        return Mitigated(
            best if best.seeds == seeds else replace(best, seeds=seeds),
            best.prompt,
            _sentence(request.prompt, best.prompt, score, threshold),
            spent,
        )

    def _candidates(self, attribution: Attribution, generator: torch.Generator) -> Iterator[str]:
        """Yield different prompts, at most one per attempt."""
        prompt = attribution.prompt
        seen = {prompt}
        others = paraphrases(prompt)
        for attempt in range(self.attempts):
            chosen = chosen_words(attribution, round(self.strength), generator)
            if self.endpoint is not None:
                new = request_rewording(
                    self.endpoint, prompt, [word.text for word in chosen], attempt
                )
            elif attempt % 3 == 0:
                new = reworded(prompt, chosen, generator)
            elif attempt % 3 == 1:
                new = dropped(prompt, chosen)
            else:
                new = others[(attempt // 3) % len(others)] if others else prompt
            if new not in seen:
                seen.add(new)
                yield new


def detector_and_threshold(
    model: TextToImage, context: MitigationContext
) -> tuple[_RequestDetector, float]:
    """Return the detector that scores a request, and the threshold below which it passes."""
    if context.detector is not None:
        if context.threshold is None:
            raise ValueError("A detector needs a threshold: pass both.")
        return context.detector, context.threshold
    threshold = context.threshold
    if threshold is None:
        threshold = quantile_of(context.reference_norms, 0.5, "guidance norms")
    return (lambda request: guidance_norm_score(model, request)), threshold


def chosen_words(
    attribution: Attribution, count: int, generator: torch.Generator
) -> tuple[Word, ...]:
    """Return the words of `count` tokens sampled by attribution, proper names left out."""
    words = words_of(attribution.prompt)
    word_of = words_at(attribution.prompt, attribution.spans)
    free = [i for i, word in enumerate(word_of) if word >= 0 and not words[word].name]
    if not free:
        return ()
    scores = attribution.scores[torch.tensor(free)].double()
    scores = scores / attribution.scores.max().clamp(min=1e-30)
    weights = (scores / _TEMPERATURE).softmax(0) + _FLOOR
    sampled = torch.multinomial(
        weights.to(generator.device), min(count, len(free)), generator=generator
    )
    return tuple(dict.fromkeys(words[word_of[free[i]]] for i in sampled.tolist()))


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
