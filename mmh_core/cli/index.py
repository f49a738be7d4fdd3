"""The command that builds an index from a folder of images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmh_core.cli.options import Column, EmbedderName, OutFolder
from mmh_core.cli.output import run_steps, write_json
from mmh_core.counting import agreeing, plural
from mmh_core.retrieval.image_names import printable_path

#: The exit status where an index is written and images of the folder are missing in it.
INCOMPLETE = 1


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of images; those below it count too.")],
    out: OutFolder,
    captions: Annotated[
        Path | None,
        typer.Option(help="Table with the columns file_name, text (or file, caption)."),
    ] = None,
    column: Column = "",
    embedder: EmbedderName = "pixels",
    allow_damaged: Annotated[
        bool,
        typer.Option(
            "--allow-damaged",
            "--skip-damaged",
            help="Exit with status 0 although images could not be indexed.",
        ),
    ] = False,
) -> None:
    """Build a search index from a folder of images with optional captions; print a summary.

    What is an image is decided by content. Every other file is counted and named: shortly on
    standard error, all of them under "skipped" here and in index.json. Without --captions those
    of metadata.csv (or .jsonl) in the folder count, or texts beside the images: a.txt of a.png.
    Rows without an image and images without a caption are counted. The exit status is 1 where
    an image could not be indexed; the index of the rest is written then, too.
    """
    from mmh_core.retrieval.captions import read_captions
    from mmh_core.retrieval.embedder_choice import load_embedder
    from mmh_core.retrieval.folder import summary, write_index
    from mmh_core.retrieval.index_files import check_place

    check_place(out)
    # Before the embedder is loaded, which takes its time.
    table = None if captions is None else read_captions(captions, column)
    indexed = run_steps(write_index(folder, out, load_embedder(embedder), captions=table))
    if indexed.index is None:
        raise ValueError(f"{folder} gave no index.")
    write_json(
        {
            "folder": printable_path(folder),
            "index": printable_path(out),
            "files": indexed.files,
            "images": len(indexed.index),
            "exact_copies": indexed.exact_copies,
            "outside_folder": indexed.outside,
            "captions": int((indexed.index.labels["caption"] != "").sum()),
            "captions_from": indexed.captions.record(),
            "skipped": [asdict(entry) for entry in indexed.left_out],
            "embedder": indexed.index.embedder,
            "preprocessing": indexed.index.preprocessing,
            "digest": indexed.index.digest,
            "dim": indexed.index.dim,
        },
        None,
    )
    typer.echo(summary(indexed), err=True)
    if sentence := indexed.captions.sentence():
        typer.echo(sentence, err=True)
    if indexed.lost and not allow_damaged:
        lost = plural(len(indexed.lost), "image")
        verb = agreeing(len(indexed.lost), "is", "are")
        typer.echo(
            f"Exit status {INCOMPLETE}: {lost} of the folder {verb} not in the index. Restore "
            "what is named above and run this again, or accept the gap with --allow-damaged.",
            err=True,
        )
        raise typer.Exit(INCOMPLETE)
