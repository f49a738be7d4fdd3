"""The message of a failed job, and the release of the memory that it leaves."""

from __future__ import annotations

import gc
from contextlib import suppress

import torch

from mmh_core.records import MMHError
from mmh_core.store.job_record import JobRecord


def is_out_of_memory(failure: BaseException) -> bool:
    """Return whether work ended because the memory of a device did."""
    if isinstance(failure, (MemoryError, torch.OutOfMemoryError)):
        return True
    # Torch raises a bare RuntimeError for the memory of the CPU and of some accelerators.
    words = ("can't allocate memory", "out of memory")
    return isinstance(failure, RuntimeError) and any(word in str(failure) for word in words)


def sentence(record: JobRecord, failure: BaseException) -> str:
    """Return the sentence that a person sees about a failure."""
    text = " ".join(str(failure).split())[:500]
    if is_out_of_memory(failure):
        return (
            f"{record.label} ran out of memory on {record.device}: choose fewer samples, a "
            "smaller batch or a smaller model, then start it again."
        )
    if isinstance(failure, (MMHError, ValueError)) and text:
        return text
    return f"{record.label} failed unexpectedly: {type(failure).__name__}: {text or 'no details'}"


def empty_caches() -> None:
    """Empty the caches of the devices, so that the next job has all memory."""
    gc.collect()
    # A device in a bad state refuses even this, and then there is nothing more to do about it.
    with suppress(RuntimeError):
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
