"""Describe images by CLIP or DINOv2, through transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import check_images, files_digest
from mmh_core.retrieval.weights import check_safetensors

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
SAFETENSORS_ADVICE = "use a version of the model in safetensors format."


@dataclass(frozen=True, eq=False)
class VisionEmbedder:
    """The embedder by one output of a transformers model, prepared by its own processor.

    The processor works on 8-bit images through Pillow, as the model's authors meant it: resize,
    center crop, colors. What the crop cuts off plays no part, and images get no gradient.
    """

    name: str
    model: nn.Module
    processor: Any
    output: Literal["image_embeds", "pooler_output"]
    dim: int
    digest: str

    @property
    def preprocessing(self) -> str:
        """Return in words what the processor does."""
        size = ", ".join(f"{key} {value}" for key, value in sorted(_sizes(self.processor.size)))
        crop = ", ".join(
            f"{key} {value}" for key, value in sorted(_sizes(self.processor.crop_size))
        )
        cropped = f", center crop {crop}" if self.processor.do_center_crop else ""
        return f"Pillow resize to {size}{cropped}, the model's own colors"

    def __call__(self, images: Tensor) -> Tensor:
        """Return descriptors (B, dim) on the device of the images."""
        check_images(images)
        bytes_last = images.detach().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
        arrays = list(bytes_last.numpy(force=True))
        prepared = self.processor(
            images=arrays, return_tensors="pt", input_data_format="channels_last"
        )
        first = next(self.model.parameters())
        with torch.no_grad():
            output = self.model(prepared["pixel_values"].to(first.device, first.dtype))
        features: Tensor = getattr(output, self.output)
        return F.normalize(features.to(images.device, torch.float32))


def clip_embedder(location: str | Path) -> VisionEmbedder:
    """Load CLIP's image half (Radford et al. 2021) from a folder or a name on the Hub.

    The descriptor is the projected one: it lies in the joint space of image and text embeddings.
    It says what an image is about; images that show the same are alike without being copies.
    """
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    folder = _folder(location)
    model = _model(CLIPVisionModelWithProjection, folder, "clip")
    processor = _processor(CLIPImageProcessorPil, folder)
    dim = int(model.visual_projection.out_features)
    return VisionEmbedder("clip", model, processor, "image_embeds", dim, _digest(folder))


def dinov2_embedder(location: str | Path) -> VisionEmbedder:
    """Load DINOv2 (Oquab et al. 2023) from a folder or a name on the Hub.

    The descriptor is the class token after the last normalization.
    """
    from transformers import BitImageProcessorPil, Dinov2Model

    folder = _folder(location)
    model = _model(Dinov2Model, folder, "dinov2")
    processor = _processor(BitImageProcessorPil, folder)
    dim = int(model.config.hidden_size)
    return VisionEmbedder("dinov2", model, processor, "pooler_output", dim, _digest(folder))


def _folder(location: str | Path) -> Path:
    """Return a local folder with a model, fetching it from the Hub where the place names one."""
    folder = Path(location)
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(str(location)):
        raise MMHError(f"There is no folder {location}: name one that holds the model.")
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(str(location), allow_patterns=["*.json", "*.safetensors"])
    # Offline, no such name, no permission: each is another exception of another library.
    except Exception as error:
        raise MMHError(
            f"There is no folder {location}, and the Hub did not give a model of this name "
            f"({type(error).__name__}): check name and network, or name a local folder."
        ) from error
    return Path(snapshot)


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors"))


def _model(loader: Any, folder: Path, kind: str) -> Any:
    """Load a frozen model; every parameter has to come from the file."""
    from transformers import AutoConfig

    files = _weight_files(folder)
    if not files:
        raise MMHError(f"{folder} holds no model.safetensors: {SAFETENSORS_ADVICE}")
    for path in files:
        check_safetensors(path, SAFETENSORS_ADVICE)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not config.model_type.startswith(kind):
            raise MMHError(f"{folder} holds a {config.model_type} model: name a {kind} model.")
        model, report = loader.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except MMHError:
        raise
    # transformers, safetensors and json fail on damaged files in many ways.
    except Exception as error:
        raise MMHError(
            f"The model in {folder} cannot be loaded ({error}): download it again."
        ) from error
    if missing := sorted(report["missing_keys"]) + sorted(report["mismatched_keys"]):
        raise MMHError(
            f"{folder} lacks parameters of a {kind} model, {missing[0]} among them: download it "
            "again or name another one."
        )
    return model.eval().requires_grad_(False)


def _processor(loader: Any, folder: Path) -> Any:
    if not (folder / "preprocessor_config.json").is_file():
        raise MMHError(
            f"{folder} holds no preprocessor_config.json: without it nobody knows how images "
            "were prepared; download the model again, with this file."
        )
    try:
        return loader.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # As above.
        raise MMHError(
            f"{folder / 'preprocessor_config.json'} cannot be read ({error}): download it again."
        ) from error


def _digest(folder: Path) -> str:
    configurations = [folder / "config.json", folder / "preprocessor_config.json"]
    return files_digest([*configurations, *_weight_files(folder)])


def _sizes(size: Any) -> list[tuple[str, int]]:
    """Return the entries of a processor's size, which is a mapping or a record of one."""
    entries = size.items() if isinstance(size, Mapping) else vars(size).items()
    return [(key, value) for key, value in entries if value is not None]
