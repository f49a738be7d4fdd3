"""The benchmark of mitigations: strengths chosen on half of the captions, tested on the others.

Every caption is a comparison of `studies.mitigation` and is kept in a work folder when it is done,
so a benchmark that was stopped resumes where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from mmh_core.mitigations.attribution import Attribution, AttributionBy, attribute
from mmh_core.mitigations.catalogue import BASELINES, MITIGATIONS, mitigation
from mmh_core.mitigations.interface import MitigationContext, Work, reporting, with_prompt
from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.wording import Word, dropped, words_at, words_of
from mmh_core.records import Progress
from mmh_core.store.archive import save_record
from mmh_core.studies.mitigation.benchmark_run import (
    AttributionRecord,
    BenchmarkInputs,
    Caption,
    CaptionRecord,
    Captions,
    MitigationBenchmark,
    caption_config,
    generated_record,
    kept_record,
    left_out,
    made_by,
    record_path,
    robustness_record,
)
from mmh_core.studies.mitigation.context import copy_rate_score
from mmh_core.studies.mitigation.outcome import subject_rank_bound
from mmh_core.studies.mitigation.run import MitigationConfig, Treatment
from mmh_core.studies.mitigation.study import checked
from mmh_core.subject.subject import Subject

#: A strength is enough when at most this share of the calibration images are not solved.
ENOUGH = 0.1
AUTOMATIC = "automatic_chain"
RANDOM = Treatment("random_tokens", MITIGATIONS["random_tokens"].strength)
CHAIN = Treatment(AUTOMATIC, MITIGATIONS[AUTOMATIC].strength)
#: What each part takes of the whole, for the progress.
_PARTS = {
    "ranks": 0.03,
    "calibration": 0.22,
    "test": 0.25,
    "reference": 0.2,
    "robustness": 0.25,
    "attribution": 0.05,
}
#: Reference captions whose unmitigated images calibrate the rank of the own prompt.
_RANKED = 12


def mitigation_benchmark(
    captions: Captions, inputs: BenchmarkInputs
) -> Iterator[Progress[MitigationBenchmark]]:
    """Choose strengths on the calibration captions, then generate the others with them.

    Of each mitigation the smallest strength that leaves at most `ENOUGH` of the images a copy, or
    not solved, is chosen, or the strongest; random words and the chain keep their usual one.
    Reference captions are generated with the same mitigations, which must not move them. Errors:
    MMHError.
    """
    started = time.monotonic()
    result = MitigationBenchmark(
        inputs.subject.model.name,
        inputs.subject.model.sha256,
        inputs.seeds,
        inputs.subject.model.sampling,
        "drawing",
        captions,
        (),
        (),
        (),
        (),
        (),
        0.0,
        inputs.code,
        left_out(inputs),
        selection_seeds=inputs.selection_seeds,
    )
    for stage in (_ranked, _calibrated, _generated, _hardened, _attributed):
        for share, message, latest in stage(result, inputs):
            result = replace(latest, seconds=time.monotonic() - started)
            yield Progress(share, message, result)
    yield Progress(1.0, "Finished", replace(result, state="complete"))


_Stage = Iterator[tuple[float, str, MitigationBenchmark]]


def _ranked(result: MitigationBenchmark, inputs: BenchmarkInputs) -> _Stage:
    """Generate reference captions without mitigation, by which a wrong subject is known."""
    captions, ranks = result.captions.reference[:_RANKED], list[float]()
    for index, caption in enumerate(captions):
        for share, record in generated_record(caption, (), inputs, selecting=True):
            if record is not None and record.subject_rank:
                ranks += record.subject_rank[0]
            done = _PARTS["ranks"] * (index + share) / len(captions)
            yield done, f"Unmitigated reference captions, {index + 1}", result
    result = replace(result, rank_bound=subject_rank_bound(ranks))
    yield _PARTS["ranks"], "The rank of the own prompt is calibrated", result


def _calibrated(result: MitigationBenchmark, inputs: BenchmarkInputs) -> _Stage:
    """Try ever stronger mitigations until each is enough."""
    names = [name for name in inputs.offered if name not in (*BASELINES, AUTOMATIC)]
    open_ = {name: mitigation(name).strengths for name in names}
    chosen: dict[str, Treatment] = {}
    captions, rounds = result.captions.calibration, max(len(group) for group in open_.values())
    for number in range(rounds):
        tried = [
            Treatment(n, s[number])
            for n, s in open_.items()
            if n not in chosen and number < len(s)
        ]
        records: list[CaptionRecord] = []
        for index, caption in enumerate(captions):
            if not tried:
                break
            done = (number + index / len(captions)) / rounds
            for share, record in generated_record(
                caption, tried, inputs, selecting=True, rank_bound=result.rank_bound
            ):
                at = _PARTS["ranks"] + _PARTS["calibration"] * (
                    done + share / len(captions) / rounds
                )
                message = f"Choosing strengths, round {number + 1}, caption {index + 1}"
                yield at, message, result
                if record is not None:
                    records.append(record)
                    result = replace(result, calibration=(*result.calibration, record))
        for treatment in tried:
            last = number == len(open_[treatment.mitigation]) - 1
            if last or share_left(records, treatment) <= ENOUGH + 1e-6:
                chosen[treatment.mitigation] = treatment
    result = replace(result, chosen=tuple(chosen[name] for name in names))
    yield _PARTS["ranks"] + _PARTS["calibration"], "Strengths are chosen", result


def share_left(records: Sequence[CaptionRecord], treatment: Treatment) -> float:
    """Return the share of images that a mitigation leaves copies, or moves without solving them.

    Captions that refuse it, and images that cannot be judged, count as copies.
    """
    shares = []
    for record in records:
        row = record.row(treatment)
        measured = row is not None and not record.refused[row]
        shares.append(_left(record, row) if measured and row is not None else 1.0)
    return sum(shares) / len(shares) if shares else 1.0


def _left(record: CaptionRecord, row: int) -> float:
    share = record.share(row, "copy", "not solved", "unknown")
    return float(record.copied[row].mean()) if math.isnan(share) else share


def _generated(result: MitigationBenchmark, inputs: BenchmarkInputs) -> _Stage:
    """Generate the memorized captions of the test half, then the reference captions."""
    before, every = _PARTS["ranks"] + _PARTS["calibration"], result.captions
    for half, captions in (("test", every.test), ("reference", every.reference)):
        what = "Memorized" if half == "test" else "Reference"
        for place, caption in enumerate(captions):
            for share, record in generated_record(
                caption, _counted(result), inputs, rank_bound=result.rank_bound
            ):
                if record is not None and half == "test":
                    result = replace(result, test=(*result.test, record))
                elif record is not None:
                    result = replace(result, reference=(*result.reference, record))
                done = before + _PARTS[half] * (place + share) / len(captions)
                yield done, f"{what} captions, {place + 1} of {len(captions)}", result
        before += _PARTS[half]


def _counted(result: MitigationBenchmark) -> list[Treatment]:
    """Return what is generated of every caption that is counted."""
    return [RANDOM, *result.chosen, CHAIN]


def _hardened(result: MitigationBenchmark, inputs: BenchmarkInputs) -> _Stage:
    """Try whether the copies of the first test captions, of every group, come back.

    As many reference captions are attacked as the control.
    """
    memorized = result.captions.test[: inputs.robust]
    captions = [*memorized, *result.captions.reference[: inputs.robust]]
    before = 1 - _PARTS["attribution"] - _PARTS["robustness"]
    for index, caption in enumerate(captions):
        copied = index < len(memorized)
        treatments = checked(caption_config(caption, _counted(result), inputs)).treatments
        for share, record in robustness_record(caption, treatments, inputs, memorized=copied):
            if record is not None and copied:
                result = replace(result, robustness=(*result.robustness, record))
            elif record is not None:
                result = replace(result, control=(*result.control, record))
            at = before + _PARTS["robustness"] * (index + share) / len(captions)
            yield at, f"Bringing copies back, caption {index + 1} of {len(captions)}", result


def _attributed(result: MitigationBenchmark, inputs: BenchmarkInputs) -> _Stage:
    captions = result.captions.test
    before = 1 - _PARTS["attribution"]
    for index, caption in enumerate(captions):
        path = record_path(inputs, "words", caption, ())
        record = kept_record(path, AttributionRecord, inputs)
        if record is None:
            base = next(r for r in result.test if r.caption == caption)
            config = caption_config(caption, (), inputs)
            work = drop_words(config, caption, inputs.subject, float(base.copied[0].mean()))
            at = before + _PARTS["attribution"] * index / len(captions)
            record = yield from reporting(work, (at, "Dropping words", result))
            record = replace(record, made_by=made_by(inputs))
            save_record(path, record)
        result = replace(result, attributions=(*result.attributions, record))
        part = _PARTS["attribution"] * (index + 1) / len(captions)
        yield before + part, f"Dropping words, {index + 1} of {len(captions)}", result


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
        attribution = yield from attribute(model, request, by, log_delta=scale, context=context)
        worst = worst_words(attribution, DROPPED)
        changed = with_prompt(request, dropped(caption.text, worst))
        words.append(tuple(word.text for word in worst))
        copied = yield from copy_rate_score(model, training_set, None, changed)
        left.append(copied.score)
    return AttributionRecord(caption, BY, tuple(words), torch.tensor(left), before)


def worst_words(attribution: Attribution, count: int) -> tuple[Word, ...]:
    """Return the `count` words with the highest-scoring tokens, the worst first."""
    words = words_of(attribution.prompt)
    places = words_at(attribution.prompt, attribution.spans)
    order = attribution.scores.argsort(descending=True, stable=True).tolist()
    ranked = dict.fromkeys(places[i] for i in order if places[i] >= 0)
    return tuple(words[index] for index in list(ranked)[:count])
