"""Load Stable Diffusion 1 and 2: the conversion of diffusers' files into a TextToImage.

Nothing that a file says is run: weights are safetensors by content, no class is imported by a name
from a file, pipelines and components of other kinds are refused, and neither safety checker nor
feature extractor is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmh_core.installation import PROGRAM, is_installed
from mmh_core.records import MMHError
from mmh_core.text_to_image import single_file
from mmh_core.text_to_image.assembly import ModelPart, ModelParts, assemble
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.folder import (
    check_config,
    checked_shapes,
    open_folder,
    part_tensors,
    read_folder,
    replaced,
)
from mmh_core.text_to_image.hub import STEMS, cached_folder, fetch, is_hub_name
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.model_names import (
    HUB,
    INDEX,
    ModelName,
    cached,
    check_name,
    existing,
    missing,
    parse_model_name,
)
from mmh_core.text_to_image.weight_files import WeightFiles, find_weights
from mmh_core.text_to_image.weights import (
    counted,
    digest,
    joint_digest,
    read_json,
    tensor_shapes,
)

_TYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class CheckedModel:
    """A model whose files are read and checked, not yet built: `parts`, a device and a type."""

    parts: ModelParts
    device: torch.device
    dtype: torch.dtype

    def build(self) -> TextToImage:
        """Build the model; the first call imports the libraries. Errors: MMHError."""
        model = assemble(self.parts, self.device, self.dtype)
        return (
            single_file.settle_prediction(model) if self.parts.prediction_type_unknown else model
        )


def load(
    name_or_folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> TextToImage:
    """Load a model by its name in the catalogue or on the Hub, its folder or its single file.

    `mmh_core.text_to_image.model_names` tells the ways to name one. `dtype` is float32 on a CPU,
    and on a GPU bfloat16, or float16 where that is missing. A folder with a manifest is checked
    against it. Raises MMHError for whatever is missing, damaged, a pickle, of another kind or too
    large, with the next step.
    """
    return read(name_or_folder, device=device, dtype=dtype).build()


def read(
    name_or_folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> CheckedModel:
    """Read and check the files of a model without building it; no heavy library is imported.

    As `load`, which is this and `build`: what a bad file can cost is paid here, by its caller.
    """
    device = torch.device(device)
    dtype = dtype or default_type(device)
    if dtype not in _TYPES:
        raise ValueError(f"dtype must be one of {_TYPES}, got {dtype!r}.")
    model_name = parse_model_name(str(name_or_folder))
    path, name = locate(model_name.base)
    if path.is_file():
        parts = single_file.read_file(
            path, device, dtype, autoencoder_replaced=bool(model_name.vae)
        )
    else:
        parts = read_folder(path, name, device, dtype)
    return CheckedModel(_with_given(parts, model_name), device, dtype)


def _with_given(parts: ModelParts, model_name: ModelName) -> ModelParts:
    """Put the parts that are named beside the model in place of its own. Errors: MMHError."""
    for field, part, path in (
        ("autoencoder", "vae", model_name.vae),
        ("unet", "unet", model_name.unet),
    ):
        if path:
            given, sha256, label, note = given_part(part, existing(path), parts.unet.config)
            parts = replaced(parts, field, given, sha256, label)
            parts = replace(parts, notes=(*parts.notes, note) if note else parts.notes)
    return parts


def locate(source: str) -> tuple[Path, str]:
    """Return where a model lies, a folder or a file, and its name; downloads what `hub:` names.

    A folder's model_index.json stands for the folder. Errors: MMHError.
    """
    check_name(source)
    entry = CATALOGUE.get(source)
    if entry is not None and not entry.shipped:
        return fetch(entry.source, complete), entry.name
    if source.startswith(HUB):
        name = source.removeprefix(HUB)
        if not is_hub_name(name):
            raise MMHError(f"{source[:200]!r} names no model on the Hub: write {HUB}owner/model.")
        return fetch(name, complete), name
    path = existing(source if entry is None else entry.source)
    if path.is_file() and path.name == INDEX:
        path = path.parent
    if path.is_file():
        return path, path.stem
    if path.is_dir():
        snapshot = cached(path.resolve())
        if snapshot is not None:
            return snapshot
        return path, entry.name if entry is not None else path.resolve().name
    if entry is not None:
        raise MMHError(
            f"{path} is missing: install the program again."
            if is_installed()
            else f"{path} is missing: restore it from the repository, or build it with "
            f"`{PROGRAM} pocket build`."
        )
    if is_hub_name(source):
        # It may be a mistyped path: the Hub is asked only where a download was begun before.
        folder = cached_folder(source)
        if folder is not None:
            return fetch(source, complete), source
    raise missing(source)


def on_this_disk(source: str) -> bool:
    """Return whether a folder or a Hub name can be loaded without the internet."""
    if Path(source).is_dir():
        return True
    folder = cached_folder(source) if is_hub_name(source) else None
    return folder is not None and complete(folder)


def check_model(source: str) -> None:
    """Refuse what is no model that can be loaded, by names and headers alone. Errors: MMHError.

    Of what would have to be downloaded only the name is looked at.
    """
    base = parse_model_name(source).base
    check_name(base)
    entry = CATALOGUE.get(base)
    if entry is not None and not entry.shipped:
        return
    if base.startswith(HUB) and is_hub_name(base.removeprefix(HUB)):
        return
    parameter_counts(source)


def parameter_counts(source: str) -> dict[str, int]:
    """Return how many weights each network of a folder or a file has, from the files' headers.

    Errors: MMHError for what cannot be loaded, with what it is.
    """
    model_name = parse_model_name(source)
    path, name = locate(model_name.base)
    if path.is_file():
        counts = single_file.weight_counts(path, autoencoder_replaced=bool(model_name.vae))
    else:
        weights = open_folder(path, name)
        counts = {part: counted(checked_shapes(part, files)[0]) for part, files in weights.items()}
    return counts | (unet_parameter_count(existing(model_name.unet)) if model_name.unet else {})


def default_type(device: torch.device) -> torch.dtype:
    """Return the type that weights are loaded as by default."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def complete(folder: Path) -> bool:
    """Return whether a folder holds the index, all configurations and all weights."""
    configs = [folder / part / "config.json" for part in STEMS]
    if not all(path.exists() for path in [folder / INDEX, *configs]):
        return False
    try:
        weights = [find_weights(folder / part, stem) for part, stem in STEMS.items()]
    except MMHError:
        return False
    return all(path.exists() for part in weights for path in part.files)


_UNETS = ("unet", "unet_ema", "ema_unet")
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def given_part(part: str, path: Path, base: Mapping[str, Any]) -> tuple[ModelPart, str, str, str]:
    """Return a "unet" or a "vae", its digest, a label, and a note or "". Errors: MMHError.

    `path` is its folder, a folder that holds one, such as the checkpoint of a training, or its
    file. A network without a configuration of its own has that of the model it belongs to, `base`.
    """
    if path.is_file():
        unet = part == "unet"
        model_part = (
            single_file.read_network(path, base) if unet else single_file.read_autoencoder(path)
        )
        return model_part, digest(path), path.stem, ""
    folder = _part_folder(part, path)
    files = _weights(folder)
    shapes, note = checked_shapes(part, files)
    config_file = folder / "config.json"
    label = f"{folder.parent.name}/{folder.name}"
    own = base if part == "unet" and not config_file.is_file() else read_json(config_file)
    config = check_config(part, own, shapes, config_file, label)
    sha256 = joint_digest({file.name: digest(file) for file in files.files})
    return ModelPart(config, part_tensors(part, files), files.files[0]), sha256, label, note


def unet_parameter_count(path: Path) -> dict[str, int]:
    """Return how many weights a denoising network has, from its headers. Errors: MMHError."""
    if path.is_file():
        return {"unet": counted(tensor_shapes(path))}
    return {"unet": counted(checked_shapes("unet", _weights(_part_folder("unet", path)))[0])}


def _part_folder(part: str, path: Path) -> Path:
    """Return the folder of the one part in what training left; asks where there are two."""
    if not path.is_dir():
        raise missing(str(path))
    if (path / "config.json").is_file() or any(path.glob("*.safetensors")):
        return path.resolve()
    names = _UNETS if part == "unet" else (part,)
    networks = [path / name for name in names if (path / name).is_dir()]
    if len(networks) > 1:
        choices = " or ".join(f"--unet {network}" for network in networks)
        raise MMHError(
            f"{path} holds {len(networks)} networks, the trained one and its average (EMA): name "
            f"one of them, {choices}."
        )
    return (networks[0] if networks else path).resolve()


def _weights(folder: Path) -> WeightFiles:
    """Return the weight files of a part's folder under any of the usual names."""
    for stem in _STEMS:
        if any(folder.glob(f"{stem}*.safetensors*")):
            return find_weights(folder, stem)
    return find_weights(folder, _STEMS[0])
