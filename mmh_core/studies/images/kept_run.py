"""An image run that is kept when it is finished, so that work over many prompts resumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmh_core.records import Progress
from mmh_core.store.kept import kept_path, load_kept, save_kept
from mmh_core.studies.images.run import ImageConfig, ImageRun
from mmh_core.studies.images.study import image_study
from mmh_core.subject.subject import Subject


def kept_image_run(
    config: ImageConfig, subject: Subject, folder: Path | None, log_delta: float | None = None
) -> Iterator[Progress[ImageRun]]:
    """Run an image study, or load it where it is kept in `folder`; the last progress has it.

    The folder has to change with what the subject holds beside its model: calibration and training
    set.
    """
    path = kept_path(folder, (subject.model.sha256, log_delta, config))
    run = load_kept(path, ImageRun)
    if run is not None:
        yield Progress(1.0, "Finished before", run)
        return
    for progress in image_study(config, subject, log_delta=log_delta):
        run = progress.partial
        yield progress
    if run is not None:
        save_kept(path, run)
