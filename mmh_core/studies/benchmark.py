"""Compare all detectors on the same labelled prompts, seeds and pictures.

The calibration half fits what has to be fitted: constants of detectors on its normal prompts, the
times of the early scan and the combined score on all its labels, the threshold of the cause. The
test half is only counted on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.detectors.drawing import draw_evidence
from mmh_core.detectors.measurement import (
    Detector,
    Measurement,
    fit,
    joined_measurements,
    measure,
)
from mmh_core.records import MMHError, Progress
from mmh_core.studies.benchmark_run import (
    BenchmarkRun,
    CauseRow,
    CombinedRow,
    DetectorRow,
    LabelledPrompt,
    Split,
)
from mmh_core.studies.cause import balanced_accuracy, cause_of, data_freedom, fitted_threshold
from mmh_core.studies.early_scan import early_times
from mmh_core.studies.image_reference import Reference, find_copies
from mmh_core.studies.roc import RESAMPLINGS, separation
from mmh_core.text_to_image.model import TextToImage

#: Detectors that the combined score is made of: one of each family.
COMBINED = (
    "early_scan",
    "guidance_norm_all",
    "lid_conditional_count",
    "lid_unconditional_count",
    "region_map",
    "seed_agreement",
)
_LID = "lid_conditional_count"
_PARAPHRASE = "paraphrase"


@dataclass(frozen=True, eq=False)
class Measured:
    """Hold what was measured on the P prompts of one half, S seeds each, prompt after prompt."""

    prompts: tuple[LabelledPrompt, ...]
    found: Mapping[str, Measurement]
    copied: Tensor

    def per_prompt(self, values: Tensor) -> Tensor:
        """Return means (P, ...) of row values (P S, ...)."""
        return values.reshape(len(self.prompts), -1, *values.shape[1:]).mean(1)


def benchmark_study(
    labelled: Sequence[LabelledPrompt],
    model: TextToImage,
    reference: Reference | None,
    *,
    seeds: tuple[int, ...] = (0, 1, 2, 3),
    log_delta: float | None = None,
    names: Sequence[str] = tuple(DETECTORS),
) -> Iterator[Progress[BenchmarkRun]]:
    """Measure both halves and compare; the last progress carries the result.

    `names` are the detectors to run. LID is read at `log_delta`, unless given at the reference's
    calibrated scale. Errors: MMHError where a half lacks memorized or normal prompts, and
    ValueError without any scale or for an unknown detector.
    """
    for name in names:
        if name not in DETECTORS:
            raise ValueError(f"Unknown detector {name!r}; choose from {', '.join(DETECTORS)}.")
    for split in ("calibration", "test"):
        kinds = {one.memorized for one in labelled if one.split == split}
        if len(kinds) < 2:
            raise MMHError(
                "Each half needs memorized and normal prompts: add labelled prompts of both."
            )
    started = time.monotonic()
    scale = reference.log_delta if log_delta is None and reference is not None else log_delta
    if scale is None:
        raise ValueError("log_delta must be given for a model without a calibrated scale.")
    run = _empty(labelled, model, seeds)
    embedder = "pixels" if reference is None else _embedder_name(reference)
    chosen = {name: DETECTORS[name] for name in dict.fromkeys((_LID, *names))}
    yield Progress(0.0, "Choosing the times of the early scan", run)
    times = early_times(model, labelled, seeds[:2])
    detectors = adapted(chosen, log_delta=scale, embedder=embedder, early=times)
    halves: dict[Split, Measured] = {}
    splits: tuple[Split, ...] = ("calibration", "test")
    for number, split in enumerate(splits):
        mine = tuple(one for one in labelled if one.split == split)
        for share, part in _measured(mine, model, reference, detectors, seeds):
            halves[split] = part
            done = f"{len(part.prompts)} of {len(mine)}"
            yield Progress(0.49 * (number + share), f"Measuring the {split} prompts, {done}", run)
    yield Progress(0.98, "Comparing the detectors", run)
    found = compared(run, detectors, halves["calibration"], halves["test"], reference)
    yield Progress(1.0, "Finished", replace(found, seconds=time.monotonic() - started))


def compared(
    run: BenchmarkRun,
    detectors: Mapping[str, Detector],
    calibration: Measured,
    test: Measured,
    reference: Reference | None,
) -> BenchmarkRun:
    """Fit on the calibration half, count on the test half."""
    generator = torch.Generator().manual_seed(20)
    normal = torch.tensor([not one.memorized for one in calibration.prompts])
    rows, before, after = [], {}, {}
    for name, detector in detectors.items():
        columns = calibration.found[name].values
        by_prompt = columns.reshape(len(normal), -1, columns.shape[1])
        ready = fit(detector, by_prompt[normal].flatten(0, 1))
        before[name] = calibration.per_prompt(ready.score(columns))
        after[name] = test.per_prompt(ready.score(test.found[name].values))
        cost = test.found[name]
        rows.append(
            _row(
                (name, detector.label, detector.reference),
                (cost.forwards, cost.generation),
                after[name],
                before[name][normal],
                test.prompts,
                generator,
            )
        )
    combined = _combined(before, after, normal, calibration, test, generator)
    lid = test.per_prompt(test.found[_LID].values)[:, 0]
    return replace(
        run,
        state="complete",
        prompts=test.prompts,
        copied=test.copied,
        lid=lid,
        true_lid=_true_lids(test.prompts, reference),
        detectors=tuple(rows),
        combined=combined,
        cause=_causes(calibration, test, lid, reference, generator),
    )


def _measured(
    prompts: tuple[LabelledPrompt, ...],
    model: TextToImage,
    reference: Reference | None,
    detectors: Mapping[str, Detector],
    seeds: tuple[int, ...],
) -> Iterator[tuple[float, Measured]]:
    """Draw and measure prompts, some at a time; yield the share done and everything so far."""
    parts: dict[str, list[Measurement]] = {name: [] for name in detectors}
    copied: list[Tensor] = []
    texts = [one.prompt for one in prompts]
    done = 0
    for evidence in draw_evidence(model, texts, seeds, guidance=model.guidance, steps=model.steps):
        for name, found in measure(model, evidence, detectors.values()).items():
            parts[name].append(found)
        done += len(evidence.embeddings)
        share = torch.full((len(evidence.embeddings),), math.nan)
        if reference is not None and reference.training is not None:
            near = find_copies(reference, evidence.drawn().pictures)
            kinds = torch.tensor([copy.kind != "none" for copy, _ in near])
            share = kinds.reshape(-1, len(seeds)).float().mean(1)
        copied.append(share)
        joined = {name: joined_measurements(each) for name, each in parts.items()}
        yield done / len(prompts), Measured(prompts[:done], joined, torch.cat(copied))


def _row(
    named: tuple[str, str, str],
    cost: tuple[float, float],
    scores: Tensor,
    normal: Tensor,
    prompts: tuple[LabelledPrompt, ...],
    generator: torch.Generator,
) -> DetectorRow:
    """Separate memorized from normal prompts; paraphrases are counted apart."""
    kinds = [one.kind for one in prompts]
    memorized = torch.tensor([one.memorized for one in prompts])
    paraphrase = torch.tensor([kind == _PARAPHRASE for kind in kinds])
    parts = []
    for kind in dict.fromkeys(k for k, one in zip(kinds, prompts, strict=True) if one.memorized):
        mine = torch.tensor([k == kind for k in kinds])
        kept = mine | ~memorized
        parts.append((kind, separation(scores[kept], mine[kept], generator=generator)))
    plain = ~paraphrase
    return DetectorRow(
        *named,
        *cost,
        scores=scores,
        normal=normal.sort().values,
        all=separation(scores[plain], memorized[plain], generator=generator),
        kinds=tuple(parts),
    )


def _combined(
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    normal: Tensor,
    calibration: Measured,
    test: Measured,
    generator: torch.Generator,
) -> CombinedRow:
    """Fit a logistic regression on the calibration half's labels, paraphrases left out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    names = tuple(name for name in COMBINED if name in before)
    plain = torch.tensor([one.kind != _PARAPHRASE for one in calibration.prompts])
    features = torch.stack([before[name] for name in names], dim=1).double()
    mean, spread = features[normal].mean(0), features[normal].std(0).clamp(min=1e-12)
    x = ((features - mean) / spread)[plain].numpy()
    y = (~normal)[plain].numpy()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = LogisticRegression(max_iter=10_000)
    predicted = cross_val_predict(model, x, y, cv=folds, method="decision_function")
    model.fit(x, y)
    weights = torch.from_numpy(model.coef_[0].copy())
    bias = float(model.intercept_[0])

    def score(values: Mapping[str, Tensor]) -> Tensor:
        columns = torch.stack([values[name] for name in names], dim=1).double()
        return ((columns - mean) / spread) @ weights + bias

    forwards = sum(test.found[name].forwards for name in names)
    generation = max(test.found[name].generation for name in names)
    row = _row(
        ("combined", "Combined (logistic regression)", "this project"),
        (forwards, generation),
        score(after).float(),
        score(before)[normal].float(),
        test.prompts,
        generator,
    )
    return CombinedRow(names, weights, bias, mean, spread, float(roc_auc_score(y, predicted)), row)


def _causes(
    calibration: Measured,
    test: Measured,
    lid: Tensor,
    reference: Reference | None,
    generator: torch.Generator,
) -> CauseRow | None:
    """Say the cause of every memorized test caption that a picture was trained with."""
    if reference is None or reference.corpus is None:
        return None
    corpus = reference.corpus

    def known(measured: Measured) -> list[int]:
        return [i for i, one in enumerate(measured.prompts) if one.overfitted is not None]

    def lids(measured: Measured) -> tuple[Tensor, Tensor]:
        chosen = [measured.prompts[i] for i in known(measured)]
        found = [data_freedom(*corpus(one.prompt)) for one in chosen]
        return (
            torch.tensor([each.lid for each in found]),
            torch.tensor([bool(one.overfitted) for one in chosen]),
        )

    threshold = fitted_threshold(*lids(calibration))
    places = known(test)
    if not places:
        return None
    data, truth = lids(test)
    said = []
    for place in places:
        freedom = data_freedom(*corpus(test.prompts[place].prompt))
        said.append(cause_of(True, float(lid[place]), freedom, threshold).label)
    called = torch.tensor([label == "OD-Mem" for label in said])
    draws = torch.randint(len(places), (RESAMPLINGS, len(places)), generator=generator)
    again = [balanced_accuracy(called[d], truth[d]) for d in draws if 0 < truth[d].sum() < len(d)]
    low, high = torch.quantile(
        torch.stack(again), torch.tensor([0.025, 0.975], dtype=torch.float64)
    ).tolist()
    return CauseRow(
        prompts=tuple(places),
        said=tuple(said),
        true=tuple("OD-Mem" if each else "DD-Mem" for each in truth.tolist()),
        data_lid=data,
        model_lid=lid[places],
        threshold=threshold,
        accuracy=float(balanced_accuracy(called, truth)),
        low=low,
        high=high,
    )


def _true_lids(prompts: tuple[LabelledPrompt, ...], reference: Reference | None) -> Tensor:
    truth = None if reference is None else reference.truth
    found = [None if truth is None else truth(one.prompt) for one in prompts]
    return torch.tensor([math.nan if each is None else each.lid for each in found])


def _embedder_name(reference: Reference) -> str:
    return "pocket" if reference.embedder.name.startswith("pocket") else "pixels"


def _empty(
    labelled: Sequence[LabelledPrompt], model: TextToImage, seeds: tuple[int, ...]
) -> BenchmarkRun:
    empty = torch.empty(0)
    return BenchmarkRun(
        model=model.name,
        sha256=model.sha256,
        scheduler="ddim",
        steps=model.steps,
        guidance=model.guidance,
        seeds=seeds,
        state="measuring",
        prompts=tuple(labelled),
        copied=empty,
        lid=empty,
        true_lid=empty,
        detectors=(),
        combined=None,
        cause=None,
        seconds=0.0,
    )
