"""The commands that compare mitigations on a prompt, and benchmark them over many captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli.inputs import (
    index_of,
    labelled_prompts,
    load_subject,
    seed_numbers,
    warn_truncated,
)
from mmh_core.cli.options import (
    CalibrationFile,
    Column,
    DeviceName,
    EmbedderName,
    IndexFolder,
    IndexImages,
    JsonFile,
    KeepFile,
    LabelledTable,
    ModelName,
    OutFolder,
    ReferenceTable,
    Resume,
    Seeds,
    Windows,
    WorkFolder,
)
from mmh_core.cli.output import check_writable, run_steps, warn, write_json
from mmh_core.formats.markdown import markdown_table
from mmh_core.records import MMHError

if TYPE_CHECKING:
    from mmh_core.studies.mitigation.run import MitigationRun
    from mmh_core.studies.mitigation.table import TreatmentRow
    from mmh_core.studies.mitigation.verdict import TreatmentResult
    from mmh_core.subject.subject import Subject


def mitigate(
    prompt: Annotated[str, typer.Option(help="Prompt to generate images of.")],
    out: OutFolder,
    mitigations: Annotated[
        str, typer.Option(help="Mitigations as name:strength, separated by commas.")
    ] = "sparse_repellency,padding_fix,attention_attenuation",
    references: Annotated[
        list[str] | None,
        typer.Option(
            "--reference-prompt",
            "--normal",
            help="A reference prompt, to check side effects on; may be repeated.",
        ),
    ] = None,
    model: ModelName = "pocket-sd",
    seeds: Seeds = "0,1,2,3",
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 or less is no guidance.")
    ] = None,
    keep: KeepFile = None,
    words: Annotated[
        bool,
        typer.Option(
            help="Compute the token attribution too, and keep it beside the file of --keep."
        ),
    ] = False,
    robust: Annotated[
        bool,
        typer.Option(
            "--robust",
            help="Try whether copies come back: by paraphrases, other seeds, and an attack on "
            "the embedding, with the reference prompts as its control. Takes longer than the "
            "comparison.",
        ),
    ] = False,
    windows: Windows = 1,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    calibration: CalibrationFile = None,
    device: DeviceName = "auto",
) -> None:
    """Generate a prompt with every mitigation from the same noise; write images and a report.

    Two baselines are always included: no mitigation, and random token insertion. The same command
    gives the same bytes on one machine.
    """
    from mmh_core.report.command import run_command
    from mmh_core.report.folder import check_folder, write_folder
    from mmh_core.report.mitigations import mitigation_files
    from mmh_core.store.archive import save_record
    from mmh_core.studies.mitigation.captions import paraphrases_listed
    from mmh_core.studies.mitigation.robustness import robust_study
    from mmh_core.studies.mitigation.run import MitigationConfig
    from mmh_core.studies.mitigation.study import checked, mitigation_study, treatments_of
    from mmh_core.text_to_image.requests import Sampling

    check_folder(out)
    check_writable(keep)
    if words and keep is None:
        raise MMHError(
            "--words keeps the token attribution beside the run: say where by --keep FILE."
        )
    prompts, numbers = (prompt, *(references or ())), seed_numbers(seeds)
    treatments = treatments_of(mitigations)
    # Now with placeholders for what the model recommends, so that a wrong option fails before the
    # model is loaded, which takes its time; the study checks again.
    small = MitigationConfig(model, prompts, numbers, treatments, Sampling(steps or 1, 1.0, 8, 8))
    checked(small)
    indexed = index_of(index, index_images, embedder)
    subject = load_subject(model, device, index=indexed, calibration=calibration, windows=windows)
    sampling = replace(
        subject.sampling,
        steps=subject.sampling.steps if steps is None else steps,
        guidance=subject.sampling.guidance if guidance is None else guidance,
    )
    config = replace(small, sampling=sampling)
    if robust and subject.training_set is None:
        raise MMHError(
            "Whether copies come back is searched for among training images: give an index of "
            "them by --index, or leave --robust out."
        )
    run = run_steps(mitigation_study(config, subject))
    if robust:
        listed = paraphrases_listed(_folder(model), prompt)
        run = run_steps(robust_study(run, subject, listed))
    more = () if indexed is None else indexed.arguments()
    write_folder(out, mitigation_files(run, run_command(run, more)))
    if keep is not None:
        save_record(keep, run)
        if words:
            _keep_words(keep, run, subject)
    typer.echo(comparison_table(run))
    warn(run.missing)
    typer.echo(f"\nImages, run.json, images.csv and report.html are in {out}.")


def _keep_words(keep: Path, run: MitigationRun, subject: Subject) -> None:
    from mmh_core.store.archive import save_record
    from mmh_core.studies.mitigation.token_attribution import token_study

    config = replace(run.config, prompts=run.config.prompts[:1])
    attributions = run_steps(token_study(config, subject, run.cells[0].latents))
    save_record(keep.with_name(f"{keep.stem}-tokens{keep.suffix}"), attributions)


def mitigation_benchmark(
    captions: Annotated[
        int, typer.Option(help="Number of memorized captions, and of reference captions.")
    ] = 24,
    robust: Annotated[
        int,
        typer.Option(help="Memorized captions on which robustness is measured; 0 for none."),
    ] = 8,
    seeds: Seeds = "0,1,2,3",
    json_file: JsonFile = None,
    resume: Resume = False,
    work: WorkFolder = Path(".mmh/mitigation-benchmark"),
    model: ModelName = "pocket-sd",
    prompts: LabelledTable = None,
    reference: ReferenceTable = None,
    column: Column = "",
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    calibration: CalibrationFile = None,
    device: DeviceName = "auto",
) -> None:
    """Compare all mitigations over held-out captions; print the tables as Markdown.

    Strengths are chosen on a third as many captions of the other half, at least two. Finished
    captions are kept in the work folder, so that a stopped benchmark resumes with --resume. The
    shipped model has captions of its own; another one needs a table of them by --prompts, and an
    index of its training images.
    """
    from mmh_core.cli.mitigation_tables import benchmark_summary, benchmark_tables
    from mmh_core.studies.mitigation.benchmark import mitigation_benchmark as benchmark
    from mmh_core.studies.mitigation.benchmark_run import BenchmarkInputs
    from mmh_core.studies.mitigation.captions import (
        chosen_captions,
        listed_doses,
        listed_paraphrases,
    )

    check_writable(json_file, work / "record")
    numbers = seed_numbers(seeds)
    if captions < 1:
        raise MMHError(f"{captions} captions: ask for at least one.")
    if robust < 0:
        raise MMHError(f"{robust} captions to bring back copies of: give 0 or more.")
    folder = _folder(model)
    own = (folder / "world.json").exists()
    labelled = labelled_prompts(prompts, reference, column, folder)
    if labelled is None:
        raise MMHError(
            "This model has no captions of its own whose training images are known: give a table "
            "of labelled prompts by --prompts, or compare single prompts by `mitigate`."
        )
    chosen = chosen_captions(
        labelled,
        captions,
        paraphrases=listed_paraphrases(folder) if own else None,
        doses=listed_doses(folder) if own else None,
    )
    indexed = index_of(index, index_images, embedder)
    subject = load_subject(model, device, index=indexed, calibration=calibration)
    if subject.training_set is None:
        raise MMHError(
            "Copies are searched for among training images: give an index of them by --index."
        )
    taken = (*chosen.calibration, *chosen.test, *chosen.reference)
    warn_truncated(subject.model, [caption.text for caption in taken])
    inputs = BenchmarkInputs(subject, numbers, work, resume, robust)
    result = run_steps(benchmark(chosen, inputs))
    typer.echo(benchmark_tables(result))
    if json_file is not None:
        write_json(benchmark_summary(result), json_file)


def comparison_table(run: MitigationRun) -> str:
    """Return one row per mitigation of the prompt in question as Markdown, and which is best."""
    from mmh_core.studies.mitigation.robustness_rows import robustness_words
    from mmh_core.studies.mitigation.verdict import treatment_results

    names = [
        *("mitigation", "strength", "copy rate", "solved", "not solved", "subject lost"),
        "reference prompts",
        *("similarity", "alignment", "LID", "NFE"),
        *("copies, paraphrases", "copies, other seeds"),
        *("copies, attack", "copies, attack on reference prompts"),
    ]
    rows = []
    results = treatment_results(run)
    for result in results:
        row = result.row
        if not row.images:
            cells = [row.label, f"{row.treatment.strength:g}", row.refused]
            rows.append([*cells, *[""] * (len(names) - len(cells))])
            continue
        base = row.treatment.mitigation == "none"
        figures = [
            f"{row.copied.mean.value:.2f}",
            *(
                "" if base else _counted(row, kind)
                for kind in ("solved", "not solved", "subject lost")
            ),
            "" if base else result.references.effect,
            f"{row.similarity.mean.value:.3f}",
            f"{row.alignment.mean.value:.3f}",
            f"{row.lid.mean.value:.1f}",
            f"{row.nfe:.0f}",
            *robustness_words(result.robustness),
        ]
        cells = ["" if text == "nan" else text for text in figures]
        rows.append([row.label, f"{row.treatment.strength:g}", *cells])
    return "\n".join([markdown_table(names, rows), "", *_conclusion(results)])


def _counted(row: TreatmentRow, kind: str) -> str:
    """Return how many images of all have an outcome, "" where none can be judged."""
    if not row.outcomes:
        return ""
    return f"{sum(outcome.kind == kind for outcome in row.outcomes)} of {len(row.outcomes)}"


def _name(result: TreatmentResult) -> str:
    from mmh_core.mitigations.catalogue import mitigation_words

    return mitigation_words(result.treatment.mitigation, result.treatment.strength)


def _conclusion(results: tuple[TreatmentResult, ...]) -> list[str]:
    """Say which mitigation is best of those that pass, and why the others do not."""
    from mmh_core.studies.mitigation.verdict import best, nothing_to_solve

    if nothing_to_solve(results):
        return ["No image is a copy without mitigation: there is nothing to solve."]
    chosen = best(results)
    failed = [
        result for result in results if not result.passes and result.treatment.mitigation != "none"
    ]
    if chosen is None:
        lines = ["None of these passes:"]
    else:
        before, after = results[0].row.alignment.mean.value, chosen.row.alignment.mean.value
        effect = chosen.references.effect
        step = " (give several by --reference-prompt)" if effect == "not checked" else ""
        lines = [
            f"Best of those that pass: {_name(chosen)}, "
            f"alignment {before:.2f} -> {after:.2f}, reference prompts {effect}{step}; "
            f"{chosen.judgement.sentence}."
        ]
        lines += ["These mitigations do not pass:"] if failed else []
    lines += [f"- {_name(result)}: {result.sentence}" for result in failed]
    if results[0].robustness is None:
        lines.append(
            "Robustness was not tried: --robust tries paraphrases, other seeds and an attack."
        )
    return lines


def _folder(model: str) -> Path:
    from mmh_core.text_to_image.model_names import home

    return home(model)
