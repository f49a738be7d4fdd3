"""The finished examples of the shipped model: images, a comparison, and a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmh_core.cli.furnishing import Furnishing
from mmh_core.cli.output import run_steps, write_json

if TYPE_CHECKING:
    from mmh_core.studies.images.run import ImageConfig
    from mmh_core.studies.mitigation.run import MitigationConfig


def image_examples(at: Furnishing) -> None:
    """Make every finished example of images anew, with its own prompts."""
    from mmh_core.store.archive import load_record
    from mmh_core.studies.images.run import ImageRun

    for path in sorted((at.assets / "images").glob("*.safetensors")):
        image_example(at, path, load_record(path, ImageRun).config)


def image_example(at: Furnishing, path: Path, config: ImageConfig) -> None:
    """Make a finished example of images with the early scan of its prompts."""
    from mmh_core.store.archive import save_record
    from mmh_core.studies.detection.prompt_scan import scanned
    from mmh_core.studies.images.kept_run import kept_image_run

    subject = at.subject()
    steps = kept_image_run(config, subject, at.parts("images"))
    save_record(path, run_steps(scanned(steps, at.model, subject.calibration.early)))


def mitigation_examples(at: Furnishing) -> None:
    """Make every finished comparison of mitigations anew, with its own prompts."""
    from mmh_core.store.archive import load_record
    from mmh_core.studies.mitigation.run import MitigationRun

    for path in sorted((at.assets / "mitigation").glob("*.safetensors")):
        if not path.stem.endswith("-tokens"):
            mitigation_example(at, path, load_record(path, MitigationRun).config)


def mitigation_example(at: Furnishing, path: Path, config: MitigationConfig) -> None:
    """Make a finished comparison with its robustness; renew its file of tokens if it has one."""
    from mmh_core.store.archive import save_record
    from mmh_core.studies.mitigation.captions import paraphrases_listed
    from mmh_core.studies.mitigation.robustness import robust_study
    from mmh_core.studies.mitigation.study import mitigation_study
    from mmh_core.studies.mitigation.token_attribution import token_study

    subject, kept = at.subject(), at.parts("mitigation")
    run = run_steps(mitigation_study(config, subject, kept=kept))
    listed = paraphrases_listed(at.folder, config.prompts[0])
    run = run_steps(robust_study(run, subject, listed, kept=kept))
    save_record(path, run)
    tokens = path.with_name(f"{path.stem}-tokens{path.suffix}")
    if tokens.exists():
        first = replace(config, prompts=config.prompts[:1])
        save_record(tokens, run_steps(token_study(first, subject, run.cells[0].latents)))


def training_example(at: Furnishing) -> None:
    """Train small denoisers of this world anew, with duplicates and without."""
    from mmh_core.cli.training import training_summary
    from mmh_core.store.archive import load_record, save_record
    from mmh_core.studies.mitigation.training import training_mitigation
    from mmh_core.studies.mitigation.training_run import TrainingMitigationRun

    for path in sorted((at.assets / "mitigation" / "training").glob("*.safetensors")):
        config = load_record(path, TrainingMitigationRun).config
        steps = training_mitigation(config, at.folder, at.subject(), at.parts("training"))
        run = run_steps(steps)
        save_record(path, run)
        write_json(training_summary(run), at.figures("pocket-training-mitigation"))
