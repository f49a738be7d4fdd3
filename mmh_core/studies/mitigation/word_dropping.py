"""Word dropping: the copies left without the words of highest attribution."""

from __future__ import annotations

import torch

from mmh_core.mitigations.attribution import Attribution, AttributionBy, attribute
from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.record import MitigationContext, with_prompt
from mmh_core.mitigations.wording import Word, dropped, words_at, words_of
from mmh_core.mitigations.work import Work
from mmh_core.studies.mitigation.benchmark_run import AttributionRecord, Caption
from mmh_core.studies.mitigation.context import copy_share
from mmh_core.studies.mitigation.run import MitigationConfig
from mmh_core.subject.subject import Subject

#: What is compared; the last one is the control.
BY: tuple[AttributionBy, ...] = ("flipd", "denoising loss", "guidance norm", "random")
#: Words that each attribution drops.
DROPPED = 2


def drop_words(
    config: MitigationConfig,
    caption: Caption,
    subject: Subject,
    before: float,
) -> Work[AttributionRecord]:
    """Return the share of copies left when each attribution drops its `DROPPED` highest words.

    Proper names may be dropped too: the question is what brings the copy about, not what the
    prompt can do without.
    """
    model, training_set = subject.model, subject.training_set
    if training_set is None:
        raise ValueError("Copies are counted among training images: there is no training set.")
    request = config.request(caption.text)
    latents, _ = yield from generated_latents(model, request)
    words, left = [], []
    for by in BY:
        generator = torch.Generator().manual_seed(config.seeds[0] % 2**63)
        context = MitigationContext(generator=generator, latents=latents)
        scale = -0.2 if training_set.log_delta is None else training_set.log_delta
        found = yield from attribute(model, request, by, log_delta=scale, context=context)
        worst = worst_words(found, DROPPED)
        changed = with_prompt(request, dropped(caption.text, worst))
        words.append(tuple(word.text for word in worst))
        scan = yield from copy_share(model, training_set, None, changed)
        left.append(scan.score)
    return AttributionRecord(caption, BY, tuple(words), torch.tensor(left), before)


def worst_words(found: Attribution, count: int) -> tuple[Word, ...]:
    """Return the `count` words with the highest-scoring tokens, the worst first."""
    words = words_of(found.prompt)
    places = words_at(found.prompt, found.spans)
    order = found.scores.argsort(descending=True, stable=True).tolist()
    ranked = dict.fromkeys(places[i] for i in order if places[i] >= 0)
    return tuple(words[place] for place in list(ranked)[:count])
