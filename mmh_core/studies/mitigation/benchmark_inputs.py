"""The inputs of the benchmark of mitigations, and its records in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mmh_core.records import MMHError
from mmh_core.store.archive import load_record, save_record
from mmh_core.store.code_version import code_version
from mmh_core.studies.images.run import default_config
from mmh_core.studies.mitigation.benchmark_run import (
    AttributionRecord,
    Caption,
    CaptionRecord,
    caption_record,
)
from mmh_core.studies.mitigation.run import MitigationConfig, MitigationRun, Treatment
from mmh_core.studies.mitigation.study import mitigation_study
from mmh_core.subject.subject import Subject

_Record = TypeVar("_Record", CaptionRecord, AttributionRecord)


@dataclass(frozen=True)
class BenchmarkInputs:
    """The inputs of the whole benchmark of mitigations.

    `seeds` are those of every caption. Records are written to `work`, and those already there are
    used again if `resume` and if the same code made them of the same model.
    """

    subject: Subject
    seeds: tuple[int, ...]
    work: Path
    resume: bool = False


def generated_record(
    caption: Caption, treatments: Sequence[Treatment], inputs: BenchmarkInputs
) -> Iterator[tuple[float, CaptionRecord | None]]:
    """Generate a caption or load its record; yield the share done, the record at last."""
    path = record_path(inputs, "caption", caption, treatments)
    record = kept_record(path, CaptionRecord, inputs)
    if record is not None:
        yield 1.0, record
        return
    run: MitigationRun | None = None
    config = caption_config(caption, treatments, inputs)
    for progress in mitigation_study(config, inputs.subject):
        run = progress.partial
        yield 0.999 * progress.fraction, None
    if run is None:
        raise ValueError("The study yielded nothing.")
    record = caption_record(run, caption, made_by(inputs))
    save_record(path, record)
    yield 1.0, record


def caption_config(
    caption: Caption, treatments: Sequence[Treatment], inputs: BenchmarkInputs
) -> MitigationConfig:
    base = default_config(inputs.subject.model, inputs.subject.name, caption.text)
    return MitigationConfig(
        inputs.subject.name,
        (caption.text,),
        inputs.seeds,
        tuple(treatments),
        base.sampling,
    )


def record_path(
    inputs: BenchmarkInputs, what: str, caption: Caption, treatments: Sequence[Treatment]
) -> Path:
    """Return where a record is kept: by everything that it depends on, the code included."""
    names = [[one.mitigation, one.strength] for one in treatments]
    key = [what, made_by(inputs), caption.text, caption.kind, names]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return inputs.work / f"{_version(inputs)}-{digest[:32]}.safetensors"


def made_by(inputs: BenchmarkInputs) -> str:
    """Return which code, model and settings the records of a benchmark are made by."""
    seeds = ",".join(str(seed) for seed in inputs.seeds)
    return (
        f"code {code_version()}, model {inputs.subject.model.sha256}, steps "
        f"{inputs.subject.model.steps}, guidance {inputs.subject.model.guidance!r}, seeds {seeds}"
    )


def left_out(inputs: BenchmarkInputs) -> int:
    """Return how many records in the work folder another version of the code or model made."""
    if not inputs.resume or not inputs.work.is_dir():
        return 0
    kept = inputs.work.glob("*.safetensors")
    return sum(not path.name.startswith(f"{_version(inputs)}-") for path in kept)


def _version(inputs: BenchmarkInputs) -> str:
    return f"{code_version()}-{inputs.subject.model.sha256[:16]}"


def kept_record(path: Path, kind: type[_Record], inputs: BenchmarkInputs) -> _Record | None:
    """Return a kept record, None where none is used again, none is there or it is damaged."""
    if not inputs.resume or not path.exists():
        return None
    try:
        record = load_record(path, kind)
    except MMHError:
        return None
    return record if record.made_by == made_by(inputs) else None
