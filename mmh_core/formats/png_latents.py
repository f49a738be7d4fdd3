"""The latents of a generated image in its PNG file, in a private chunk of their own.

Pixels are rounded to 8 bits, and an autoencoder's encoder does not undo its decoder: LID at the
encoding of a file's pixels differs from LID at the latents that the image was decoded from. The
chunk `mmLT` holds the shape (C, h, w) as three little-endian uint16, then the float32 values. By
its name (ISO/IEC 15948, 5.4) a viewer may skip it, and an editor that changes pixels drops it.
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import torch
from torch import Tensor

from mmh_core.formats.png_chunks import png_chunks

CHUNK = b"mmLT"
#: Latents of 1,024 x 1,024 pixels with 16 channels are 1 MB.
MOST_BYTES = 2**22
_SHAPE = struct.Struct("<3H")


def packed_latents(latents: Tensor) -> bytes:
    """Return the content of the chunk for latents (C, h, w), which are stored as float32.

    Errors: ValueError for another number of axes, and for values that are not finite.
    """
    if latents.ndim != 3 or not bool(torch.isfinite(latents).all()):
        raise ValueError(f"latents must be finite (C, h, w), got {tuple(latents.shape)}.")
    return _SHAPE.pack(*latents.shape) + latents.float().numpy(force=True).astype("<f4").tobytes()


def png_latents(data: bytes) -> Tensor | None:
    """Return the latents (C, h, w) in a PNG's bytes; None without a chunk that is whole.

    Whether the pixels are still those of the latents is not looked at.
    """
    for chunk in png_chunks(data):
        if chunk.type != CHUNK or not chunk.complete or chunk.length > MOST_BYTES:
            continue
        content = data[chunk.start : chunk.start + chunk.length]
        (checksum,) = struct.unpack_from(">I", data, chunk.end - 4)
        if zlib.crc32(content, zlib.crc32(CHUNK)) == checksum:
            return _unpacked(content)
    return None


def _unpacked(content: bytes) -> Tensor | None:
    if len(content) < _SHAPE.size:
        return None
    shape = _SHAPE.unpack_from(content)
    if len(content) != _SHAPE.size + 4 * math.prod(shape) or not math.prod(shape):
        return None
    values = np.frombuffer(content, "<f4", offset=_SHAPE.size).astype(np.float32)
    latents = torch.from_numpy(values).reshape(shape)
    return latents if bool(torch.isfinite(latents).all()) else None
