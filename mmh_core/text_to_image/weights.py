"""Weight files: known by their content, never unpickled, checked against their digests.

A file is accepted because its bytes are safetensors, whatever its name says. Digests are SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from mmh_core.files import sha256_of, write_text
from mmh_core.records import MMHError
from mmh_core.text_to_image.weight_file_kinds import Shapes, identify_bytes

MANIFEST = "manifest.json"
# What the networks compute on, beside the weights: a quarter is measured generously.
_HEADROOM = 1.25
_LONGEST_JSON = 2**24
_LONGEST_HEADER = 10**8


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; MMHError when it is missing or damaged."""
    try:
        if path.stat().st_size > _LONGEST_JSON:
            raise ValueError("too long")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError, RecursionError) as error:
        raise MMHError(
            f"{path} is damaged or cannot be read ({error}): copy or download this file again."
        ) from error
    return content


def _missing(path: Path) -> MMHError:
    if path.is_symlink():
        return MMHError(
            f"{path} is a link to a file that is not there, as a download that stopped or a cache "
            "that was cleaned leaves it: download this model again with `hf download`."
        )
    return MMHError(f"{path} is missing: copy or download this file too, or choose another model.")


def check_safetensors(path: Path) -> None:
    """Refuse a file whose bytes are not whole safetensors, saying what they are."""
    try:
        kind = identify_bytes(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise MMHError(
            f"{path} cannot be read ({error.strerror}): choose a file that this user may read."
        ) from error
    if kind is not None:
        raise MMHError(f"{path} is {kind}: {kind.step}.")
    if size == 0 or not start.strip(b"\0"):
        raise MMHError(
            f"{path} is damaged: it is empty, as a download that stopped leaves it. Download or "
            "copy it again."
        )
    _check_length(path, size)
    tensor_shapes(path)


def _check_length(path: Path, size: int) -> None:
    """Refuse a file that ends before its header says, with both lengths."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LONGEST_HEADER or file.read(1) != b"{":
            return
        if length + 8 <= size:
            file.seek(8)
            try:
                header = json.loads(file.read(length))
                ends = [x["data_offsets"][1] for n, x in header.items() if n != "__metadata__"]
                whole = 8 + length + max(ends, default=0)
            except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError):
                return
        else:
            whole = 8 + length
    if size < whole:
        raise MMHError(
            f"{path} is damaged: it holds {size:,} of at least {whole:,} bytes, so a download or "
            "copy stopped. Download or copy it again."
        )


def counted(shapes: Shapes) -> int:
    """Return how many numbers tensors of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())


def read_metadata(path: Path) -> dict[str, str]:
    """Return the free text that a safetensors file carries about itself, often none."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def tensor_shapes(path: Path, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor whose name starts with `prefix`, from the header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise MMHError(
            f"{path} is not a safetensors file, or a damaged one ({error}): copy or download it "
            "again."
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU, mapped from the file until copied."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_safetensors(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise MMHError(f"{path} is damaged ({error}): copy or download it again.") from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise MMHError(
            f"{path} is missing or cannot be read ({error.strerror}): copy or download the model "
            "again."
        ) from error


def joint_digest(digests: Mapping[str, str]) -> str:
    """Return one digest for several files: SHA-256 of what `sha256sum` prints for them, sorted."""
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def check_manifest(folder: Path, needed: Iterable[str]) -> dict[str, str]:
    """Compare a folder with its manifest, and return the digest of each file it lists.

    `manifest.json` is `{"files": {"unet/config.json": "<sha256>", ...}}`, with paths below the
    folder. Every file it lists is compared, and it has to list every needed one, or what is read
    would not be covered. Without a manifest the answer is empty. Raises MMHError for any
    difference.
    """
    if not (folder / MANIFEST).exists():
        return {}
    listed = read_json(folder / MANIFEST).get("files")
    if not isinstance(listed, dict) or not all(_inside(name) for name in listed):
        raise MMHError(
            f"{folder / MANIFEST} does not list files with their SHA-256: copy or download the "
            "model again."
        )
    for name in needed:
        if name not in listed:
            raise MMHError(
                f"{folder / name} is not listed in {MANIFEST}, so it cannot be checked: copy or "
                "download the model again."
            )
    for name, expected in listed.items():
        if digest(folder / name) != expected:
            raise MMHError(
                f"{folder / name} is not the file that {MANIFEST} lists (its SHA-256 differs): "
                "copy or download the model again."
            )
    return dict(listed)


def update_manifest(path: Path) -> None:
    """Replace the digest of a file in the manifest beside it, where that lists the file."""
    manifest = path.with_name(MANIFEST)
    content = read_json(manifest) if manifest.is_file() else {}
    listed = content.get("files")
    if isinstance(listed, dict) and path.name in listed:
        content["files"] = {**listed, path.name: digest(path)}
        write_text(manifest, json.dumps(content, indent=1) + "\n")


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def needed_memory(parameters: int, dtype: torch.dtype) -> float:
    """Return the bytes that a model takes: its weights and a quarter more for computing."""
    return _HEADROOM * parameters * dtype.itemsize


def check_memory(parameters: int, dtype: torch.dtype, device: torch.device, name: str) -> None:
    """Refuse a model that would not fit into what is free on the device.

    Where the system does not tell what is free, nothing is refused.
    """
    need = needed_memory(parameters, dtype)
    free = free_memory(device)
    if free is not None and need > free:
        raise MMHError(
            f"{name} needs about {need / 1e9:.1f} GB of memory on {device} and "
            f"{free / 1e9:.1f} GB are free: close other programs, or choose a smaller model or "
            "another device."
        )


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free on a device, None where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None
