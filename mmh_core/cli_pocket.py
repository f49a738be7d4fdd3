"""The command line of the embedded model: build it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.records import MMHError, Progress

if TYPE_CHECKING:
    import torch

    from mmh_core.pocket.build import Built

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

#: Seconds between two lines of progress: in a terminal, and in a file.
LIVE, LOGGED = 0.5, 30.0


@app.callback()
def pocket() -> None:
    """Build the embedded world and its Stable Diffusion."""


@app.command("build")
def build_command(
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda or auto.")] = "auto",
    minutes: Annotated[
        float | None, typer.Option(help="Shorten or lengthen every stage to fit this time.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the model.")] = Path("assets/pocket-sd"),
    work: Annotated[
        Path, typer.Option(help="Folder of unfinished stages; run again to go on.")
    ] = Path(".mmh/pocket-build"),
    seed: Annotated[int, typer.Option(help="Seed of the world and of everything random.")] = 0,
) -> None:
    """Draw the world, train all networks on it and write the model; go on where it stopped."""
    from dataclasses import replace

    from mmh_core.pocket.build import BuildConfig, build
    from mmh_core.pocket.plan import fitted_to

    place = _device(device)
    config = replace(BuildConfig(), seed=seed)
    if minutes is not None:
        config = fitted_to(minutes, config, place, work)
    built = _logged(build(config, out, work, device=place))
    for stage, loss in built.losses.items():
        typer.echo(f"{stage}: loss {loss:.4f}")
    typer.echo(f"Built into {built.out}.")


def _device(name: str) -> torch.device:
    """Return the device of a name; auto takes a GPU where there is one."""
    import torch

    found = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be cpu, cuda or auto, got {name!r}.")
    if name == "cuda" and not found:
        raise MMHError("There is no CUDA device here: build with --device cpu.")
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def _logged(progress: Iterator[Progress[Built]]) -> Built:
    """Run a build to its end, with progress on standard error."""
    live = sys.stderr.isatty()
    last: Progress[Built] | None = None
    shown, stage = 0.0, ""
    for last in progress:
        now = time.monotonic()
        due = now - shown > (LIVE if live else LOGGED) or last.partial.stage != stage
        if due:
            shown, stage = now, last.partial.stage
            line = f"{last.fraction:4.0%}  {last.message}"
            sys.stderr.write(f"\r\x1b[K{line}" if live else f"{line}\n")
            sys.stderr.flush()
    if live:
        sys.stderr.write("\n")
    if last is None:
        raise MMHError("The build yielded nothing. Report this with the command you ran.")
    return last.partial
