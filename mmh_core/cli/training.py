"""The command of training-time mitigation: the shipped model with and without duplicates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli.options import KEEP, DeviceName, JsonFile, Seed
from mmh_core.cli.output import check_writable, run_steps, write_json
from mmh_core.cli.tables import plain
from mmh_core.formats.markdown import markdown_table
from mmh_core.subject.devices import device_of
from mmh_core.text_to_image.catalogue import CATALOGUE

if TYPE_CHECKING:
    from mmh_core.studies.mitigation.training_run import (
        TrainingMitigationRun,
        TrainingMitigationSnapshot,
    )

POCKET = Path(CATALOGUE["pocket-sd"].source)


def training_mitigation(
    out: Annotated[Path, typer.Option("--out", "--keep", metavar="FILE", help=KEEP)],
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of each training.")] = None,
    seed: Seed = 0,
    json_file: JsonFile = None,
    device: DeviceName = "auto",
) -> None:
    """Training-time mitigation: train with and without duplicates; print the copy rate over steps.

    About twenty minutes on two idle cores. With other --steps the snapshots move in proportion.
    """
    from mmh_core.store.archive import save_record
    from mmh_core.studies.mitigation.training import checked
    from mmh_core.studies.mitigation.training import training_mitigation as study
    from mmh_core.studies.mitigation.training_run import TrainingMitigationConfig
    from mmh_core.subject.calibration import calibration_beside
    from mmh_core.subject.subject import Subject
    from mmh_core.subject.training_set import pocket_training_set
    from mmh_core.text_to_image.stable_diffusion import load

    check_writable(out, json_file)
    usual = TrainingMitigationConfig(seed=seed)
    total = usual.steps if steps is None else steps
    at = tuple(max(1, round(step * total / usual.steps)) for step in usual.snapshot_steps)
    config = checked(replace(usual, steps=total, snapshot_steps=at))
    model = load(POCKET, device=device_of(device))
    calibration = calibration_beside(POCKET)
    subject = Subject(model, pocket_training_set(POCKET, calibration), calibration)
    run = run_steps(study(config, POCKET, subject))
    save_record(out, run)
    typer.echo(training_table(run))
    if json_file is not None:
        write_json(training_summary(run), json_file)


def training_table(run: TrainingMitigationRun) -> str:
    """Return one row per snapshot as Markdown, and where each arm had better ended."""
    from mmh_core.studies.mitigation.training_run import REFERENCE, early_stop

    heads = [f"{group}: {name}" for group in run.groups for name in ("copy rate", "median LID")]
    rows = []
    for snapshot in run.snapshots:
        cells = [snapshot.arm, str(snapshot.step)]
        for group in run.groups:
            cells += [f"{snapshot.mean('copied', group):.2f}", f"{snapshot.median_lid(group):.1f}"]
        rows.append([*cells, f"{snapshot.mean('alignment', REFERENCE):.3f}"])
    heads = ["training set", "step", *heads, "reference: alignment"]
    lines = [markdown_table(heads, rows), ""]
    for arm in dict.fromkeys(snapshot.arm for snapshot in run.snapshots):
        stopped = early_stop(run.arm(arm))
        advice = (
            "the last step is the best" if stopped is None else f"step {stopped.step} is better"
        )
        lines.append(f"Early stopping, {arm}: {advice}.")
        ended = run.arm(arm)[-1]
        lines += [_robustness(each) for each in (ended, *([] if stopped is None else [stopped]))]
    return "\n".join(lines)


def _robustness(snapshot: TrainingMitigationSnapshot) -> str:
    """Say how many copies come back at a step of an arm, or that it was not tried."""
    from mmh_core.studies.mitigation.robustness_rows import robustness_words

    name = f"Copies that come back, {snapshot.arm}, step {snapshot.step}"
    if snapshot.robustness is None:
        return f"{name}: robustness unknown, it was not tried."
    texts, seeds, attack, control = robustness_words(snapshot.robustness)
    return (
        f"{name}: of paraphrases {texts}; of other seeds {seeds}; after the re-trigger attack "
        f"{attack}, of reference captions {control}."
    )


def training_summary(run: TrainingMitigationRun) -> dict[str, object]:
    """Return the numbers of every snapshot as plain values."""
    return {
        "model_sha256": run.sha256,
        "steps": run.config.steps,
        "batch": run.config.batch,
        "seed": run.config.seed,
        "groups": list(run.groups),
        "captions": [list(row) for row in run.captions],
        "snapshots": [
            {
                "training_set": snapshot.arm,
                "step": snapshot.step,
                "loss": snapshot.loss,
                **{
                    name: [
                        {"caption": caption, "images": images, "copies": copies}
                        for caption, images, copies in rows
                    ]
                    for name, rows in (
                        ("retriggered", snapshot.retriggered),
                        ("rephrased", snapshot.rephrased),
                        ("reseeded", snapshot.reseeded),
                        ("control", snapshot.control),
                    )
                },
                "robustness": plain(snapshot.robustness),
                "groups": {
                    group: {
                        "copied": snapshot.mean("copied", group),
                        "similarity": snapshot.mean("similarity", group),
                        "alignment": snapshot.mean("alignment", group),
                        "lid_median": snapshot.median_lid(group),
                    }
                    for group in snapshot.groups
                },
            }
            for snapshot in run.snapshots
        ],
    }
