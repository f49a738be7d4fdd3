"""The audit of several images, one after the other, with what could not be audited and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mmh_core.counting import plural
from mmh_core.records import MMHError, Progress
from mmh_core.studies.images.audit import audit_study
from mmh_core.studies.images.run import ImageResult
from mmh_core.subject.subject import Subject
from mmh_core.text_to_image.requests import Sampling


@dataclass(frozen=True)
class AuditInput:
    """An image's file in bytes, and the caption and sampling by which it is judged.

    The sampling is None for the model's own.
    """

    data: bytes
    caption: str = ""
    sampling: Sampling | None = None


@dataclass(frozen=True)
class AuditBatch:
    """The audits so far: the names of images with their results, and what was left out, and why.

    `names` and `results` are in the order of the images; `left_out` are pairs of name and reason.
    Neither has curves of LID over the noise scales.
    """

    names: tuple[str, ...] = ()
    results: tuple[ImageResult, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def audit_batch(
    images: Sequence[tuple[str, Callable[[], AuditInput]]], subject: Subject
) -> Iterator[Progress[AuditBatch]]:
    """Audit images by their names, each read when its turn comes; the last progress has all.

    An image that cannot be read or audited is left out with its reason, and the next one follows.
    """
    batch, count = AuditBatch(), len(images)
    for number, (name, read) in enumerate(images):
        message = f"Auditing: {number:,} of {plural(count, 'image')}"
        yield Progress(number / count, message, batch)
        try:
            given = read()
            [*_, last] = audit_study(
                given.data, given.caption, subject, given.sampling, curve=False
            )
        except MMHError as error:
            batch = replace(batch, left_out=(*batch.left_out, (name, str(error))))
            continue
        batch = replace(batch, names=(*batch.names, name), results=(*batch.results, last.partial))
    yield Progress(1.0, f"Audited: {plural(len(batch.names), 'image')}", batch)
