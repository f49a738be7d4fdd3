"""The scan of a table of prompts: the early scan for all, the image study for flagged ones.

Results go into shards on the disk as they come, each prompt once, so a scan that is killed at any
moment resumes where it was and memory does not grow with the number of prompts.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmh_core.counting import plural
from mmh_core.installation import code_version
from mmh_core.records import MMHError, Progress
from mmh_core.store.archive import save_record
from mmh_core.store.prompt_table import PromptBatch, PromptRow, prompt_batches
from mmh_core.store.shards import (
    ScanFolder,
    ScanManifest,
    Value,
    read_rows,
    scan_folder,
    scan_manifest,
)
from mmh_core.studies.images.run import ImageConfig, ImageRun
from mmh_core.studies.images.study import image_study
from mmh_core.studies.review.scan_rows import COLUMNS, RUNS, early_figures, run_figures, scan_row
from mmh_core.subject.early_calibration import BATCH, EarlyCalibration, score_prompts
from mmh_core.subject.early_scan_rate import detection_rate_words
from mmh_core.subject.subject import Subject
from mmh_core.text_to_image.unread_text import UnreadText, unread_text

if TYPE_CHECKING:
    import pandas as pd

_MOST_PROBLEMS = 1_000
#: The folders of code that a row's numbers come from; an edit elsewhere changes none of them.
METHODS = (
    *("detectors", "diffusion", "dimension", "memorization", "retrieval", "subject"),
    "text_to_image",
)


@dataclass(frozen=True)
class ScanConfig:
    """The config of a scan: the false-positive rate on reference prompts, and what is studied."""

    model: str
    fpr: float = 0.01
    study: bool = True


@dataclass(frozen=True)
class ScanState:
    """The progress of a scan.

    `total` rows of the table were readable; `done` prompts have a result, `known` of them from an
    earlier start; `flagged` are above the threshold. `problems` are (row, message) of rows that
    were left out, the first thousand of `problem_count`; `duplicates` prompts were there before.
    `seconds` and `scored` count this start's scoring alone. Of the prompts scored, `cut` are
    longer than the text encoder takes and `unread` hold letters without a token; `silent` are
    taken for none and have no score. `detection_rate` is what the scan misses at this threshold.
    """

    folder: str
    threshold: float
    total: int = 0
    done: int = 0
    known: int = 0
    flagged: int = 0
    duplicates: int = 0
    problem_count: int = 0
    problems: tuple[tuple[int, str], ...] = ()
    scored: int = 0
    seconds: float = 0.0
    cut: int = 0
    unread: int = 0
    detection_rate: str = ""
    silent: int = 0

    def frame(self) -> pd.DataFrame:
        """Return one row per prompt that has a result, with every column of the folder's files.

        Memory grows with the number of prompts. Errors: MMHError for a folder that is damaged.
        """
        import pandas as pd

        batches = read_rows(Path(self.folder))
        return pd.DataFrame([{"prompt": r.prompt, **r.values} for rows in batches for r in rows])

    def truncations(self) -> list[str]:
        """Return in sentences how many prompts were not read whole, none where all were."""
        lines = []
        if self.cut:
            lines.append(
                f"{_prompts(self.cut)} longer than the text encoder takes: what lies beyond, in "
                "the column cut, was not scanned, so the scores say less than they seem to."
            )
        if self.unread:
            lines.append(
                f"{_prompts(self.unread)} written in part with letters that the text encoder has "
                "no token for, in the column unread: the model hardly reads them."
            )
        if self.silent:
            lines.append(
                f"{_prompts(self.silent)} without a score, since the model takes them for the "
                "empty prompt: whether they are memorized cannot be determined."
            )
        return lines


def scan(
    table: Path,
    out: Path,
    subject: Subject,
    config: ScanConfig,
    *,
    most: int = 1_000_000,
    column: str = "",
) -> Iterator[Progress[ScanState]]:
    """Scan a table into the folder `out`; started again it resumes, and repeats nothing.

    `column` names that of the prompts where the table leaves it open.
    Errors: MMHError for a table that cannot be used, for a folder with another scan, and for a
    calibration of another model.
    """
    _early(subject).check(subject.model)
    threshold = _early(subject).threshold(config.fpr)
    state = ScanState(
        str(out), threshold, detection_rate=detection_rate_words(_early(subject), config.fpr)
    )
    yield Progress(0.0, "Reading the table", state)
    total = sum(len(batch.rows) for batch in prompt_batches(table, most=most, column=column))
    if not total:
        raise MMHError(
            f"{table.name} holds no prompt that can be used: write one a row, in a column prompt."
        )
    state = replace(state, total=total)
    with scan_folder(out, _manifest(subject, config)) as folder:
        state = _resumed(state, out) if folder.done else state
        state = replace(state, known=folder.done)
        for batch in prompt_batches(table, most=most, column=column):
            state = _noted(state, batch)
            for rows in _chunks(batch.rows):
                for after in _scanned(rows, folder, subject, config, state):
                    state = after
                    yield Progress(state.done / total, _line(state), state)
    yield Progress(1.0, f"Scanned {state.done:,} prompts, {state.flagged:,} flagged", state)


def _resumed(state: ScanState, out: Path) -> ScanState:
    """Return the state with the counts of earlier starts."""
    flagged = cut = unread = silent = 0
    for batch in read_rows(out, columns=["flagged", "cut", "unread", "score"]):
        silent += sum(_silent(row.values["score"]) for row in batch)
        flagged += sum(bool(row.values["flagged"]) for row in batch)
        cut += sum(bool(row.values["cut"]) for row in batch)
        unread += sum(bool(row.values["unread"]) for row in batch)
    return replace(state, flagged=flagged, cut=cut, unread=unread, silent=silent)


def _scanned(
    rows: list[PromptRow],
    folder: ScanFolder,
    subject: Subject,
    config: ScanConfig,
    state: ScanState,
) -> Iterator[ScanState]:
    """Score rows, study the flagged among them, and write every row once it is complete."""
    seeds = _early(subject).seeds
    absent = folder.missing([(row.prompt, seeds) for row in rows])
    fresh = [row for row, new in zip(rows, absent, strict=True) if new]
    state = replace(state, done=state.done + len(rows) - len(fresh))
    if not fresh:
        yield state
        return
    started = time.monotonic()
    scores = score_prompts(subject.model, _early(subject), [row.prompt for row in fresh])
    state = replace(
        state,
        scored=state.scored + len(fresh),
        seconds=state.seconds + time.monotonic() - started,
    )
    readings = [unread_text(subject.model, row.prompt) for row in fresh]
    flagged = [i for i in range(len(fresh)) if float(scores.score[i]) > state.threshold]
    plain = [i for i in range(len(fresh)) if i not in flagged]
    folder.write(
        [
            scan_row(fresh[i], seeds, early_figures(scores, i, flagged=False), readings[i])
            for i in plain
        ]
    )
    silent = state.silent + int(scores.score.isnan().sum())
    state = _counted(replace(state, silent=silent), [readings[i] for i in plain])
    yield state
    for i in flagged:
        values = early_figures(scores, i, flagged=True)
        if config.study:
            last: ImageRun | None = None
            for run in _study(fresh[i].prompt, seeds, subject):
                last = run
                yield state  # So that a scan can be stopped inside a study too.
            values |= _keep(last, fresh[i].prompt, Path(state.folder))
        folder.write([scan_row(fresh[i], seeds, values, readings[i])])
        state = _counted(replace(state, flagged=state.flagged + 1), [readings[i]])
        yield state


def _counted(state: ScanState, readings: list[UnreadText]) -> ScanState:
    """Add prompts that have a result now."""
    return replace(
        state,
        done=state.done + len(readings),
        cut=state.cut + sum(bool(reading.cut) for reading in readings),
        unread=state.unread + sum(bool(reading.unread) for reading in readings),
    )


def _study(prompt: str, seeds: tuple[int, ...], subject: Subject) -> Iterator[ImageRun]:
    """Generate the images of a flagged prompt and estimate all that is known of them."""
    model = subject.model
    config = ImageConfig(
        model.name,
        (prompt,),
        seeds,
        model.sampling,
        curve=False,
        frames=0,
    )
    for progress in image_study(config, subject):
        yield progress.partial


def _keep(run: ImageRun | None, prompt: str, out: Path) -> Mapping[str, Value]:
    """Write the run of a prompt beside the shards, and return its figures."""
    if run is None:
        raise ValueError("The image study yielded nothing.")
    name = hashlib.sha256(prompt.encode("utf-8")).hexdigest()[:32] + ".safetensors"
    save_record(out / RUNS / name, run)
    return run_figures(run) | {"run": name}


def _manifest(subject: Subject, config: ScanConfig) -> ScanManifest:
    calibration = hashlib.sha256(_early(subject).columns.numpy(force=True).tobytes())
    settings = {
        "detector": "early_scan",
        "share": config.fpr,
        "study": config.study,
        "calibration": calibration.hexdigest(),
        # Rows that other code made are not comparable, and a folder holds one kind of rows.
        "code": code_version(*METHODS),
        "sampling": asdict(subject.sampling),
        "training_set": _searched(subject),
    }
    return scan_manifest(subject.model.name, subject.model.sha256, settings, COLUMNS)


def _searched(subject: Subject) -> str:
    """Return what flagged images are searched in: the embedder's digest and that of the ids."""
    if subject.training_set is None:
        return ""
    index = subject.training_set.index
    return f"{index.digest} {hashlib.sha256(index.ids.tobytes()).hexdigest()}"


def _noted(state: ScanState, batch: PromptBatch) -> ScanState:
    """Add a batch's rows that cannot be used."""
    room = max(0, _MOST_PROBLEMS - len(state.problems))
    more = tuple((problem.row, problem.message) for problem in batch.problems[:room])
    return replace(
        state,
        problems=state.problems + more,
        problem_count=state.problem_count + len(batch.problems),
        duplicates=state.duplicates + batch.duplicates,
    )


def _silent(score: Value) -> bool:
    """Return whether a row has no score: NaN, or what a file made of it."""
    return not isinstance(score, float) or math.isnan(score)


def _prompts(count: int) -> str:
    return plural(count, "prompt is", "prompts are")


def _chunks(rows: tuple[PromptRow, ...]) -> Iterator[list[PromptRow]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, BATCH)):
        yield chunk


def _line(state: ScanState) -> str:
    return f"Scanning, {state.done:,} of {state.total:,} prompts, {state.flagged:,} flagged"


def _early(subject: Subject) -> EarlyCalibration:
    """Return the calibration of the early scan. Errors: MMHError where there is none."""
    calibration = subject.calibration.early
    if calibration is None:
        raise MMHError(
            f"The early scan is not calibrated for {subject.model.name}: calibrate it first."
        )
    return calibration
