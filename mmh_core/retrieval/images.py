"""Read images from files that nobody has checked."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.formats.untrusted import error_text
from mmh_core.records import MMHError
from mmh_core.retrieval.image_content import FORMATS, HEAD, content_of
from mmh_core.retrieval.image_decoding import decoded
from mmh_core.retrieval.image_names import printable_path

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "MAX_RATIO", "RefusedImage", "read_image"]

MAX_PIXELS = 200_000_000  # 800 MB while it is decoded
#: Twice Pillow's own bound, which its plugins for WebP and TIFF and for frames of GIF keep.
PLUGIN_PIXELS = 178_956_970
MAX_BYTES = 2**29
MAX_RATIO = 40  # embedders enlarge the short edge and the long one with it


class RefusedImage(MMHError):
    """The error for a file that is no image; `kind` is its noun, such as "damaged image"."""

    def __init__(self, sentence: str, kind: str = "damaged image") -> None:
        """Keep the sentence for the user and the kind."""
        super().__init__(sentence)
        self.kind = kind


def read_image(
    source: Path | bytes, *, most_pixels: int = MAX_PIXELS, most_bytes: int = MAX_BYTES
) -> Tensor:
    """Read one image as (3, H, W) float32 in [0, 1].

    PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF, decided by content and never by name; of an animation
    or of several pages the first. The orientation noted in EXIF is applied, transparency is laid
    on white, more than 8 bits are scaled to 8, color profiles and all other metadata are ignored.
    The size stands in the header and is checked before anything is decoded; what is larger than
    33 million pixels is reduced (`image_decoding.decoded`).

    Raises RefusedImage, an MMHError that names the file, for one that is missing, of another kind,
    truncated, damaged, or beyond `most_bytes`, `most_pixels` (WebP and TIFF: PLUGIN_PIXELS) or
    MAX_RATIO.
    """
    data, name = _bytes_and_name(source, most_bytes)
    content = content_of(data[:HEAD], "" if isinstance(source, bytes) else source.name)
    if not content.format:
        raise RefusedImage(f"{name} {content.reason}.", content.kind)
    from PIL import Image

    with warnings.catch_warnings():
        # Remarks on odd metadata help nobody here.
        warnings.simplefilter("ignore")
        try:
            pixels = decoded(
                data, content.format, lambda size: _check_size(size, name, most_pixels)
            )
        except MMHError:
            raise
        except Image.DecompressionBombError:
            raise RefusedImage(_too_large(name, PLUGIN_PIXELS), "too large image") from None
        # On damaged bytes decoders raise almost anything: OSError, SyntaxError, struct.error ...
        except Exception as error:
            raise RefusedImage(
                f"{name} is truncated or damaged ({error_text(error)}): restore it from its "
                "source or leave it out."
            ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32).div_(255)


def _bytes_and_name(source: Path | bytes, most: int) -> tuple[bytes, str]:
    """Return the content and what to call it; bounded, and never from a device or a pipe."""
    if isinstance(source, bytes):
        if len(source) > most:
            raise RefusedImage(_too_large("The image", size=most), "too large image")
        return source, "The image"
    name = printable_path(source)
    try:
        if not source.exists():
            raise RefusedImage(f"There is no file {name}: check the name.", "missing file")
        if not source.is_file():
            raise RefusedImage(f"{name} is not a file: name an image.", "special file")
        with source.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise RefusedImage(
            f"{name} cannot be read ({error_text(error)}): let this user read it or leave it out.",
            "unreadable file",
        ) from error
    if len(data) > most:
        raise RefusedImage(_too_large(name, size=most), "too large image")
    return data, name


def _check_size(size: tuple[int, int], name: str, most: int) -> None:
    if size[0] * size[1] > most:
        raise RefusedImage(_too_large(name, most), "too large image")
    if max(size) > MAX_RATIO * min(size):
        raise RefusedImage(
            f"{name} is more than {MAX_RATIO} times as long as wide: crop it or leave it out.",
            "too long image",
        )


def _too_large(name: str, pixels: int = MAX_PIXELS, size: int = MAX_BYTES) -> str:
    return (
        f"{name} is larger than {pixels // 10**6} million pixels or "
        f"{size // 2**20} MiB: make it smaller or leave it out."
    )
