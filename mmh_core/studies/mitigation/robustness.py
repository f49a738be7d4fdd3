"""What comes back of a copy: under paraphrases, other seeds, and an attack on the embedding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.mitigations.catalogue import mitigation
from mmh_core.mitigations.interface import Work, reporting
from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.retrigger import STEPS, retriggered
from mmh_core.mitigations.wording import paraphrases, reworded, words_of
from mmh_core.records import MMHError, Progress
from mmh_core.retrieval.copy_evidence import copied
from mmh_core.studies.images.generation import pixels_of
from mmh_core.studies.mitigation.cells import at_strength
from mmh_core.studies.mitigation.context import Comparison, context_for
from mmh_core.studies.mitigation.kept_cells import kept_attack
from mmh_core.studies.mitigation.run import (
    MitigationConfig,
    MitigationRun,
    Robustness,
    Treatment,
    fresh_seeds,
)
from mmh_core.studies.mitigation.study import checked, comparison_of, mitigation_study
from mmh_core.studies.mitigation.table import copies
from mmh_core.subject.copies import ImageCopyEvidence
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.subject import Subject
from mmh_core.text_to_image.requests import Request

#: Paraphrases of a caption at most, and the seeds of each.
PARAPHRASES, SEEDS = 3, 2
#: What the attack takes of the whole, for the progress.
_ATTACK = 0.5


def paraphrases_of(prompt: str, listed: Sequence[str] = ()) -> tuple[str, ...]:
    """Return up to `PARAPHRASES` other texts of a prompt: those listed, else by offline rules.

    The rules are other templates, and synonyms of all words that are no names. None where the
    rules have nothing for this prompt.
    """
    others = list(listed)
    if not others:
        words = [word for word in words_of(prompt) if not word.name]
        generator = torch.Generator().manual_seed(0)
        others = [*paraphrases(prompt), reworded(prompt, words, generator)]
    return tuple(dict.fromkeys(text for text in others if text != prompt))[:PARAPHRASES]


def expected_nfe(config: MitigationConfig, paraphrases: int) -> float:
    """Return about how many NFE `robust_study` takes, applying the mitigations included."""
    steps, seeds = 2.0 * config.sampling.steps, len(config.seeds)
    # The attack on the prompt in question, and on every reference prompt as the control.
    attacked = seeds * len(config.prompts)
    images = SEEDS * (1 + paraphrases) + attacked
    treatments = checked(config).treatments
    applied = sum(steps + mitigation(t.mitigation).cost(config.sampling.steps) for t in treatments)
    return images * applied + len(treatments) * attacked * (2.0 * STEPS + 1)


def robust_study(
    run: MitigationRun,
    subject: Subject,
    listed: Sequence[str] = (),
    *,
    kept: Path | None = None,
) -> Iterator[Progress[MitigationRun]]:
    """Try to get the copies of a comparison's prompt back, with its reference prompts as control.

    Yields the run, at last with its `robustness`; `listed` are paraphrases of the prompt. What is
    finished is kept in the folder `kept`, where it is given, and used again. Errors: MMHError
    without a training set to search.
    """
    config, records = run.config, list[Robustness]()
    yield Progress(0.0, "Bringing copies back", replace(run, robustness=()))
    for number, prompt in enumerate(config.prompts):
        single = replace(config, prompts=(prompt,))
        work = (
            control(single, subject, kept=kept)
            if number
            else robustness(single, subject, listed, kept=kept)
        )
        message = "Control, reference prompts" if number else "Bringing copies back"
        for share, record in work:
            if record is not None:
                records.append(record)
            done = (number + share) / len(config.prompts)
            # What is not finished is not known: a run that is stopped here keeps no robustness.
            yield Progress(0.999 * done, message, replace(run, robustness=()))
    yield Progress(1.0, "Finished", replace(run, robustness=tuple(records)))


def robustness(
    config: MitigationConfig,
    subject: Subject,
    listed: Sequence[str] = (),
    *,
    kept: Path | None = None,
) -> Iterator[tuple[float, Robustness | None]]:
    """Try to get the copies of the first prompt back from every mitigation of a config.

    Yields the share done, the record at last. The other seeds are neither judged nor searched with
    in the config; LID is not estimated. Errors: MMHError without a training set to search.
    """
    config = checked(config)
    if subject.training_set is None:
        raise MMHError(
            "Whether a copy comes back is searched for among training images: give an index of "
            "them by --index."
        )
    texts = paraphrases_of(config.prompts[0], listed)
    others = replace(
        config,
        prompts=(config.prompts[0], *texts),
        seeds=fresh_seeds({*config.seeds, *config.searched}, SEEDS),
        selection_seeds=config.searched,
    )
    run = None
    for progress in mitigation_study(others, subject, log_delta=math.nan, kept=kept):
        run = progress.partial
        yield (1 - _ATTACK) * progress.fraction, None
    if run is None:
        raise ValueError("The study yielded nothing.")
    by_text: list[Tensor] = []
    unknown = torch.full((SEEDS,), math.nan)
    for number in range(1 + len(texts)):
        cells = [run.cell(number, treatment) for treatment in config.treatments]
        by_text.append(
            torch.stack([unknown if c is None or c.refused else copies(c) for c in cells])
        )
    rows = len(config.treatments)
    record = Robustness(
        config.treatments,
        texts,
        -1,
        torch.cat([torch.empty(rows, 0), *by_text[1:]], dim=1),
        by_text[0],
        torch.full((rows, len(config.seeds)), math.nan),
    )
    yield from _with_attack(record, comparison_of(config, subject), kept, 1 - _ATTACK)


def control(
    config: MitigationConfig, subject: Subject, *, kept: Path | None = None
) -> Iterator[tuple[float, Robustness | None]]:
    """Attack every mitigation of a config with its first prompt, which is not memorized.

    Aimed at the training image nearest to most of the images without mitigation. Where one of
    those is a copy the prompt is no control, and the target is -1. Yields the share done, the
    record at last. Errors: MMHError without a training set to search.
    """
    config = checked(config)
    if subject.training_set is None:
        raise MMHError(
            "Whether an attack makes copies is searched for among training images: give an index "
            "of them by --index."
        )
    rows = len(config.treatments)
    record = Robustness(
        config.treatments,
        (),
        -1,
        torch.empty(rows, 0),
        torch.empty(rows, 0),
        torch.full((rows, len(config.seeds)), math.nan),
    )
    yield from _with_attack(record, comparison_of(config, subject), kept, memorized=False)


def _with_attack(
    record: Robustness,
    comparison: Comparison,
    kept: Path | None,
    before: float = 0.0,
    *,
    memorized: bool = True,
) -> Iterator[tuple[float, Robustness | None]]:
    """Attack every mitigation; yield the share done, `before` at first, and the record at last."""
    for share, target, attacked in _attacked(comparison, kept, memorized=memorized):
        if attacked is not None:
            record = replace(record, target=target, by_attack=attacked)
        yield before + 0.999 * (1 - before) * share, None
    yield 1.0, record


def _attacked(
    comparison: Comparison, kept: Path | None, *, memorized: bool = True
) -> Iterator[tuple[float, int, Tensor | None]]:
    """Attack every mitigation; yield the share done, the target, and at last the copies (T, B)."""
    config = comparison.config
    request = config.request(config.prompts[0])
    plain = yield from reporting(_searched(comparison, request), (0.0, -1, None))
    copies_of = [row.nearest for row in plain if copied(row.kind) == 1]
    near = [row.nearest for row in plain if row.nearest >= 0]
    aims = copies_of if memorized else [] if copies_of else near
    if not aims:
        return
    target = max(sorted(set(aims)), key=aims.count)
    image = _latents_of(comparison, target)
    rows = []
    for number, treatment in enumerate(config.treatments):
        at = (number / len(config.treatments), target, None)
        work = attack(comparison, treatment, image)
        work = kept_attack(comparison, treatment, target, work, kept)
        rows.append((yield from reporting(work, at)))
    yield 1.0, target, torch.stack(rows)


def attack(comparison: Comparison, treatment: Treatment, image: Tensor) -> Work[Tensor]:
    """Return which images (B,) of the first prompt are copies after an attack on a mitigation.

    NaN where the mitigation cannot be applied.
    """
    config, model = comparison.config, comparison.subject.model
    request = config.request(config.prompts[0])
    chosen = at_strength(comparison.catalogue[treatment.mitigation], treatment.strength)
    try:
        context = context_for(comparison, 0, chosen)
        mitigated = yield from chosen.apply(model, request, context=context)
    except MMHError:
        return torch.full((len(config.seeds),), math.nan)
    generator = torch.Generator().manual_seed(config.seeds[0] % 2**63)
    triggered = yield from retriggered(model, mitigated.request, image, generator=generator)
    evidence = yield from _searched(comparison, triggered.request)
    return torch.tensor([copied(row.kind) for row in evidence])


def _searched(comparison: Comparison, request: Request) -> Work[list[ImageCopyEvidence]]:
    """Generate a request and search its images for copies."""
    model, training_set = comparison.subject.model, comparison.subject.training_set
    if training_set is None:
        raise ValueError("There are no training images to search.")
    latents, _ = yield from generated_latents(model, request)
    images = pixels_of(model, latents).float() / 255
    return [copy for copy, _ in find_copies(training_set, images)]


def _latents_of(comparison: Comparison, target: int) -> Tensor:
    """Return the latents (C, h, w) of a training image at the size of the config."""
    model, training_set = comparison.subject.model, comparison.subject.training_set
    if training_set is None:
        raise ValueError("There are no training images to aim at.")
    row = training_set.index.ids.tolist().index(target)
    image = training_set.image(row)[None].float() / 255
    sampling = comparison.config.sampling
    size = (sampling.height, sampling.width)
    if tuple(image.shape[2:]) != size:
        image = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
    with torch.no_grad():
        return model.encode(image.clamp(0, 1))[0]
