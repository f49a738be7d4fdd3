"""Write an image as PNG together with how it was drawn and read, and get that back from a file.

What is known stands in one iTXt chunk of PNG (ISO/IEC 15948, 11.3.3.4) as compact JSON in UTF-8,
uncompressed. There is no date in it: equal images with equal numbers are equal bytes. The latents
stand in a chunk of their own (`mmh_core.formats.png_latents`).
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import cast, get_args

from torch import Tensor, uint8

from mmh_core.formats.png_chunks import png_chunks
from mmh_core.formats.png_latents import CHUNK, packed_latents
from mmh_core.formats.texts import check_text
from mmh_core.formats.untrusted import error_text, json_record, parse_json
from mmh_core.records import MMHError
from mmh_core.studies.images.run import ImageConfig, ImageResult, ImageRun, ImageVerdict
from mmh_core.studies.images.study import checked
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling, SchedulerName

KEYWORD = "manifold-memorization"
VERSION = 1
#: A prompt and a negative prompt of the longest allowed length fill 80 kB at most.
MOST_BYTES = 2**18
_LEVEL = 6
_LONGEST_NAME = 200
_AGAIN = "use the image as it was downloaded, or enter the settings by hand."


@dataclass(frozen=True)
class ImageMetadata:
    """The settings with which an image was generated, and its LID and verdict.

    `model` is the name by which the model is chosen, without the folders above it; the digests are
    SHA-256 in hexadecimal, of the weights and of the run's starting noise. `lid` and
    `lid_unconditional` are those of the default estimator at `log_delta`, with standard errors
    and the number of independent values behind these (None: unknown); `percentile` is from 0 to 1.
    NaN stands for what is not known. `missing` are sentences on what the run lacks.
    Errors: ValueError and MMHError for a value that no run of this app has.
    """

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    scheduler: str
    height: int
    width: int
    model: str
    sha256: str
    noise_sha256: str
    log_delta: float
    lid: float
    lid_error: float
    lid_unconditional: float
    lid_unconditional_error: float
    percentile: float
    verdict: str
    version: int = VERSION
    windows: int = 1
    missing: tuple[str, ...] = ()
    # Numbers of probes, by the names that files of earlier versions hold.
    lid_draws: int | None = None
    lid_unconditional_draws: int | None = None

    def __post_init__(self) -> None:
        """Check the range of every field."""
        if self.version != VERSION:
            raise MMHError(
                f"The settings in this image have format {self.version} and this app reads "
                f"format {VERSION}: open it with the version of the app that wrote it."
            )
        check_text(self.model, "name of the model")
        for name in ("sha256", "noise_sha256"):
            _require(re.fullmatch("[0-9a-f]{64}", getattr(self, name)) is not None, name)
        _require(0 < len(self.model) <= _LONGEST_NAME, "model")
        _require(self.verdict in get_args(ImageVerdict), "verdict")
        _require(math.isnan(self.percentile) or 0 <= self.percentile <= 1, "percentile")
        for name in ("lid_error", "lid_unconditional_error"):
            _require(not getattr(self, name) < 0, name)
        for probes in (self.lid_draws, self.lid_unconditional_draws):
            _require(probes is None or probes > 0, "number of probes")
        checked(settings_of(self))


def metadata_of(run: ImageRun, image: ImageResult) -> ImageMetadata:
    """Return what is written into the file of an image of this run."""
    config, lid = run.config, image.lid
    return ImageMetadata(
        prompt=image.prompt,
        negative=config.sampling.negative,
        seed=image.seed,
        steps=config.sampling.steps,
        guidance=float(config.sampling.guidance),
        scheduler=config.sampling.scheduler,
        height=config.sampling.height,
        width=config.sampling.width,
        model=run.model,
        sha256=run.sha256,
        noise_sha256=run.noise_sha256,
        log_delta=run.log_delta,
        lid=math.nan if lid is None else lid.conditional,
        lid_error=math.nan if lid is None else lid.conditional_error,
        lid_unconditional=math.nan if lid is None else lid.unconditional,
        lid_unconditional_error=math.nan if lid is None else lid.unconditional_error,
        percentile=math.nan if lid is None else lid.percentile,
        verdict=image.verdict,
        windows=config.sampling.windows,
        missing=run.missing,
        lid_draws=None if lid is None else lid.probes,
        lid_unconditional_draws=None if lid is None else lid.unconditional_probes,
    )


def settings_of(about: ImageMetadata) -> ImageConfig:
    """Return the config of a run that draws this image alone."""
    return ImageConfig(
        model=about.model,
        prompts=(about.prompt,),
        seeds=(about.seed,),
        sampling=Sampling(
            steps=about.steps,
            guidance=about.guidance,
            height=about.height,
            width=about.width,
            scheduler=cast(SchedulerName, about.scheduler),
            negative=about.negative,
            windows=about.windows,
        ),
    )


@dataclass(frozen=True)
class AuditBasis:
    """By what an image from a file is judged: a caption, a sampling, and where both are from.

    `sampling` is None, the model's own, where the file says none or is of another model.
    `sentence` is "" for an image that this app did not generate.
    """

    caption: str
    sampling: Sampling | None = None
    sentence: str = ""


def audit_basis(
    about: ImageMetadata | None, caption: str | None, model: TextToImage
) -> AuditBasis:
    """Return by what an image with these settings in its file is judged.

    A `caption` overrides the prompt in the file, "" too; None takes it from there.
    """
    if about is None:
        return AuditBasis(caption or "")
    used = about.prompt if caption is None else caption
    prompt = (
        f"the prompt in the file, {about.prompt!r}" if caption is None else "the caption given"
    )
    if about.sha256 != model.sha256:
        return AuditBasis(
            used,
            None,
            f"the image was generated by another model, {about.model}: it is judged by "
            f"{model.name} with {prompt}, so its figures are not those of its run.",
        )
    sampling = settings_of(about).sampling
    sentence = (
        f"generated by this model (seed {about.seed}, {sampling.words}), and judged with {prompt}."
    )
    return AuditBasis(used, sampling, sentence)


def png_bytes(image: Tensor, about: ImageMetadata | None, latents: Tensor | None = None) -> bytes:
    """Return an image, uint8 (3, H, W), as a PNG file; without `about` it holds pixels alone.

    `latents` (C, h, w) are those that it was decoded from: LID can be estimated there again.
    Errors: ValueError for another type or shape.
    """
    if image.dtype != uint8 or image.ndim != 3 or len(image) != 3:
        raise ValueError(f"image must be uint8 (3, H, W), got {image.dtype} {tuple(image.shape)}.")
    from PIL import Image, PngImagePlugin

    note = None
    if about is not None:
        note = PngImagePlugin.PngInfo()
        note.add_itxt(KEYWORD, _as_json(about))
        if latents is not None:
            note.add(CHUNK, packed_latents(latents))
    file = io.BytesIO()
    pixels = image.permute(1, 2, 0).numpy(force=True)
    Image.fromarray(pixels).save(file, "PNG", compress_level=_LEVEL, pnginfo=note)
    return file.getvalue()


def read_image_metadata(data: bytes) -> ImageMetadata | None:
    """Return how an image in a file's bytes was drawn, None where the file does not say.

    None for what is no PNG or holds no chunk of ours; the pixels are not looked at. Errors:
    MMHError for a chunk of ours that is damaged or holds what no run of this app has.
    """
    for content, whole in _texts(data):
        if not content.startswith(KEYWORD.encode() + b"\0"):
            continue
        if not whole:
            raise MMHError(f"The settings in this image are damaged: {_AGAIN}")
        return _from_json(_text_of(content))
    return None


def _texts(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the content of iTXt chunks and whether it is all there, its checksum included.

    Content beyond what a chunk of ours may hold is not copied; chunks end at the first impossible
    length.
    """
    for chunk in png_chunks(data):
        if chunk.type != b"iTXt":
            continue
        content = data[chunk.start : chunk.start + min(chunk.length, MOST_BYTES)]
        whole = chunk.length <= MOST_BYTES and chunk.complete
        if whole:
            (checksum,) = struct.unpack_from(">I", data, chunk.end - 4)
            whole = zlib.crc32(content, zlib.crc32(chunk.type)) == checksum
        yield content, whole


def _text_of(content: bytes) -> str:
    """Return the text of an iTXt chunk: keyword, 0, flag, method, language, 0, title, 0, text."""
    rest = content[len(KEYWORD) + 1 :]
    ends = rest.find(b"\0", 2)
    title = rest.find(b"\0", ends + 1)
    # 1 stands for compressed text, which this app does not write and which may hide any length.
    if len(rest) < 4 or rest[0] != 0 or ends < 0 or title < 0:
        raise MMHError(f"The settings in this image are written in another way: {_AGAIN}")
    try:
        return rest[title + 1 :].decode("utf-8")
    except UnicodeDecodeError:
        raise MMHError(f"The settings in this image are no text: {_AGAIN}") from None


def _as_json(about: ImageMetadata) -> str:
    values = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(about).items()
    }
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _from_json(text: str) -> ImageMetadata:
    """Return the record of a text in which null stands for NaN."""
    try:
        values = parse_json(text)
        if not isinstance(values, dict) or "version" not in values:
            raise ValueError("they are not complete")
        unknown = [field.name for field in fields(ImageMetadata) if field.type == "float"]
        values |= {name: math.nan for name in unknown if values.get(name, 0) is None}
        return json_record(ImageMetadata, values)
    except ValueError as error:
        raise MMHError(
            f"The settings in this image cannot be read ({error_text(error)}): {_AGAIN}"
        ) from error


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"an impossible {name!r}")
