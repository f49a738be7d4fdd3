"""Load Stable Diffusion 1 and 2: the adapter from diffusers' files to a TextToImage.

Nothing that a file says is run: weights are safetensors by content, no class is imported by a name
from a file, pipelines and components of other kinds are refused, and neither safety checker nor
feature extractor is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmh_core.records import MMHError
from mmh_core.text_to_image import single_file
from mmh_core.text_to_image.assembly import (
    Part,
    Parts,
    assemble,
    not_stable_diffusion,
    recommended,
)
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.hub import fetch, is_hub_name, is_local
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.weights import (
    check_manifest,
    check_memory,
    check_safetensors,
    digest,
    find_weights,
    joint_digest,
    parameter_count,
    read_json,
    read_tensors,
)

INDEX = "model_index.json"
CARD = "model_card.json"
_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
_COMPONENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "scheduler": ("diffusers", _SCHEDULERS),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
}
_WEIGHTS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}


def load(
    name_or_folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> TextToImage:
    """Load a model by its name in the catalogue or on the Hub, its folder or its single file.

    `dtype` is float32 on a CPU, and on a GPU bfloat16, or float16 where that is missing. A folder
    with a manifest is checked against it. Raises MMHError for whatever is missing, damaged, a
    pickle, of another kind or too large, with the next step.
    """
    device = torch.device(device)
    dtype = dtype or default_type(device)
    if dtype not in _TYPES:
        raise ValueError(f"dtype must be one of {_TYPES}, got {dtype!r}.")
    entry = CATALOGUE.get(str(name_or_folder))
    source = entry.source if entry else str(name_or_folder)
    path = Path(source)
    if path.is_file():
        return single_file.load(path, device, dtype)
    if path.is_dir():
        return _load_folder(path, entry.name if entry else path.resolve().name, device, dtype)
    if entry and entry.shipped:
        raise MMHError(
            f"{path} is missing: restore it from the repository, or build it with "
            "`python -m mmh_core pocket build`."
        )
    if not is_hub_name(source):
        raise MMHError(
            f"{path} does not exist: give a folder, a safetensors file, a name on the Hub such as "
            f"owner/model, or one of {', '.join(CATALOGUE)}."
        )
    folder = fetch(source, _complete)
    return _load_folder(folder, entry.name if entry else source, device, dtype)


def on_this_disk(source: str) -> bool:
    """Return whether a folder or a Hub name can be loaded without a network."""
    return Path(source).is_dir() or (is_hub_name(source) and is_local(source, _complete))


def folder_parameters(folder: Path) -> dict[str, int]:
    """Return how many weights each network of a folder has, from the headers of its files.

    Errors: MMHError for a folder of another kind, and for weights that are missing, pickled or
    damaged.
    """
    _check_index(read_json(folder / INDEX), folder.name)
    found = {part: find_weights(folder / part, stem) for part, stem in _WEIGHTS.items()}
    return {part: parameter_count(path) for part, path in found.items()}


def default_type(device: torch.device) -> torch.dtype:
    """Return the type that weights are loaded as unless told otherwise."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _complete(folder: Path) -> bool:
    """Tell whether a folder holds the index, all configurations and all weights."""
    configs = [folder / part / "config.json" for part in _WEIGHTS]
    return all(path.exists() for path in [folder / INDEX, *configs]) and all(
        (folder / part / f"{stem}.safetensors").exists() for part, stem in _WEIGHTS.items()
    )


def _load_folder(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> TextToImage:
    """Check the files of a diffusers folder, cheapest first, and build the model."""
    _check_index(read_json(folder / INDEX), name)
    weights = {part: find_weights(folder / part, stem) for part, stem in _WEIGHTS.items()}
    for path in weights.values():
        check_safetensors(path)
    check_memory(sum(map(parameter_count, weights.values())), dtype, device, name)
    configs = {part: folder / part / "config.json" for part in _WEIGHTS}
    configs["scheduler"] = folder / "scheduler" / "scheduler_config.json"
    tokenizer = sorted((folder / "tokenizer").glob("*"))
    read = [folder / INDEX, *configs.values(), *tokenizer, *weights.values()]
    checked = check_manifest(folder, [path.relative_to(folder).as_posix() for path in read])
    digests = {
        weight: checked.get(weight) or digest(folder / weight)
        for weight in (path.relative_to(folder).as_posix() for path in weights.values())
    }
    parts = {
        part: Part(read_json(configs[part]), read_tensors(path), path)
        for part, path in weights.items()
    }
    card = read_json(folder / CARD) if (folder / CARD).exists() else {}
    return assemble(
        Parts(
            name,
            joint_digest(digests),
            parts["unet"],
            parts["vae"],
            parts["text_encoder"],
            folder / "tokenizer",
            read_json(configs["scheduler"]),
            **recommended(card),
        ),
        device,
        dtype,
    )


def _check_index(index: Mapping[str, Any], name: str) -> None:
    """Refuse pipelines and components of other kinds, custom code above all."""
    pipeline = index.get("_class_name")
    if pipeline != "StableDiffusionPipeline":
        raise not_stable_diffusion(name, f"its pipeline is {pipeline!r:.80}")
    for part, (library, kinds) in _COMPONENTS.items():
        if index.get(part) not in [[library, kind] for kind in kinds]:
            raise not_stable_diffusion(name, f"its {part} is {index.get(part)!r:.80}")
    # An adapter for pictures as prompts would change what the network is.
    if index.get("image_encoder") not in (None, [None, None]):
        raise not_stable_diffusion(name, "it has an image encoder")
