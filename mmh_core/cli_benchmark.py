"""The command that compares all detectors on labelled prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli_output import check_places, followed, seed_numbers, write_json
from mmh_core.records import MMHError

if TYPE_CHECKING:
    from mmh_core.studies.benchmark_run import BenchmarkRun, DetectorRow
    from mmh_core.studies.roc import Separation


def benchmark(
    model: Annotated[str, typer.Option(help="A name of the catalogue or a folder.")] = "pocket-sd",
    prompts: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet with the columns prompt, label (memorized or normal)."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2,3",
    log_delta: Annotated[
        float | None, typer.Option(help="Noise scale of LID, for a model without calibration.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the whole run in this file.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures as JSON here.")
    ] = None,
) -> None:
    """Compare every detector on labelled prompts, half of them for calibration; print a table.

    The embedded model has labelled prompts of its own; another one needs a table of them.
    """
    from mmh_core.store.archive import save_record
    from mmh_core.studies.benchmark import benchmark_study
    from mmh_core.studies.image_reference import pocket_reference
    from mmh_core.studies.labelled_prompts import pocket_labelled, read_labelled
    from mmh_core.text_to_image.catalogue import CATALOGUE
    from mmh_core.text_to_image.stable_diffusion import load

    check_places(out, json_file)
    numbers = seed_numbers(seeds)
    folder = Path(CATALOGUE[model].source if model in CATALOGUE else model)
    own = (folder / "world.json").exists()
    if prompts is not None:
        labelled = read_labelled(prompts)
    elif own:
        labelled = pocket_labelled(folder, _seed(folder))
    else:
        raise MMHError("This model has no labelled prompts of its own: give a table by --prompts.")
    reference = pocket_reference(folder) if own else None
    if reference is None and log_delta is None:
        raise MMHError("This model has no calibrated scale of LID: give one by --log-delta.")
    found = followed(
        benchmark_study(labelled, load(model), reference, seeds=numbers, log_delta=log_delta)
    )
    typer.echo(detector_table(found))
    typer.echo("\n" + cause_table(found))
    if out is not None:
        save_record(out, found)
    if json_file is not None:
        write_json(found, json_file)


def detector_table(run: BenchmarkRun) -> str:
    """Return one row per detector as Markdown, the best first."""
    kinds = [kind for kind, _ in run.rows[0].kinds] if run.rows else []
    header = ["detector", "forwards", "AUC", "TPR at 1 % FPR", *(f"AUC {kind}" for kind in kinds)]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in sorted(run.rows, key=lambda row: (-row.all.auc, -row.all.tpr)):
        parts = dict(row.kinds)
        cells = [
            row.label,
            _cost(row),
            _interval(row.all.auc, row.all.auc_low, row.all.auc_high),
            _interval(row.all.tpr, row.all.tpr_low, row.all.tpr_high),
            *(f"{parts[kind].auc:.3f}" for kind in kinds),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    first = run.rows[0].all if run.rows else None
    return "\n".join([*lines, "", _counted(run, first)])


def cause_table(run: BenchmarkRun) -> str:
    """Return the confusion matrix of the cause as Markdown, or why there is none."""
    cause = run.cause
    if cause is None:
        return "The cause is not identifiable: no pictures of the captions are at hand."
    said = ("OD-Mem", "DD-Mem", "not identifiable")
    lines = [
        f"| true cause | {' | '.join(f'said {each}' for each in said)} |",
        "|---|---|---|---|",
    ]
    pairs = list(zip(cause.true, cause.said, strict=True))
    for true in ("OD-Mem", "DD-Mem"):
        lines.append(f"| {true} | {' | '.join(str(pairs.count((true, each))) for each in said)} |")
    accuracy = _interval(cause.accuracy, cause.low, cause.high)
    return "\n".join([*lines, "", f"Balanced accuracy {accuracy}."])


def _counted(run: BenchmarkRun, first: Separation | None) -> str:
    if first is None:
        return ""
    return (
        f"{first.positives} memorized and {first.negatives} normal prompts of the test half, "
        f"{len(run.seeds)} seeds each; 95 % intervals by bootstrap over prompts. Forwards are per "
        "picture, in brackets those of the generation that is read."
    )


def _cost(row: DetectorRow) -> str:
    forwards = f"{row.forwards:.1f}".removesuffix(".0")
    return f"{forwards} (+{row.generation:.0f})" if row.generation else forwards


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _seed(folder: Path) -> int:
    import json

    return int(json.loads((folder / "world.json").read_text())["seed"])
