"""Read pictures from files that nobody has checked."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmh_core.records import MMHError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 2**25  # 33 million, 400 MB as float32
MAX_BYTES = 2**27
MAX_RATIO = 40  # embedders enlarge the short edge and the long one with it
MAX_FILES = 2_000_000


def read_picture(source: Path | bytes) -> Tensor:
    """Read one picture as (3, H, W) float32 in [0, 1].

    PNG, JPEG, WebP, BMP or GIF, decided by content and never by name; of an animation the first
    frame. The orientation noted in EXIF is applied, transparency is laid on white, 16-bit grays
    are scaled to 8 bits, color profiles are ignored. The size stands in the header and is checked
    before anything is decoded.

    Raises MMHError, naming the file, for one that is missing, of another kind, truncated, damaged,
    or beyond MAX_BYTES, MAX_PIXELS or MAX_RATIO.
    """
    data, name = _bytes_and_name(source)
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        # Remarks on odd metadata help nobody here; a warning of a decompression bomb is an error.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.size, name)
                pixels = np.array(_rgb(image))
        except MMHError:
            raise
        except UnidentifiedImageError:
            raise MMHError(
                f"{name} is not a picture in one of the formats {', '.join(FORMATS)}: convert it "
                "to one of them or leave it out."
            ) from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise MMHError(_too_large(name)) from None
        # On damaged bytes decoders raise almost anything: OSError, SyntaxError, struct.error ...
        except Exception as error:
            raise MMHError(
                f"{name} is truncated or damaged ({error}): restore it from its source or leave "
                "it out."
            ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32).div(255)


def picture_files(folder: Path) -> tuple[Path, ...]:
    """List the pictures in a folder and the folders below it, by suffix, in the order of names.

    Names that start with a dot are left out. Links to folders are not followed, and a link to a
    file counts only where its target lies inside `folder` too. Raises MMHError where there is no
    such folder, where it cannot be read, or where it holds more than MAX_FILES pictures.
    """
    if not folder.is_dir():
        raise MMHError(f"There is no folder {folder}: name one that holds pictures.")
    root = folder.resolve()
    found = list[Path]()
    for place, below, names in os.walk(folder, onerror=_unreadable):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                continue
            found.append(path)
        if len(found) > MAX_FILES:
            raise MMHError(
                f"{folder} holds more than {MAX_FILES:,} pictures: index its subfolders singly."
            )
    return tuple(sorted(found, key=lambda path: path.relative_to(folder).as_posix()))


def _bytes_and_name(source: Path | bytes) -> tuple[bytes, str]:
    """Return the content and what to call it; bounded, and never from a device or a pipe."""
    if isinstance(source, bytes):
        if len(source) > MAX_BYTES:
            raise MMHError(_too_large("The picture"))
        return source, "The picture"
    name = str(source)
    if not source.exists():
        raise MMHError(f"There is no file {name}: check the name.")
    if not source.is_file():
        raise MMHError(f"{name} is not a file: name a picture.")
    try:
        with source.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MMHError(
            f"{name} cannot be read ({error.strerror}): let this user read it or leave it out."
        ) from error
    if len(data) > MAX_BYTES:
        raise MMHError(_too_large(name))
    return data, name


def _check_size(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise MMHError(_too_large(name))
    if max(size) > MAX_RATIO * min(size):
        raise MMHError(
            f"{name} is more than {MAX_RATIO} times as long as wide: crop it or leave it out."
        )


def _too_large(name: str) -> str:
    return (
        f"{name} is larger than {MAX_PIXELS // 10**6} million pixels or "
        f"{MAX_BYTES // 2**20} MiB: make it smaller or leave it out."
    )


def _rgb(image: Image.Image) -> Image.Image:
    """Return an upright RGB picture, transparency on white."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # Pillow would clip 16-bit values at 255 instead of scaling them.
        levels = np.asarray(upright, dtype=np.uint32) / 257
        return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    colored = upright.convert("RGBA")
    white = Image.new("RGBA", colored.size, "white")
    return Image.alpha_composite(white, colored).convert("RGB")


def _unreadable(error: OSError) -> None:
    raise MMHError(
        f"{error.filename} cannot be read ({error.strerror}): let this user read it or choose "
        "another folder."
    ) from error
