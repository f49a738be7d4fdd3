"""The command `images`: generated images with their copies, LID and verdicts, and a report."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmh_core.cli.inputs import index_of, load_subject, seed_numbers
from mmh_core.cli.options import (
    CalibrationFile,
    DeviceName,
    EmbedderName,
    IndexFolder,
    IndexImages,
    KeepFile,
    ModelName,
    OutFolder,
    Seeds,
    Windows,
)
from mmh_core.cli.output import check_writable, run_steps, warn

if TYPE_CHECKING:
    from mmh_core.studies.images.run import ImageConfig, ImageRun
    from mmh_core.subject.copies import ImageCopyEvidence
    from mmh_core.text_to_image.model import TextToImage


def images(
    prompt: Annotated[list[str], typer.Option(help="Prompt to generate images of.")],
    out: OutFolder,
    model: ModelName = "pocket-sd",
    seeds: Seeds = "0,1,2,3",
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 or less is no guidance.")
    ] = None,
    scheduler: Annotated[str, typer.Option(help="ddim, euler, dpm++ 2m or pndm.")] = "ddim",
    height: Annotated[int | None, typer.Option(help="Height in pixels.")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels.")] = None,
    negative: Annotated[
        str, typer.Option(help="Negative prompt: what the image should not contain.")
    ] = "",
    windows: Windows = 1,
    estimators: Annotated[
        str, typer.Option(help="Further LID estimators, separated by commas.")
    ] = "",
    curve: Annotated[bool, typer.Option(help="Estimate LID over the noise scales too.")] = True,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    calibration: CalibrationFile = None,
    keep: KeepFile = None,
    device: DeviceName = "auto",
) -> None:
    """Generate images of prompts; write images, figures and a report; print a table.

    --prompt may be given repeatedly.

    Steps, guidance and size are the model's own unless given. The shipped model is compared with
    its training set, any other one with an index. The same command gives the same bytes on one
    machine.
    """
    from mmh_core.report import image_command, run_files
    from mmh_core.report.folder import check_folder, write_folder
    from mmh_core.store.archive import save_record
    from mmh_core.studies.detection.prompt_scan import scanned
    from mmh_core.studies.images.run import ImageConfig
    from mmh_core.studies.images.study import checked, image_study

    check_folder(out)
    check_writable(keep)
    options: dict[str, Any] = {
        "prompts": tuple(prompt),
        "seeds": seed_numbers(seeds),
        "steps": steps,
        "guidance": guidance,
        "scheduler": scheduler,
        "height": height,
        "width": width,
        "negative": negative,
        "windows": windows,
        "estimators": _names(estimators),
        "curve": curve,
    }
    # Now with placeholders for what the model recommends, so that a wrong option fails before the
    # model is loaded, which takes its time; the study checks again.
    checked(_config(model, options, None))
    indexed = index_of(index, index_images, embedder)
    subject = load_subject(model, device, index=indexed, calibration=calibration)
    config = checked(_config(model, options, subject.model))
    if keep is not None:
        # Only the app shows the denoising trajectory, so only a kept run stores its frames.
        config = replace(config, frames=ImageConfig.frames)
    run = run_steps(
        scanned(image_study(config, subject), subject.model, subject.calibration.early)
    )
    if keep is not None:
        save_record(keep, run)
    write_folder(
        out,
        run_files(run, image_command(run.config, () if indexed is None else indexed.arguments())),
    )
    typer.echo(image_table(run))
    warn(run.missing)
    typer.echo(f"\nImages, run.json, images.csv and report.html are in {out}.")


def image_table(run: ImageRun) -> str:
    """Return one line per image: LID, its percentile, nearest image, verdict."""
    from mmh_core.memorization.hypothesis import shown_lid
    from mmh_core.studies.detection.prompt_scan import scan_words

    heads = ["image", "seed", "LID +- standard error", "probes", "LID percentile"]
    heads += ["nearest training image", "similarity", "verdict"]
    rows = [heads]
    for image in run.images:
        lid, copy = image.lid, image.copy
        value = ""
        if lid is not None:
            value = f"{shown_lid(lid.conditional):.1f} +- {lid.conditional_error:.1f}"
        has_percentile = lid is not None and lid.percentile == lid.percentile
        share = f"{100 * lid.percentile:.1f} %" if lid is not None and has_percentile else ""
        nearest = ["", ""] if copy is None else _nearest(copy)
        probes = "" if lid is None or lid.probes is None else str(lid.probes)
        figures = [f"{image.index:03d}", str(image.seed), value, probes, share]
        rows.append([*figures, *nearest, image.verdict])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    for prompt, unread in zip(run.config.prompts, run.unread(), strict=True):
        lines += [f"{prompt!r}: {unread}"] if unread else []
    for prompt, scan in zip(run.config.prompts, run.scans, strict=False):
        lines.append(scan_words(scan, copies=run.copies_of(prompt)))
    return "\n".join(line.rstrip() for line in lines)


def _nearest(copy: ImageCopyEvidence) -> list[str]:
    """Return the nearest training image by id and file, its similarity and the threshold."""
    if copy.nearest < 0:
        return ["", ""]
    limit = "" if math.isnan(copy.threshold) else f" (copy threshold {copy.threshold:.3f})"
    return [copy.display_name, f"{copy.similarity:.3f}{limit}"]


def _config(model: str, values: dict[str, Any], loaded: TextToImage | None) -> ImageConfig:
    """Return the config; what is not given is what the model recommends.

    Before it is loaded (None), small placeholders stand for that.
    """
    from mmh_core.studies.images.run import ImageConfig, default_config
    from mmh_core.text_to_image.requests import Sampling

    options = {key: value for key, value in values.items() if value is not None}
    if loaded is None:
        base = ImageConfig(model, ("",), (0,), Sampling(1, 1.0, 8, 8), frames=0)
    else:
        base = replace(default_config(loaded, model, ""), frames=0)
    names = {field.name for field in fields(Sampling)}
    sampling = replace(base.sampling, **{k: v for k, v in options.items() if k in names})
    return replace(base, sampling=sampling, **{k: v for k, v in options.items() if k not in names})


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
