"""Read one network that is named beside a model: what training left, or another autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmh_core.records import MMHError
from mmh_core.text_to_image import single_file
from mmh_core.text_to_image.assembly import ModelPart
from mmh_core.text_to_image.folder import (
    check_config,
    checked_shapes,
    part_tensors,
)
from mmh_core.text_to_image.places import missing
from mmh_core.text_to_image.weight_files import WeightFiles, find_weights
from mmh_core.text_to_image.weights import counted, digest, joint_digest, read_json

_UNETS = ("unet", "unet_ema", "ema_unet")
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def given_network(path: Path, base: Mapping[str, Any]) -> tuple[ModelPart, str, str, str]:
    """Return a denoising network, its digest, a label, and a note or "". Errors: MMHError.

    `path` is its folder, the checkpoint of a training that holds one, or its file; without a
    configuration of its own it has that of the model it belongs to, `base`.
    """
    if path.is_file():
        config, tensors, whole = single_file.read_network(path)
        part = whole or ModelPart(config or base, tensors, path)
        return part, digest(path), path.stem, ""
    folder = _network_folder(path)
    files = _weights(folder)
    shapes, note = checked_shapes("unet", files)
    config_file = folder / "config.json"
    label = f"{folder.parent.name}/{folder.name}"
    own_config = read_json(config_file) if config_file.is_file() else base
    config = check_config("unet", own_config, shapes, config_file, label)
    return (
        ModelPart(config, part_tensors("unet", files), files.files[0]),
        _digest(files),
        label,
        note,
    )


def given_autoencoder(path: Path) -> tuple[ModelPart, str, str]:
    """Return an autoencoder from its folder or file, its digest and a label. Errors: MMHError."""
    if path.is_file():
        return single_file.read_autoencoder(path), digest(path), path.stem
    folder = path / "vae" if (path / "vae").is_dir() else path
    if not folder.is_dir():
        raise missing(str(path))
    files = _weights(folder)
    shapes, _ = checked_shapes("vae", files)
    config_file = folder / "config.json"
    config = check_config("vae", read_json(config_file), shapes, config_file, folder.name)
    part = ModelPart(config, part_tensors("vae", files), files.files[0])
    return part, _digest(files), f"{folder.resolve().parent.name}/{folder.name}"


def network_numbers(path: Path) -> dict[str, int]:
    """Return how many weights a denoising network has, from its headers. Errors: MMHError."""
    if path.is_file():
        from mmh_core.text_to_image.weights import parameter_count

        return {"unet": parameter_count(path)}
    return {"unet": counted(checked_shapes("unet", _weights(_network_folder(path)))[0])}


def _network_folder(path: Path) -> Path:
    """Return the folder of the one network in what training left; asks where there are two."""
    if not path.is_dir():
        raise missing(str(path))
    if (path / "config.json").is_file() or _has_weights(path):
        return path.resolve()
    networks = [path / name for name in _UNETS if (path / name).is_dir()]
    if len(networks) > 1:
        names = " or ".join(f"--unet {one}" for one in networks)
        raise MMHError(
            f"{path} holds {len(networks)} networks, the trained one and its average (EMA): name "
            f"one of them, {names}."
        )
    return (networks[0] if networks else path).resolve()


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _weights(folder: Path) -> WeightFiles:
    """Return the weight files of a part's folder under any of the usual names."""
    for stem in _STEMS:
        if any(folder.glob(f"{stem}*.safetensors*")):
            return find_weights(folder, stem)
    return find_weights(folder, _STEMS[0])


def _digest(files: WeightFiles) -> str:
    return joint_digest({path.name: digest(path) for path in files.files})
