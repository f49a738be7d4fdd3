"""The command line: the same studies as in the browser, with JSON out.

Progress goes to standard error, results to standard output or to the file named. What a user can
mend ends with one sentence and exit status 2, never with a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from mmh_core.cli.audit import audit
from mmh_core.cli.benchmark import benchmark
from mmh_core.cli.documentation import docs
from mmh_core.cli.furnish import furnish
from mmh_core.cli.images import images
from mmh_core.cli.index import index
from mmh_core.cli.inputs import seed_numbers
from mmh_core.cli.mitigation import mitigate, mitigation_benchmark
from mmh_core.cli.options import PARTS_HELP, JsonFile, RunFile, Seed, Seeds
from mmh_core.cli.output import check_writable, run_steps, write_json
from mmh_core.cli.pocket import app as pocket
from mmh_core.cli.review import app as review
from mmh_core.cli.scan import TABLE_HELP, calibrate, scan
from mmh_core.cli.score import score
from mmh_core.cli.serving import open_app, user, with_options_kept
from mmh_core.cli.tables import benchmark_tables, manifold_summary
from mmh_core.cli.training import training_mitigation
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError

_WITH_MODEL = (images, audit, benchmark, calibrate, scan, score, mitigate, mitigation_benchmark)
_NAMES = {function.__name__.replace("_", "-") for function in _WITH_MODEL}
_PART_OPTIONS = ("--base", "--model", "--unet", "--vae")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Memorization in generative image models, seen through local intrinsic dimension.",
)
app.command("app", options_metavar="")(open_app)
for _command in _WITH_MODEL:
    _table = f"{TABLE_HELP} " if _command in (benchmark, calibrate, scan) else ""
    app.command(epilog=f"{_table}{PARTS_HELP}")(_command)
app.command()(index)
app.command()(user)
app.command()(docs)
pocket.command("training-mitigation")(training_mitigation)
# The old name of training-mitigation, kept for scripts.
pocket.command("cure", hidden=True)(training_mitigation)
pocket.command("furnish")(furnish)
app.add_typer(pocket, name="pocket")
app.add_typer(review, name="review")


@app.command()
def manifold(
    name: Annotated[str, typer.Argument(help="A manifold or preset, such as circle.")],
    points: Annotated[int | None, typer.Option(help="Distinct training points.")] = None,
    duplicates: Annotated[int | None, typer.Option(help="Exact copies to add.")] = None,
    width: Annotated[int | None, typer.Option(help="Hidden units.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training points, 256 to a training step.")
    ] = None,
    seed: Seed = 0,
    ambient_dim: Annotated[
        int | None, typer.Option(help="Embed isometrically into this many dimensions.")
    ] = None,
    out: RunFile = None,
    json_file: JsonFile = None,
) -> None:
    """Train a small diffusion model on a manifold and estimate its LID."""
    from dataclasses import replace

    from mmh_core.store.archive import save_record
    from mmh_core.studies.manifolds.config import checked, default_config
    from mmh_core.studies.manifolds.study import manifold_study

    check_writable(out, json_file)
    config = default_config(name, points=points, seed=seed)
    options: dict[str, Any] = {
        "duplicates": duplicates,
        "width": width,
        "epochs": epochs,
        "ambient_dim": ambient_dim,
    }
    chosen = {key: value for key, value in options.items() if value is not None}
    _one_thread()
    run = run_steps(manifold_study(checked(replace(config, **chosen))))
    if out is not None:
        save_record(out, run)
    write_json(manifold_summary(run), json_file)


@app.command("lid-benchmark")
def lid_benchmark(
    cases: Annotated[
        str | None,
        typer.Option(help="Cases to train and compare, separated by commas; all by default."),
    ] = None,
    seeds: Seeds = "0",
    steps: Annotated[int | None, typer.Option(help="Shorten every training to this.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Compare every LID estimator with closed forms and on trained networks; print the tables."""
    from mmh_core.studies.manifolds.lid_benchmark import CASES, lid_benchmark

    check_writable(json_file)
    names = tuple(CASES)
    if cases is not None:
        names = tuple(case.strip() for case in cases.split(",") if case.strip())
    numbers = seed_numbers(seeds)
    _one_thread()
    result = run_steps(lid_benchmark(names, seeds=numbers, steps=steps))
    typer.echo(benchmark_tables(result))
    if json_file is not None:
        write_json(result, json_file)


def _one_thread() -> None:
    """Use one thread inside operations: small networks lose time to more, and sums keep order."""
    import torch

    torch.set_num_threads(1)


def with_parts(arguments: Sequence[str]) -> list[str]:
    """Return the same with `--base`, `--unet` and `--vae` joined to the one option `--model`.

    Every command that takes a model takes these too: a network that training left, and another
    autoencoder, are named in the model's name, which results and reports repeat. Errors: MMHError.
    """
    words = [str(word) for word in arguments]
    if not words or words[0] not in _NAMES:
        return words
    end = words.index("--") if "--" in words else len(words)
    values: dict[str, str] = {}
    rest: list[str] = []
    left = words[:end]
    while left:
        option, equals, value = left.pop(0).partition("=")
        if option not in _PART_OPTIONS:
            rest.append(option + equals + value)
            continue
        if not (equals or left):
            raise MMHError(f"{option} needs a value: name a model, a folder or a file after it.")
        values[option] = value if equals else left.pop(0)
    if not values.keys() - {"--model"}:
        return words
    from mmh_core.text_to_image.model_names import ModelName

    model = values.get("--base", values.get("--model"))
    if "--base" in values and "--model" in values:
        raise MMHError("--base and --model both name the model: give one of them.")
    if model is None:
        raise MMHError(
            f"{next(iter(values))} names a part: name the model that it belongs to by --base "
            "MODEL."
        )
    name = ModelName(model, values.get("--unet", ""), values.get("--vae", ""))
    return [*rest, "--model", str(name), *words[end:]]


def main(arguments: list[str] | None = None, command: Callable[..., Any] = app) -> None:
    """Run the command line; errors that a user can mend become a sentence and exit status 2."""
    try:
        words = with_parts(sys.argv[1:] if arguments is None else arguments)
        if words == ["commands"]:
            words = ["--help"]
        command(with_options_kept(words), prog_name=PROGRAM)
    except (MMHError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None
    except MemoryError:
        typer.echo(
            "Error: There is not enough memory. Ask for fewer points or dimensions.", err=True
        )
        raise SystemExit(2) from None
