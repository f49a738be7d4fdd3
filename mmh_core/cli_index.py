"""The command that builds an index from a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmh_core.cli_output import followed, write_json


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures; those below it count too.")],
    out: Annotated[Path, typer.Option(help="Folder to write the index to.")],
    captions: Annotated[
        Path | None, typer.Option(help="CSV or Parquet table with the columns file, caption.")
    ] = None,
    embedder: Annotated[
        str,
        typer.Option(help="pixels, pocket, clip:FOLDER, dinov2:FOLDER or sscd:FILE."),
    ] = "pixels",
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out what cannot be read, and list it.")
    ] = False,
) -> None:
    """Build a search index from a folder of pictures with optional captions; print a summary."""
    from mmh_core.retrieval.embedders import load_embedder
    from mmh_core.retrieval.folder import index_folder
    from mmh_core.retrieval.index_files import check_place, save_index

    check_place(out)
    chosen = load_embedder(embedder)
    found = followed(index_folder(folder, chosen, captions=captions, skip_damaged=skip_damaged))
    if found.index is None:
        raise ValueError(f"{folder} gave no index.")
    save_index(found.index, out)
    write_json(
        {
            "folder": str(folder),
            "index": str(out),
            "pictures": len(found.index),
            "exact_copies": found.exact_copies,
            "captions": int((found.index.labels["caption"] != "").sum()),
            "skipped": [{"file": file, "reason": reason} for file, reason in found.damaged],
            "embedder": found.index.embedder,
            "preprocessing": found.index.preprocessing,
            "digest": found.index.digest,
            "dim": found.index.dim,
        },
        None,
    )
