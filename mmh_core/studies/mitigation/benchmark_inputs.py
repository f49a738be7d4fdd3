"""Draw the captions of the benchmark of mitigations once, and keep their records in a folder."""

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
from mmh_core.studies.images.config import default_config
from mmh_core.studies.images.reference import Reference
from mmh_core.studies.images.run import ReferencePrompts
from mmh_core.studies.mitigation.benchmark_run import (
    AttributionRecord,
    Caption,
    CaptionRecord,
    caption_record,
)
from mmh_core.studies.mitigation.run import MitigationConfig, MitigationRun, Treatment
from mmh_core.studies.mitigation.study import mitigation_study
from mmh_core.text_to_image.model import TextToImage

_Record = TypeVar("_Record", CaptionRecord, AttributionRecord)


@dataclass(frozen=True)
class Desk:
    """Hold what the whole benchmark works with; `source` is what the model was loaded by.

    `seeds` are those of every caption. Records are written to `work`, and those already there are
    used again if `resume` and if the same code made them of the same model.
    """

    model: TextToImage
    source: str
    reference: Reference
    normal: ReferencePrompts | None
    seeds: tuple[int, ...]
    work: Path
    resume: bool = False


def drawn(
    caption: Caption, treatments: Sequence[Treatment], desk: Desk
) -> Iterator[tuple[float, CaptionRecord | None]]:
    """Draw a caption, or find it in the work folder; yield the share done, the record at last."""
    path = record_path(desk, "caption", caption, treatments)
    record = kept_record(path, CaptionRecord, desk)
    if record is not None:
        yield 1.0, record
        return
    run: MitigationRun | None = None
    config = caption_config(caption, treatments, desk)
    for progress in mitigation_study(config, desk.model, desk.reference, desk.normal):
        run = progress.partial
        yield 0.999 * progress.fraction, None
    if run is None:
        raise ValueError("The study yielded nothing.")
    record = caption_record(run, caption, made_by(desk))
    save_record(path, record)
    yield 1.0, record


def caption_config(
    caption: Caption, treatments: Sequence[Treatment], desk: Desk
) -> MitigationConfig:
    base = default_config(desk.model, desk.source, caption.text)
    return MitigationConfig(
        desk.source,
        (caption.text,),
        desk.seeds,
        tuple(treatments),
        base.sampling,
    )


def record_path(desk: Desk, what: str, caption: Caption, treatments: Sequence[Treatment]) -> Path:
    """Return where a record is kept: by everything that it depends on, the code included."""
    names = [[one.mitigation, one.strength] for one in treatments]
    key = [what, made_by(desk), caption.text, caption.kind, names]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return desk.work / f"{_version(desk)}-{digest[:32]}.safetensors"


def made_by(desk: Desk) -> str:
    """Return which code, model and settings the records of a benchmark are made by."""
    seeds = ",".join(str(seed) for seed in desk.seeds)
    return (
        f"code {code_version()}, model {desk.model.sha256}, steps {desk.model.steps}, guidance "
        f"{desk.model.guidance!r}, seeds {seeds}"
    )


def left_out(desk: Desk) -> int:
    """Return how many records in the work folder another version of the code or model made."""
    if not desk.resume or not desk.work.is_dir():
        return 0
    kept = desk.work.glob("*.safetensors")
    return sum(not path.name.startswith(f"{_version(desk)}-") for path in kept)


def _version(desk: Desk) -> str:
    return f"{code_version()}-{desk.model.sha256[:16]}"


def kept_record(path: Path, kind: type[_Record], desk: Desk) -> _Record | None:
    """Return a kept record, None where none is used again, none is there or it is damaged."""
    if not desk.resume or not path.exists():
        return None
    try:
        record = load_record(path, kind)
    except MMHError:
        return None
    return record if record.made_by == made_by(desk) else None
