"""The command that audits images of any origin: their copies, LID and verdict, as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmh_core.cli.inputs import index_of, load_subject
from mmh_core.cli.options import (
    CalibrationFile,
    DeviceName,
    EmbedderName,
    IndexFolder,
    IndexImages,
    JsonFile,
    ModelName,
)
from mmh_core.cli.output import check_writable, run_steps, write_json
from mmh_core.counting import plural
from mmh_core.records import MMHError

if TYPE_CHECKING:
    from mmh_core.report.image_files import AuditBasis, ImageMetadata
    from mmh_core.studies.images.run import ImageResult
    from mmh_core.subject.subject import Subject

_NONE = "None of these files is an image that can be audited: name others."


def audit(
    image: Annotated[
        list[Path],
        typer.Argument(help="Images of any origin, or folders of them.", show_default=False),
    ],
    caption: Annotated[
        str | None,
        typer.Option(
            help="A caption for the LID estimate; an image of this app has its prompt in its file."
        ),
    ] = None,
    model: ModelName = "pocket-sd",
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    calibration: CalibrationFile = None,
    device: DeviceName = "auto",
    json_file: JsonFile = None,
) -> None:
    """Search images among the training images and estimate their LID; print JSON.

    An image that this app generated carries its settings, which are printed under "settings" (null
    for other images). Its prompt is then the caption, unless --caption gives another ("" for
    none), and its LID is compared with reference prompts at the same sampling. Of several images,
    or a folder, the JSON lists "images", without LID over the noise scales, and "left_out": files
    that are no image, each with its reason.
    """
    from mmh_core.retrieval.images import read_image
    from mmh_core.text_to_image.requests import check_prompt

    check_writable(json_file)
    if caption is not None and caption.strip():
        check_prompt(caption)
    single = len(image) == 1 and not image[0].is_dir()
    if single:
        read_image(image[0])  # What is wrong with the file is said before a model is loaded.
    files, left_out = _files([] if single else image)
    if not files and not single:
        raise MMHError(_NONE)
    indexed = index_of(index, index_images, embedder)
    subject = load_subject(model, device, index=indexed, calibration=calibration)
    if single:
        _audit_one(image[0], caption, subject, json_file)
    else:
        _audit_several(files, left_out, caption, subject, json_file)


def _audit_one(path: Path, caption: str | None, subject: Subject, json_file: Path | None) -> None:
    """Audit one image and write its figures."""
    from mmh_core.studies.images.audit import audit_study

    read, basis = _basis(path, caption, subject)
    if basis.sentence:
        typer.echo(f"Note: {basis.sentence}", err=True)
    result = run_steps(audit_study(read.data, basis.caption, subject, basis.sampling))
    summary = _summary(result, read.about, caption)
    write_json({"file": path.name} | _about(subject) | summary, json_file)


def _audit_several(
    files: Sequence[tuple[str, Path]],
    left_out: Sequence[tuple[str, str]],
    caption: str | None,
    subject: Subject,
    json_file: Path | None,
) -> None:
    """Audit images by their names, write the figures of each and `left_out`, what was no image.

    Errors: MMHError, once all is written, where none could be audited.
    """
    from mmh_core.studies.images.audit_batch import AuditInput, audit_batch

    abouts: dict[str, ImageMetadata | None] = {}

    def reader(name: str, path: Path) -> Callable[[], AuditInput]:
        def read() -> AuditInput:
            file, basis = _basis(path, caption, subject)
            abouts[name] = file.about
            return AuditInput(file.data, basis.caption, basis.sampling)

        return read

    batch = run_steps(audit_batch([(name, reader(name, path)) for name, path in files], subject))
    images = [
        {"file": name} | _summary(result, abouts[name], caption)
        for name, result in zip(batch.names, batch.results, strict=True)
    ]
    left_out = [*left_out, *batch.left_out]
    listed = [{"file": name, "reason": reason} for name, reason in left_out]
    write_json(_about(subject) | {"images": images, "left_out": listed}, json_file)
    counts = Counter(result.verdict for result in batch.results)
    words = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
    audited = plural(len(images), "image is", "images are")
    left = plural(len(left_out), "file is", "files are")
    typer.echo(f"{audited} audited ({words or 'no verdict'}); {left} left out.", err=True)
    if not images:
        raise MMHError(_NONE)


def _about(subject: Subject) -> dict[str, Any]:
    return {"model": subject.model.name, "model_sha256": subject.model.sha256}


@dataclass(frozen=True)
class _ReadFile:
    """The bytes of an image, and the settings in them, None for an image of other origin."""

    data: bytes
    about: ImageMetadata | None


def _files(named: Sequence[Path]) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """Return the images of files and folders, and what in the folders is no image, with why.

    One folder's images bear their names below it, several files and folders their whole paths:
    two folders may hold files of one name.
    """
    from mmh_core.retrieval.folder_files import FolderFiles, folder_files
    from mmh_core.retrieval.image_names import escaped

    images: list[tuple[str, Path]] = []
    left_out: list[tuple[str, str]] = []
    for path in named:
        below = "" if len(named) == 1 else f"{escaped(str(path))}/"
        if not path.is_dir():
            images.append((below.removesuffix("/"), path))
            continue
        [*_, files] = folder_files(path)
        if isinstance(files, FolderFiles):
            images += [(f"{below}{name}", file) for name, file in files.images]
            left_out += [(f"{below}{entry.file}", entry.reason) for entry in files.left_out]
    return images, left_out


def _basis(path: Path, caption: str | None, subject: Subject) -> tuple[_ReadFile, AuditBasis]:
    """Return an image's file, and by what it is judged; damaged settings are named and unused."""
    from mmh_core.report.image_files import audit_basis, read_image_metadata
    from mmh_core.retrieval.images import MAX_BYTES, read_image

    read_image(path)
    with path.open("rb") as file:
        data = file.read(MAX_BYTES)
    try:
        about = read_image_metadata(data)
    except MMHError as error:
        typer.echo(f"Warning: {error}", err=True)
        about = None
    return _ReadFile(data, about), audit_basis(about, caption, subject.model)


def _summary(
    result: ImageResult, about: ImageMetadata | None, caption: str | None
) -> dict[str, Any]:
    """Return the figures of an audit as JSON types; nothing was generated: no seed, no steps."""
    from mmh_core.report.summary import image_summary

    summary = image_summary(result)
    for name in ("image", "seed", "guidance_norm"):
        del summary[name]
    summary["caption"] = summary.pop("prompt")
    own = caption is None and about is not None
    summary["caption_source"] = "file" if own else None if caption is None else "option"
    return summary | {"settings": None if about is None else asdict(about)}
