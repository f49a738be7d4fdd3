"""Token attribution by several detectors, and edits of the prompt by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.counting import agreeing, plural
from mmh_core.mitigations.attribution import (
    ATTRIBUTION_LABELS,
    Attribution,
    AttributionBy,
    above_control,
    attribute,
)
from mmh_core.mitigations.interface import MitigationContext, reporting
from mmh_core.mitigations.synonyms import SYNONYMS
from mmh_core.mitigations.wording import Word, dropped, replaced, tidy, words_at, words_of
from mmh_core.records import MMHError, Progress
from mmh_core.studies.mitigation.run import MitigationConfig
from mmh_core.subject.subject import Subject

#: The scores by which tokens are attributed, in order; the last one is the control.
ATTRIBUTION_SCORES: tuple[AttributionBy, ...] = (
    "guidance norm",
    "flipd",
    "denoising loss",
    "random",
)

#: Words that a sentence names at most.
_NAMED = 3


@dataclass(frozen=True)
class TokenRun:
    """The config and the attributions so far, in the order of `ATTRIBUTION_SCORES`.

    `left_out` says in a sentence each why those that are missing are not defined for the model.
    """

    config: MitigationConfig
    log_delta: float
    attributions: tuple[Attribution, ...]
    left_out: tuple[str, ...] = ()


def token_study(
    config: MitigationConfig,
    subject: Subject,
    latents: Tensor | None = None,
) -> Iterator[Progress[TokenRun]]:
    """Score the tokens of the first prompt by each of `ATTRIBUTION_SCORES`.

    `latents` (B, C, h, w) are what the unmitigated prompt ends in, so that it need not be
    generated again. The LIDs are estimated at the reference's scale, or without one at
    `attribute`'s own.
    """
    model, training_set = subject.model, subject.training_set
    request = config.request(config.prompts[0])
    scale = (
        -0.2 if training_set is None or training_set.log_delta is None else training_set.log_delta
    )
    run = TokenRun(config, scale, ())
    for number, by in enumerate(ATTRIBUTION_SCORES):
        message = f"Scoring the words by {by}"
        generator = torch.Generator().manual_seed(config.seeds[0] % 2**63)
        context = MitigationContext(generator=generator, latents=latents)
        try:
            work = attribute(model, request, by, log_delta=scale, context=context)
            attribution = yield from reporting(
                work, Progress(number / len(ATTRIBUTION_SCORES), message, run)
            )
        except MMHError as error:
            run = replace(run, left_out=(*run.left_out, f"Attribution by {by}: {error}"))
            continue
        run = replace(run, attributions=(*run.attributions, attribution))
    yield Progress(1.0, "Finished", run)


def token_finding(run: TokenRun) -> str:
    """Return in a sentence which words stand out from the random control, and by which scores.

    A word stands out by a score where one of its tokens is above the control's band.
    """
    detectors = [each for each in run.attributions if each.by != "random"]
    by_word: dict[str, list[str]] = {}
    for each in detectors:
        words = [word_at(each, token) for token in above_control(each)]
        for text in dict.fromkeys(word.text for word in words if word is not None):
            by_word.setdefault(text, []).append(ATTRIBUTION_LABELS[each.by])
    if not detectors:
        return "No detector could score the tokens of this prompt."
    if not by_word:
        return (
            "No word stands out from the random control: token attribution does not say which "
            "words to change here."
        )
    most = max(map(len, by_word.values()))
    strongest = [text for text, labels in by_word.items() if len(labels) == most]
    names = _listed([f"“{text}”" for text in strongest[:_NAMED]])
    if len(strongest) > _NAMED:
        names = f"{plural(len(strongest), 'word')}, {names} among them,"
    stand = agreeing(len(strongest), "stands", "stand")
    if most == len(detectors):
        by = f"by {'both' if most == 2 else f'all {most}'} scores" if most > 1 else ""
        hint = f"change {agreeing(len(strongest), 'this word', 'these words')} first"
    else:
        by = f"by {most} of the {plural(len(detectors), 'score')}"
        if len(strongest) == 1:
            by = f"by {_listed(by_word[strongest[0]])} alone"
        hint = "the scores disagree, so this is a weak hint"
    return f"{names} {stand} out from the random control {by}".rstrip() + f": {hint}."


def _listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def word_at(attribution: Attribution, token: int) -> Word | None:
    """Return the word that a token belongs to, None for punctuation.

    Errors: ValueError for a token that is not there.
    """
    if not 0 <= token < len(attribution.tokens):
        raise ValueError(f"There is no token {token}: choose from 0 to {len(attribution.tokens)}.")
    position = words_at(attribution.prompt, attribution.spans)[token]
    return None if position < 0 else words_of(attribution.prompt)[position]


def without_word(prompt: str, word: Word) -> str:
    """Return the prompt without a word. Errors: MMHError for the only one."""
    shortened = dropped(prompt, (word,))
    if shortened == prompt:
        raise MMHError(f"{word.text!r} is the only word: replace it instead of dropping it.")
    return shortened


def with_word(prompt: str, word: Word, new: str) -> str:
    """Return the prompt with other words in the place of one. Errors: MMHError for none."""
    if not new.strip():
        raise MMHError(f"Nothing was written to replace {word.text!r}: write a word, or drop it.")
    return tidy(replaced(prompt, {word: new.strip()}))


def suggestion(word: Word) -> str:
    """Return a synonym of a word, "" where the table has none."""
    return next(iter(SYNONYMS.get(word.text.lower(), ())), "")
