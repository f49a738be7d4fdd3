"""The options that several commands take: one name, one wording, one home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmh_core.installation import PROGRAM

#: How a model is named by its parts; `cli.with_parts` joins them to its name.
PARTS_HELP = (
    "In place of --model: --base MODEL with --unet FOLDER, the network that training left, or "
    "with --vae FILE, another autoencoder, or with both."
)
KEEP = "Keep the whole run in this file, as the app opens it."

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="A name of the catalogue, a folder, a safetensors file or hub:owner/name; its parts "
        "can be named below.",
    ),
]
DeviceName = Annotated[
    str,
    typer.Option("--device", help="Where to compute: cpu, cuda or auto, a GPU if there is one."),
]
Seeds = Annotated[str, typer.Option("--seeds", help="Seeds, separated by commas.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write all numbers as JSON to this file."),
]
KeepFile = Annotated[Path | None, typer.Option("--keep", metavar="FILE", help=KEEP)]
#: Of commands that leave nothing but the run.
RunFile = Annotated[Path | None, typer.Option("--out", "--keep", metavar="FILE", help=KEEP)]
OutFolder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Output folder.")]
CaseFile = Annotated[
    Path, typer.Option("--out", metavar="ZIP", help="Write the case to this zip file.")
]
WorkFolder = Annotated[
    Path,
    typer.Option(
        "--work",
        metavar="FOLDER",
        help="Folder of finished parts, so that a stopped command can be resumed.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Use the finished parts in the work folder again.")
]
Column = Annotated[
    str,
    typer.Option(
        "--column",
        help="The column with the prompts or captions, where its name does not say it.",
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        help=f"Calibration that `{PROGRAM} calibrate` wrote, in place of the model's own.",
    ),
]
CalibrationOut = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="CALIBRATION",
        help="Write to this file, such as calibration.safetensors; its other parts stay.",
    ),
]
FalsePositiveRate = Annotated[
    float,
    typer.Option("--fpr", "--share", help="False-positive rate on reference prompts, 0 to 1."),
]
EmbedderName = Annotated[
    str,
    typer.Option(
        "--embedder",
        help="Of an index: pixels, pocket, clip:FOLDER, dinov2:FOLDER or sscd:FILE.",
    ),
]
IndexFolder = Annotated[
    Path | None,
    typer.Option(
        "--index", metavar="FOLDER", help=f"Search this index that `{PROGRAM} index` built."
    ),
]
LabelledTable = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        help="Table with the columns prompt and label (memorized or reference, or the "
        "published types MV, RV, TV, N, VM, TM), group where there is one, and copies, how often "
        "each image of the prompt stands in the training set, where that is known.",
    ),
]
ReferenceTable = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="Table of reference prompts without labels, where --prompts holds memorized ones "
        "alone.",
    ),
]
IndexImages = Annotated[
    Path | None,
    typer.Option(
        "--index-images", metavar="FOLDER", help="The folder that the index was built from."
    ),
]
Windows = Annotated[
    int,
    typer.Option(
        "--windows",
        help="Number of context windows in which the text encoder reads a long prompt.",
    ),
]
