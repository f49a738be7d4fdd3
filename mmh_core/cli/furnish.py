"""The command that makes all calibrations and finished examples of the shipped model anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mmh_core.cli.furnish_examples import (
    image_examples,
    mitigation_examples,
    training_example,
)
from mmh_core.cli.furnishing import POCKET, Furnishing
from mmh_core.cli.options import DeviceName, WorkFolder
from mmh_core.cli.output import check_writable, run_steps, write_json
from mmh_core.files import write_text
from mmh_core.records import MMHError
from mmh_core.subject.devices import device_of

_SEEDS = "0,1,2,3"


def furnish(
    stages: Annotated[
        str, typer.Option(help="Stages to run, separated by commas; all unless given.")
    ] = "",
    restart: Annotated[bool, typer.Option(help="Run finished stages again.")] = False,
    work: WorkFolder = Path(".mmh/pocket-furnish"),
    device: DeviceName = "auto",
    which: Annotated[
        int, typer.Option("--world", min=1, max=2, help="1: the shipped world; 2: the next one.")
    ] = 1,
    build: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Of the second world: the work folder of its build."),
    ] = Path(".mmh/pocket-build"),
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Output folder."),
    ] = None,
) -> None:
    """Make all calibrations and finished examples of the shipped model anew, without training.

    Takes hours. Each stage is kept when it ends, and the same command resumes behind it; stages of
    other weights are run again. Of the second world, the first stage writes the model from its
    build into --out, in place of what is there.
    """
    if which == 2:
        from mmh_core.cli.furnish_second import furnish_second

        furnish_second(stages, restart, work / "second", device, build / "second", out)
        return
    if out is not None:
        raise MMHError("--out is of the second world: add --world 2, or leave --out out.")
    chosen = [name.strip() for name in stages.split(",") if name.strip()] or list(STAGES)
    unknown = [name for name in chosen if name not in STAGES]
    if unknown:
        raise MMHError(f"There is no stage {unknown[0]!r}: choose from {', '.join(STAGES)}.")
    run_stages(Furnishing(POCKET.parent, work, device), chosen, restart)


def run_stages(
    shared: Furnishing,
    chosen: Collection[str],
    restart: bool = False,
    stages: Mapping[str, Callable[[Furnishing], None]] | None = None,
) -> None:
    """Run the chosen stages in their order, but those that these weights have behind them.

    `stages` are those of the first world unless given.
    """
    stages = STAGES if stages is None else stages
    check_writable(shared.work / "done", shared.folder / "x")
    for name in [stage for stage in stages if stage in chosen]:
        mark = shared.work / f"{name}.done"
        if not restart and mark.exists() and mark.read_text().strip() == shared.model.sha256:
            typer.echo(f"{name}: finished before.")
            continue
        typer.echo(f"{name}: begins.")
        stages[name](shared)
        write_text(mark, f"{shared.model.sha256}\n")
    typer.echo(f"Furnished {shared.assets}.")


def _calibration(at: Furnishing) -> None:
    from mmh_core.pocket.calibration import calibrate
    from mmh_core.pocket.furnish import GUIDANCE, STEPS, open_shipped_data
    from mmh_core.subject.calibration import empty_calibration

    shipped = open_shipped_data(at.folder)
    steps = calibrate(
        at.model,
        shipped.world,
        shipped.embedder,
        shipped.training,
        guidance=GUIDANCE,
        steps=STEPS,
    )
    calibration = run_steps(steps)
    at.merge_calibration(
        replace(
            empty_calibration(at.model),
            copy_thresholds=calibration.copy_thresholds,
            lid_noise_scale=calibration.lid_noise_scale,
        )
    )


def _reference_prompts(at: Furnishing) -> None:
    from mmh_core.studies.detection.reference_prompts import pocket_reference_prompts
    from mmh_core.subject.calibration import empty_calibration, image_calibration

    scale = image_calibration(at.folder).lid_noise_scale.log_delta
    references = run_steps(
        pocket_reference_prompts(at.folder, at.model, scale, at.seed, kept=at.parts("normal"))
    )
    at.merge_calibration(replace(empty_calibration(at.model), reference_prompts=references))


def _early(at: Furnishing) -> None:
    from mmh_core.studies.detection.reference_prompts import pocket_early
    from mmh_core.subject.calibration import empty_calibration

    early = run_steps(pocket_early(at.folder, at.model, at.seed))
    at.merge_calibration(replace(empty_calibration(at.model), early=early))


def _cause(at: Furnishing) -> None:
    from mmh_core.studies.detection.causes import calibrate_causes
    from mmh_core.studies.detection.labelled_prompts import pocket_labelled
    from mmh_core.subject.calibration import empty_calibration, image_calibration
    from mmh_core.subject.early_calibration import SEEDS

    scale = image_calibration(at.folder).lid_noise_scale.log_delta
    labelled = pocket_labelled(at.folder, at.seed)
    cause = run_steps(calibrate_causes(labelled, at.subject(), SEEDS, scale))
    at.merge_calibration(replace(empty_calibration(at.model), cause=cause))


def calibrated_detectors(at: Furnishing, most: int | None = None) -> None:
    """Calibrate all detectors, on at most so many prompts of each kind."""
    from mmh_core.studies.detection.calibrate import calibrate_detectors
    from mmh_core.studies.detection.labelled_prompts import pocket_labelled, thinned
    from mmh_core.subject.calibration import empty_calibration

    labelled, subject = pocket_labelled(at.folder, at.seed), at.subject()
    labelled = labelled if most is None else thinned(labelled, most)
    early = subject.calibration.early
    detectors = run_steps(
        calibrate_detectors(labelled, subject, early=early, kept=at.parts("detectors"))
    )
    at.merge_calibration(replace(empty_calibration(at.model), detectors=detectors))


def _figures(at: Furnishing) -> None:
    from mmh_core.cli.tables import check_table, plain
    from mmh_core.pocket.check import check
    from mmh_core.pocket.furnish import add_to_card
    from mmh_core.subject.calibration import image_calibration

    chosen = image_calibration(at.folder)
    figures = run_steps(check(at.folder, chosen, device=device_of(at.device)))
    add_to_card(at.folder, {"figures": plain(figures.rows)})
    write_text(at.work / "figures.md", check_table(figures) + "\n")
    write_json({"figures": figures.rows}, at.figures("pocket-check"))


def _review(at: Furnishing) -> None:
    from mmh_core.cli.review import write_demonstration

    out = at.assets / "review" / "demonstration.zip"
    write_demonstration(at.subject(), at.folder, out, at.parts("review"))


def benchmark_figures(at: Furnishing, most: int | None = None) -> None:
    """Make the benchmark of detectors, of at most so many prompts of each half and kind."""
    from mmh_core.cli.benchmark import benchmark

    benchmark(
        model=at.model_name,
        prompts=None,
        seeds=_SEEDS,
        log_delta=None,
        column="",
        calibration=None,
        out=at.assets / "benchmark" / "pocket-sd.safetensors",
        json_file=at.figures("benchmark"),
        resume=True,
        work=at.parts("benchmark"),
        most=most,
        device=at.device,
    )


def _mitigation_benchmark(at: Furnishing) -> None:
    from mmh_core.cli.mitigation import mitigation_benchmark

    mitigation_benchmark(
        captions=24,
        robust=8,
        seeds=_SEEDS,
        json_file=at.figures("mitigation-benchmark"),
        resume=True,
        work=at.parts("mitigation-benchmark"),
        model=at.model_name,
        device=at.device,
    )


#: The stages of what is calibrated, which the build of the model runs as well.
#: "normal" calibrates the reference prompts: the name under which stages and their parts are kept.
CALIBRATIONS = ("calibration", "normal", "early", "cause", "detectors")
#: In the order in which each uses what those before it made.
STAGES: dict[str, Callable[[Furnishing], None]] = {
    "calibration": _calibration,
    "normal": _reference_prompts,
    "early": _early,
    "cause": _cause,
    "detectors": calibrated_detectors,
    "figures": _figures,
    "images": image_examples,
    "mitigation": mitigation_examples,
    "training": training_example,
    "review": _review,
    "benchmark": benchmark_figures,
    "mitigation-benchmark": _mitigation_benchmark,
}
