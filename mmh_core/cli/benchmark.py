"""The command that compares all detectors on labelled prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mmh_core.cli.benchmark_report import report
from mmh_core.cli.inputs import index_of, labelled_prompts, load_subject, seed_numbers
from mmh_core.cli.options import (
    CalibrationFile,
    Column,
    DeviceName,
    EmbedderName,
    IndexFolder,
    IndexImages,
    JsonFile,
    LabelledTable,
    ModelName,
    ReferenceTable,
    Resume,
    RunFile,
    Seeds,
    Windows,
    WorkFolder,
)
from mmh_core.cli.output import check_writable, run_steps
from mmh_core.records import MMHError


def benchmark(
    model: ModelName = "pocket-sd",
    prompts: LabelledTable = None,
    reference: ReferenceTable = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON file of the finished benchmark of one network; repeat it for each network. "
            "Prints the tables of the first with mean and standard deviation over all, and "
            "computes nothing anew."
        ),
    ] = None,
    seeds: Seeds = "0,1,2,3",
    log_delta: Annotated[
        float | None,
        typer.Option(
            help="Natural logarithm of the noise scale (sigma / alpha) at which LID is estimated; "
            "else the model's calibrated one, or a plateau of its LID curve."
        ),
    ] = None,
    column: Column = "",
    calibration: CalibrationFile = None,
    out: RunFile = None,
    json_file: JsonFile = None,
    resume: Resume = False,
    work: WorkFolder = Path(".mmh/benchmark"),
    most: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Use at most this many prompts of each kind in each half (calibration and test), "
            "spread evenly over their groups; else all.",
        ),
    ] = None,
    windows: Windows = 1,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    device: DeviceName = "auto",
) -> None:
    """Compare every detector on labelled prompts, half of them for calibration; print a table.

    The shipped model has labelled prompts of its own; another one needs a table of them. Two
    rows are early scans: one tuned like every detector, and one with the times of --calibration,
    else of the shipped model's own, by which tables are scanned; its speed is compared with that
    of generating images.
    """
    from mmh_core.store.kept import forget_kept
    from mmh_core.studies.detection.benchmark import benchmark_study, check_labelled
    from mmh_core.studies.detection.labelled_prompts import thinned
    from mmh_core.studies.detection.throughput import throughput
    from mmh_core.text_to_image.model_names import home
    from mmh_core.text_to_image.stable_diffusion import check_model

    check_writable(out, json_file)
    if merge:
        if prompts is not None or reference is not None:
            raise MMHError("--merge reads finished runs: give --json or --out alone beside it.")
        merged(merge, out, json_file)
        return
    numbers = seed_numbers(seeds)
    if prompts is None and reference is None:
        check_model(model)
    folder = home(model)
    own = (folder / "world.json").exists()
    labelled = labelled_prompts(prompts, reference, column, folder)
    if labelled is None:
        raise MMHError("This model has no labeled prompts of its own: give a table by --prompts.")
    labelled = labelled if most is None else thinned(labelled, most)
    check_labelled(labelled)
    searched = index_of(index, index_images, embedder)
    subject = load_subject(model, device, index=searched, calibration=calibration, windows=windows)
    # It may have been calibrated on prompts of a person's own table (leakage): then only the early
    # scan that is tuned here is compared.
    usable = calibration is not None or (own and prompts is None)
    early = subject.calibration.early if usable else None
    if early is not None and early.seeds != numbers:
        if calibration is not None:
            raise MMHError(
                f"The early scan of {calibration} was calibrated with the seeds "
                f"{','.join(map(str, early.seeds))}: give them by --seeds."
            )
        early = None
    if not resume:
        forget_kept(work)
    run = run_steps(
        benchmark_study(
            *(labelled, subject),
            seeds=numbers,
            log_delta=log_delta,
            early=early,
            kept=work,
        )
    )
    pace = run_steps(throughput(subject.model, [prompt.prompt for prompt in run.prompts]))
    report(run, out, json_file, pace=pace)


def merged(files: Sequence[Path], out: Path | None, json_file: Path | None) -> None:
    """Print figures over networks from files of --json. Errors: those of `over_networks`."""
    from mmh_core.studies.detection.networks import over_networks, read_network

    report(over_networks([read_network(path) for path in files]), out, json_file)
