"""The command line of the shipped model: build it, and check what it shows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mmh_core.cli.options import DeviceName, JsonFile, Seed, WorkFolder
from mmh_core.cli.output import check_writable, run_steps, run_to_end, write_json
from mmh_core.cli.pocket_second import (
    build_second,
    check_second_world,
    judge_second_pairs,
    pack_second_check,
    write_second_pairs,
)
from mmh_core.cli.tables import check_table
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError
from mmh_core.retrieval.image_names import printable_path
from mmh_core.subject.devices import device_of
from mmh_core.text_to_image.catalogue import CATALOGUE

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# Where it lies, wherever this is called.
_POCKET = Path(CATALOGUE["pocket-sd"].source)
_WORK = Path(".mmh/pocket-build")
#: Folder of the second world's build, in that of the first.
SECOND = "second"
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Time to take: stages of the first world are made to fit, of the second world the "
        "same command resumes."
    ),
]
WorldNumber = Annotated[
    int,
    typer.Option("--world", min=1, max=2, help="1: the shipped world; 2: the next one."),
]


@app.callback()
def pocket() -> None:
    """Build the shipped world and its Stable Diffusion."""


@app.command("build")
def build_command(
    device: DeviceName = "auto",
    minutes: Minutes = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Output folder.",
            show_default="assets/pocket-sd",
        ),
    ] = _POCKET,
    work: WorkFolder = _WORK,
    seed: Seed = 0,
    which: WorldNumber = 1,
    stage: Annotated[
        str | None,
        typer.Option(help="Of the second world: the one stage to run, else all in order."),
    ] = None,
) -> None:
    """Generate the training set, train all networks and write the model; resume if stopped.

    Of the second world the stages are run in the work folder, each until it is finished or, with
    --minutes, until the time is up.
    """
    from dataclasses import replace

    from mmh_core.cli.furnish import CALIBRATIONS, STAGES
    from mmh_core.cli.furnishing import Furnishing
    from mmh_core.cli.tables import plain
    from mmh_core.pocket.build import BuildConfig, build
    from mmh_core.pocket.check import check
    from mmh_core.pocket.furnish import add_to_card, card_of, furnish
    from mmh_core.pocket.plan import fitted_to
    from mmh_core.pocket.world import build_world
    from mmh_core.subject.calibration import image_calibration
    from mmh_core.text_to_image.folder import CARD

    if seed < 0:
        raise ValueError(f"seed must be a whole number from 0, got {seed}.")
    if which == 2:
        check_writable(work / SECOND / CARD)
        build_second(stage, work / SECOND, seed=seed, minutes=minutes, device=device)
        return
    if stage is not None:
        raise MMHError(
            "Stages are those of the second world: add --world 2, or leave --stage out."
        )
    # Before hours of work, and not after them.
    check_writable(out / CARD, work / CARD)
    torch_device = device_of(device)
    config = replace(BuildConfig(), seed=seed)
    if minutes is not None:
        config = fitted_to(minutes, config, torch_device, work)
    sys.stderr.write("Generating the training set\n")
    world = build_world(seed, share=config.share)
    built = run_steps(build(config, out, work, device=torch_device, world=world))
    run_to_end(furnish(out, world, card_of(config, built)))
    folder = out.resolve()
    for stage in CALIBRATIONS:
        STAGES[stage](Furnishing(folder.parent, work, device, folder.name))
    typer.echo(f"Built into {built.out}.")
    result = run_steps(check(out, image_calibration(out), device=torch_device))
    add_to_card(out, {"figures": plain(result.rows)})
    typer.echo(f"{check_table(result)}\n\n{_SEARCHED}")


@app.command("check")
def check_command(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the model.", show_default="assets/pocket-sd")
    ] = _POCKET,
    device: DeviceName = "auto",
    json_file: JsonFile = None,
    which: WorldNumber = 1,
    work: WorkFolder = _WORK,
    minutes: Minutes = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Of the second world: write pairs to compare by eye, and stop."
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Of the second world: compare the answers to the pairs, and stop."
        ),
    ] = None,
    packed: Annotated[
        Path | None,
        typer.Option(
            metavar="ZIP",
            help="Of the second world: write what is measured by now into one file, and stop.",
        ),
    ] = None,
) -> None:
    """Measure what the model must show and print it beside the bars; exit 1 when a bar is missed.

    Of the second world, what is not built in the work folder, or not all measured, counts as
    short; what is measured is kept there, so that a stopped check resumes.
    """
    from mmh_core.pocket.check import check
    from mmh_core.subject.calibration import image_calibration

    check_writable(json_file, packed)
    if which == 2:
        if packed is not None:
            pack_second_check(work / SECOND, packed, device=device)
        elif pairs is not None:
            write_second_pairs(work / SECOND, pairs, device=device)
        elif answers is not None:
            judge_second_pairs(work / SECOND, answers)
        else:
            check_second_world(work / SECOND, device=device, json_file=json_file, minutes=minutes)
        return
    if any(each is not None for each in (minutes, pairs, answers, packed)):
        raise MMHError(
            "--minutes, --pairs, --answers and --packed are of the second world: add --world 2, "
            "or leave them out."
        )
    if not (folder / "world.json").is_file():
        problem = "holds no shipped model" if folder.is_dir() else "is no folder"
        raise MMHError(
            f"{printable_path(folder)} {problem}: name the folder that `{PROGRAM} pocket build` "
            "wrote, or leave it out for the one that comes with this program."
        )
    chosen = image_calibration(folder)
    result = run_steps(check(folder, chosen, device=device_of(device)))
    typer.echo(f"{check_table(result)}\n\n{_SEARCHED}")
    if json_file is not None:
        write_json({"figures": result.rows}, json_file)
    if result.short:
        raise SystemExit(1)


#: What the counts of a check are counts of.
_SEARCHED = (
    "Copies are counted by similarity and pixels of the images as they are; mirrored, turned, "
    "cropped and recolored copies, for which the pages search as well, are not counted here."
)
