"""The commands of the review: verify a log, hand a case over, take one over, the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli_output import check_places, device_of, followed
from mmh_core.records import MMHError

if TYPE_CHECKING:
    from mmh_core.store.sqlite_file import SqliteFile

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Data = Annotated[Path, typer.Option(help="The data folder of the app.")]
_DATA = Path(".mmh")


@app.callback()
def review() -> None:
    """Work with queues of prompts that people judge."""


@app.command("list")
def list_command(data: Data = _DATA) -> None:
    """List the queues of a data folder, newest first."""
    from mmh_core.store.queues import list_queues

    for queue in list_queues(_file(data)):
        typer.echo(f"{queue.id}  {queue.items:>7,} items  {queue.rows:>7,} rows  {queue.name!r}")


@app.command("verify")
def verify_command(
    queue: Annotated[str | None, typer.Argument(help="Id of a queue; all without it.")] = None,
    data: Data = _DATA,
) -> None:
    """Check that every verdict is as it was recorded; exit status 1 where one is not."""
    from mmh_core.store.queues import list_queues
    from mmh_core.store.verdict_chain import verify

    file, whole = _file(data), True
    for name in [queue] if queue else [one.id for one in list_queues(file)]:
        report = verify(file, name)
        whole = whole and report.whole
        typer.echo(f"{name}: {report.message}")
    if not whole:
        raise SystemExit(1)


@app.command("export")
def export_command(
    queue: Annotated[str, typer.Argument(help="Id of the queue.")],
    out: Annotated[Path, typer.Option(help="Write the case to this zip file.")],
    data: Data = _DATA,
) -> None:
    """Write a queue with its evidence, verdicts and runs to one zip file."""
    from mmh_core.store.case_files import export_case

    check_places(out)
    made = export_case(_file(data), queue, data / "runs", out)
    typer.echo(f"{out}: {made.items:,} items, {made.verdicts:,} rows, {made.runs:,} runs.")
    if made.missing_runs:
        typer.echo(f"{len(made.missing_runs):,} runs are missing in {data / 'runs'}.")


@app.command("import")
def import_command(
    case: Annotated[Path, typer.Argument(help="Zip file of a case.")], data: Data = _DATA
) -> None:
    """Take a case over; it is checked in full before anything is kept."""
    from mmh_core.store.case_import import import_case

    found = import_case(_file(data, make=True), case, data / "runs")
    typer.echo(f"Imported {found.name!r} as {found.id}: {found.items:,} items.")


@app.command("demonstration")
def demonstration_command(
    out: Annotated[Path, typer.Option(help="Write the case to this zip file.")] = Path(
        "assets/review/demonstration.zip"
    ),
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda or auto.")] = "auto",
) -> None:
    """Draw and study prompts of the embedded world, as the queue that the app opens with."""
    from tempfile import TemporaryDirectory

    from mmh_core.store.case_files import export_case
    from mmh_core.store.queues import create_queue
    from mmh_core.studies.demonstration import NAME, demonstration_items
    from mmh_core.text_to_image.catalogue import CATALOGUE
    from mmh_core.text_to_image.stable_diffusion import load

    check_places(out)
    folder = Path(CATALOGUE["pocket-sd"].source)
    model = load("pocket-sd", device=device_of(device))
    with TemporaryDirectory() as place:
        runs = Path(place) / "runs"
        items = followed(demonstration_items(model, folder, runs))
        file = _file(Path(place), make=True)
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

    path = data / "review.sqlite"
    if not make and not path.is_file():
        raise MMHError(f"{data} holds no queues: name the data folder of the app by --data.")
    return open_queues(path)
