"""The commands of the review: verify a log, export and import a case, remove a queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli.inputs import load_subject
from mmh_core.cli.options import CalibrationFile, CaseFile, DeviceName
from mmh_core.cli.output import check_writable, run_steps
from mmh_core.counting import plural
from mmh_core.formats.untrusted import quoted
from mmh_core.installation import PROGRAM, assets
from mmh_core.records import MMHError
from mmh_core.store.review_records import MAX_NAME

if TYPE_CHECKING:
    from mmh_core.store.log_chain import ChainReport
    from mmh_core.store.sqlite_file import SqliteFile
    from mmh_core.subject.subject import Subject

FILE = "review.sqlite"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Data = Annotated[Path, typer.Option(help="The data folder of the app.")]
_DATA = Path(".mmh")
# Where the app takes it from, wherever this is called.
_EXAMPLES = assets() / "images"
_DEMONSTRATION = assets() / "review" / "demonstration.zip"


@app.callback()
def review() -> None:
    """Work with queues of prompts that people judge."""


@app.command("list")
def list_command(data: Data = _DATA) -> None:
    """List the queues of a data folder, newest first."""
    from mmh_core.store.queues import damaged_queues, list_queues

    with _examined(data) as file:
        queues, damaged = list_queues(file), damaged_queues(file)
    for queue in queues:
        typer.echo(
            f"{queue.id}  {queue.items:>7,} items  {queue.rows:>7,} rows  "
            f"{quoted(queue.name, MAX_NAME)}"
        )
    for record in damaged:
        typer.echo(f"{quoted(record.id, 64)}  cannot be read: {record.reason}", err=True)


@app.command("verify")
def verify_command(
    queue: Annotated[str | None, typer.Argument(help="Id of a queue; all without it.")] = None,
    seal: Annotated[
        str | None, typer.Option(help="A head hash (seal) of this queue that was noted earlier.")
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(
            help=(
                "File of head hashes (seals), kept elsewhere: those in it are verified, then "
                "today's is added."
            )
        ),
    ] = None,
    data: Data = _DATA,
) -> None:
    """Check that every judgement and item is as it was recorded; exit status 1 where one is not.

    Reads only, the files of runs too. Without a seal that was kept elsewhere, a log that somebody
    computed anew, or an older copy put back, cannot be told from the true one.
    """
    from mmh_core.store.kept_seals import add_seals, read_seals
    from mmh_core.store.orphaned_rows import find_orphaned_rows
    from mmh_core.store.queues import damaged_queues, list_queues
    from mmh_core.store.review_checks import checked_seal
    from mmh_core.store.run_files import check_runs

    if seal is not None and queue is None:
        raise MMHError("A seal is of one queue: name the queue before --seal.")
    if seal is not None:
        checked_seal(seal)
    seals = [] if kept is None else read_seals(kept)
    reports = {}
    changed = False
    with _examined(data) as file:
        names = [queue] if queue else [record.id for record in list_queues(file)]
        for name in names:
            kept_here = [seal.seal for seal in seals if seal.queue == name]
            runs = check_runs(file, name, (data / "runs", _EXAMPLES))
            seals_of = [*kept_here, *([] if seal is None else [seal])]
            reports[name] = _verified(file, name, seals_of, runs.sentence)
            changed |= bool(runs.changed)
        damaged = [] if queue else damaged_queues(file)
        strays = find_orphaned_rows(file)
    gone = sorted({seal.queue for seal in seals} - set(names)) if queue is None else []
    for record in damaged:
        typer.echo(f"{quoted(record.id, 64)}: its record is damaged ({record.reason}).")
    for name in gone:
        typer.echo(f"{name}: {kept} has seals of this queue, and it is not here any more.")
    if strays.sentence:
        typer.echo(f"{data / FILE}: {strays.sentence}")
    if strays.warning and not queue:
        typer.echo(f"{data / FILE}: note: {strays.warning}", err=True)
    if not reports and not damaged:
        typer.echo(f"{data / FILE}: no queue is in it.")
    if (
        damaged
        or gone
        or changed
        or strays.sentence
        or not all(report.whole for report in reports.values())
    ):
        raise SystemExit(1)
    if kept is not None:
        added = add_seals(kept, reports)
        typer.echo(f"{kept}: {plural(added, 'seal')} added.")


def _verified(file: SqliteFile, queue: str, seals: list[str], runs: str) -> ChainReport:
    """Verify one queue against each of the seals, print the results, and return the worst.

    `runs` is the sentence on its files of runs.
    """
    from mmh_core.store.log_chain import verify

    report = verify(file, queue, kept=seals[0] if seals else None)
    for seal in seals[1:]:
        if report.whole:
            report = verify(file, queue, kept=seal)
    typer.echo(f"{queue}: {report.message} {runs}".rstrip())
    for warning in report.warnings:
        typer.echo(f"{queue}: warning: {warning}", err=True)
    return report


@app.command("remove")
def remove_command(
    queue: Annotated[str, typer.Argument(help="Id of the queue.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove its judgements too.")] = False,
    data: Data = _DATA,
) -> None:
    """Remove a queue with its items, log and labels from the data folder; files of runs stay."""
    from mmh_core.store.queues import damaged_queues, list_queues, remove_queue, unknown_queue
    from mmh_core.store.review_plans import plans_folder, remove_plan

    file = _file(data)
    rows = {record.id: record.rows for record in list_queues(file)}
    if queue not in rows and queue not in [record.id for record in damaged_queues(file)]:
        raise MMHError(unknown_queue(queue))
    if rows.get(queue, 1) and not yes:
        raise MMHError(
            f"The queue {quoted(queue, 64)} has {rows.get(queue, 'an unknown number of')} rows of "
            f"judgements: export it first ({PROGRAM} review export), then add --yes to remove it."
        )
    remove_queue(file, queue)
    remove_plan(plans_folder(data), queue)
    typer.echo(f"Removed {quoted(queue, 64)}.")


@app.command("export")
def export_command(
    queue: Annotated[str, typer.Argument(help="Id of the queue.")],
    out: CaseFile,
    data: Data = _DATA,
) -> None:
    """Write a queue with its evidence, judgements, labels and runs to one zip file."""
    from mmh_core.store.case_export import export_case
    from mmh_core.store.review_plans import plans_folder

    check_writable(out)
    with _examined(data) as file:
        made = export_case(file, queue, data / "runs", out, plans=plans_folder(data))
    typer.echo(f"{out}: {made.items:,} items, {made.verdicts:,} rows, {made.runs:,} runs.")
    if made.missing_runs:
        typer.echo(f"{len(made.missing_runs):,} runs are missing in {data / 'runs'}.")


@app.command("import")
def import_command(
    case: Annotated[Path, typer.Argument(help="Zip file of a case.")], data: Data = _DATA
) -> None:
    """Import a case; it is verified in full before anything is kept."""
    from mmh_core.store.case_import import import_case
    from mmh_core.store.review_plans import plans_folder

    file, plans = _file(data, make=True), plans_folder(data)
    imported = import_case(file, case, data / "runs", plans=plans)
    typer.echo(f"Imported {quoted(imported.name)} as {imported.id}: {imported.items:,} items.")


@app.command("demonstration")
def demonstration_command(
    out: Annotated[
        Path,
        typer.Option(
            metavar="ZIP",
            help="Write the case to this zip file.",
            show_default="assets/review/demonstration.zip",
        ),
    ] = _DEMONSTRATION,
    calibration: CalibrationFile = None,
    device: DeviceName = "auto",
) -> None:
    """Generate and analyze prompts of the shipped model, as the queue that the app opens with."""
    from mmh_core.text_to_image.catalogue import CATALOGUE

    check_writable(out)
    folder = Path(CATALOGUE["pocket-sd"].source)
    write_demonstration(load_subject("pocket-sd", device, calibration=calibration), folder, out)


def write_demonstration(
    subject: Subject, folder: Path, out: Path, parts: Path | None = None
) -> None:
    """Write the queue of the model in a folder as a case; `parts` are as of its items."""
    from tempfile import TemporaryDirectory

    from mmh_core.store.case_export import export_case
    from mmh_core.store.queues import create_queue
    from mmh_core.studies.review.demonstration import NAME, demonstration_items

    with TemporaryDirectory() as temporary:
        runs = Path(temporary) / "runs"
        items = run_steps(demonstration_items(subject, folder, runs, parts))
        file = _file(Path(temporary), make=True)
        queue = create_queue(
            file,
            NAME,
            model=items[0].model,
            model_sha256=items[0].model_sha256,
            settings={"demonstration": True},
            items=items,
        )
        made = export_case(file, queue.id, runs, out)
    typer.echo(f"{out}: {made.items:,} items, {made.runs:,} runs.")


def _file(data: Path, *, make: bool = False) -> SqliteFile:
    """Return the file of queues of a data folder. Raises MMHError where there is none."""
    from mmh_core.store.review_schema import open_queues

    return open_queues(data / FILE if make else _path(data))


@contextmanager
def _examined(data: Path) -> Iterator[SqliteFile]:
    """Yield the file of queues for reading alone. Raises MMHError where there is none."""
    from mmh_core.store.review_schema import examined_queues

    with examined_queues(_path(data)) as file:
        yield file


def _path(data: Path) -> Path:
    if not (data / FILE).is_file():
        raise MMHError(f"{data} holds no queues: name the data folder of the app by --data.")
    return data / FILE
