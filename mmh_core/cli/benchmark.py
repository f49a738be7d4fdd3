"""The commands that compare all detectors on labelled prompts, and score prompts by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli.benchmark_tables import (
    dose_table,
    fact_table,
    group_table,
    network_table,
    published_table,
    rate_table,
)
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
    RunFile,
    Seeds,
    Share,
    Windows,
    WorkFolder,
)
from mmh_core.cli.output import (
    check_places,
    followed,
    index_of,
    labelled_prompts,
    no_calibration,
    opened,
    opened_model,
    seed_numbers,
    warned,
    write_json,
)
from mmh_core.formats.markdown import markdown_table
from mmh_core.records import MMHError

if TYPE_CHECKING:
    from mmh_core.statistics.areas import Separation
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
    from mmh_core.studies.detection.scores import DetectorScores
    from mmh_core.studies.detection.throughput import Throughput


def benchmark(
    model: ModelName = "pocket-sd",
    prompts: LabelledTable = None,
    reference: ReferenceTable = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of --json of one network; given for each, this prints the first with mean "
            "and spread over all and runs nothing."
        ),
    ] = None,
    seeds: Seeds = "0,1,2,3",
    log_delta: Annotated[
        float | None, typer.Option(help="Noise scale of LID; else the model's own, or a plateau.")
    ] = None,
    column: Column = "",
    calibration: CalibrationFile = None,
    out: RunFile = None,
    json_file: JsonFile = None,
    resume: Annotated[bool, typer.Option(help="Resume from the work folder.")] = False,
    work: WorkFolder = Path(".mmh/benchmark"),
    windows: Windows = 1,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    device: DeviceName = "auto",
) -> None:
    """Compare every detector on labelled prompts, half of them for calibration; print a table.

    The shipped model has labelled prompts of its own; another one needs a table of them. The
    early scan of --calibration, else of the shipped model's own calibration, has a row of its
    own; the early scan is timed beside the published way. With --resume finished parts are kept
    in the work folder and used again.
    """
    from mmh_core.studies.detection.benchmark import benchmark_study, check_labelled
    from mmh_core.studies.detection.throughput import throughput
    from mmh_core.text_to_image.model_names import home
    from mmh_core.text_to_image.stable_diffusion import check_model

    check_places(out, json_file)
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
    check_labelled(labelled)
    searched = index_of(index, index_images, embedder)
    subject = opened(model, device, index=searched, calibration=calibration, windows=windows)
    # The model's early scan may know prompts of a person's own table, so there it is made anew.
    usable = calibration is not None or (own and prompts is None)
    early = subject.calibration.early if usable else None
    if early is not None and early.seeds != numbers:
        if calibration is not None:
            raise MMHError(
                f"The early scan of {calibration} was calibrated with the seeds "
                f"{','.join(map(str, early.seeds))}: give them by --seeds."
            )
        early = None
    run = followed(
        benchmark_study(
            *(labelled, subject),
            seeds=numbers,
            log_delta=log_delta,
            early=early,
            kept=work if resume else None,
        )
    )
    pace = followed(throughput(subject.model, [prompt.prompt for prompt in run.prompts]))
    report(run, out, json_file, published=prompts is not None, pace=pace)


def merged(files: Sequence[Path], out: Path | None, json_file: Path | None) -> None:
    """Print figures over networks from files of --json. Errors: those of `over_networks`."""
    from mmh_core.studies.detection.networks import over_networks, read_network

    report(over_networks([read_network(path) for path in files]), out, json_file)


def report(
    run: BenchmarkRun,
    out: Path | None,
    json_file: Path | None,
    *,
    published: bool = False,
    pace: Throughput | None = None,
) -> None:
    """Print everything about a run, and write it where files are named."""
    from dataclasses import fields

    from mmh_core.store.archive import save_record
    from mmh_core.studies.detection.figures import row_figures
    from mmh_core.studies.detection.findings import findings

    figures = row_figures(run)
    sentences = findings(run, figures)
    parts = [*sentences, detector_table(run), rate_table(run, figures)]
    parts += [group_table(run, figures), fact_table(run, figures), dose_table(run)]
    if published:
        parts.append(published_table(run))
    parts.append(cause_table(run))
    if run.networks is not None:
        parts.append(network_table(run.networks))
    if pace is not None:
        parts.append(throughput_line(pace))
    typer.echo("\n\n".join(parts))
    warned(run.missing)
    if out is not None:
        save_record(out, run)
    if json_file is not None:
        fields_of_run = {field.name: getattr(run, field.name) for field in fields(run)}
        made = {"sentences": sentences, "figures": figures, "doses": run.doses}
        write_json({**fields_of_run, **made, "throughput": pace}, json_file)


def score(
    prompts: Annotated[list[str], typer.Argument(help="Prompts to score.")],
    model: ModelName = "pocket-sd",
    calibration: CalibrationFile = None,
    share: Share = 0.01,
    json_file: JsonFile = None,
    windows: Windows = 1,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    device: DeviceName = "auto",
) -> None:
    """Score prompts by every detector, beside the reference prompts of the model."""
    from mmh_core.studies.detection.scores import score_by_all
    from mmh_core.subject.subject import open_calibration, open_training_set
    from mmh_core.text_to_image.requests import check_prompt
    from mmh_core.text_to_image.stable_diffusion import check_model

    check_places(json_file)
    # Before the model is loaded, which takes its time.
    for prompt in prompts:
        check_prompt(prompt)
    if calibration is None:
        check_model(model)
    searched = index_of(index, index_images, embedder)
    opened = open_calibration(model, calibration)
    if opened.detectors is None:
        raise no_calibration(model, calibration, "calibrate TABLE --all", " of all detectors")
    if searched is not None:
        # Scores need no training image: a named index is opened so that a wrong one is refused.
        open_training_set(model, searched)
    loaded = opened_model(model, device, windows)
    scores = followed(score_by_all(loaded, opened.detectors, prompts, share=share))
    typer.echo(score_table(scores))
    if json_file is not None:
        write_json(scores, json_file)


def score_table(scores: DetectorScores) -> str:
    """Return one table per prompt as Markdown, detectors in the order of the calibration."""
    from mmh_core.subject.reference_scores import threshold_words

    parts = []
    for i, prompt in enumerate(scores.prompts):
        lines = [prompt, ""]
        if scores.readings and not scores.readings[i].whole:
            lines += [scores.readings[i].words(), ""]
        heads = ("detector", "score", "percentile among reference prompts", "threshold", "")
        rows = [[label, *_score_cells(scores, i, k)] for k, label in enumerate(scores.labels)]
        lines.append(markdown_table(heads, rows))
        parts.append("\n".join(lines))
    parts += scores.left_out
    others = (
        "threshold but that of the early scan" if scores.scan_reference_prompts else "threshold"
    )
    parts.append(
        f"At {scores.share:.1%} each {others} of {scores.model} is "
        f"{threshold_words(scores.share, scores.reference_prompts)}. "
        f"{scores.detection_rate}".rstrip()
    )
    return "\n\n".join(parts)


def _score_cells(scores: DetectorScores, i: int, k: int) -> list[str]:
    """Return score, percentile, threshold and what they say of a prompt by a detector."""
    score, share = float(scores.score[i, k]), float(scores.percentile[i, k])
    threshold = f"{float(scores.threshold[k]):.3g}"
    if math.isnan(score):
        return ["-", "-", threshold, "undefined: the prompt changes nothing"]
    flag = "flagged" if scores.flagged[i, k] else ""
    return [f"{score:.3g}", f"{share:.0%}", threshold, flag]


def throughput_line(pace: Throughput) -> str:
    """Return in words how the early scan compares with the published way."""
    return (
        f"The early scan scores {pace.early:.3g} prompts a second with four seeds, the "
        f"published way (50 steps with guidance, four images) {pace.published:.3g}: "
        f"{pace.times:.0f} times as many, in turns on this machine."
    )


def detector_table(run: BenchmarkRun) -> str:
    """Return one row per detector as Markdown, the best first."""
    kinds = [kind for kind, _ in run.rows[0].kinds] if run.rows else []
    header = ["detector", "NFE", "AUC", "TPR at 1 % FPR", *(f"AUC {kind}" for kind in kinds)]
    rows = []
    for row in sorted(run.rows, key=lambda row: (-row.all.auc, -row.all.tpr)):
        parts = dict(row.kinds)
        cells = [
            row.label,
            _cost(row),
            row.all.area.words(),
            row.all.strict_rate.words(),
            *(f"{parts[kind].auc:.3f}" for kind in kinds),
        ]
        rows.append(cells)
    first = run.rows[0].all if run.rows else None
    lines = [markdown_table(header, rows), "", _counted(run, first)]
    lines += used_thresholds(run, names=(run.scanning,))
    if run.combined is not None:
        lines.append(
            f"Within the calibration half the combined score has an AUC of "
            f"{run.combined.cv_auc:.3f}, by five-fold cross-validation; the times of the early "
            "scan and the standardization were chosen before the folds, on all of that half."
        )
    return "\n".join(lines)


def cause_table(run: BenchmarkRun) -> str:
    """Return the confusion matrix of the cause as Markdown, or why there is none."""
    from mmh_core.memorization.cause import UNIDENTIFIED
    from mmh_core.statistics.agreement import reliability
    from mmh_core.statistics.intervals import Interval

    cause = run.cause
    if cause is None:
        return (
            "The cause is not identifiable: no caption of known cause is copied, or there are no "
            "training images to search."
        )
    predictions = (*cause.causes, UNIDENTIFIED)
    pairs = list(zip(cause.true, cause.said, strict=True))
    table = markdown_table(
        ["true cause", *(f"predicted {predicted}" for predicted in predictions)],
        [
            [true, *(str(pairs.count((true, predicted))) for predicted in predictions)]
            for true in cause.causes
        ],
    )
    accuracy = Interval(cause.accuracy, cause.low, cause.high).words()
    words = [f"Balanced accuracy {accuracy}."]
    if len(set(cause.true)) == 1:
        words.append("Only one cause occurs here, so this does not show that causes are told.")
    if cause.confidence is not None:
        bins, error = reliability(cause.confidence, cause.right)
        if bins:
            words.append(f"Expected calibration error of the confidence {error:.3f}.")
    return "\n".join([table, "", " ".join(words)])


def _counted(run: BenchmarkRun, first: Separation | None) -> str:
    if first is None:
        return ""
    return (
        f"{first.positives} memorized and {first.negatives} reference prompts of the test half, "
        f"{len(run.seeds)} seeds each; 95 % intervals over prompts, of "
        "the TPR at the threshold as it is. TPR at 1 % FPR is cut on these reference prompts. NFE "
        "(network evaluations) per image, in brackets those of the generation that is scored."
    )


def used_thresholds(run: BenchmarkRun, names: Sequence[str], share: float = 0.01) -> list[str]:
    """Return in sentences what detectors find at the threshold that `score` and `scan` use."""
    from mmh_core.studies.detection.benchmark_run import counts

    return [
        f"{row.label}: {counts(run, row, share).words()}" for row in run.rows if row.name in names
    ]


def _cost(row: DetectorRow) -> str:
    nfe = f"{row.nfe:.1f}".removesuffix(".0")
    return f"{nfe} (+{row.generation:.0f})" if row.generation else nfe
