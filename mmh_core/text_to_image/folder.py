"""Read a model from a folder in diffusers' form: its index, its parts, and a part in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmh_core.records import MMHError
from mmh_core.text_to_image.assembly import ModelPart, ModelParts, recommended
from mmh_core.text_to_image.configuration import (
    autoencoder_config,
    not_stable_diffusion,
    scheduler_config,
    text_config,
    unet_config,
)
from mmh_core.text_to_image.hub import STEMS
from mmh_core.text_to_image.model_names import INDEX, not_a_model
from mmh_core.text_to_image.tensor_names import of_part, without_wrappers
from mmh_core.text_to_image.weight_file_kinds import (
    AUTOENCODER,
    TEXT_ENCODER,
    UNET,
    UNKNOWN,
    Shapes,
    identify,
)
from mmh_core.text_to_image.weight_files import WeightFiles, find_weights
from mmh_core.text_to_image.weights import (
    check_manifest,
    check_memory,
    counted,
    digest,
    joint_digest,
    read_json,
)

CARD = "model_card.json"
SCHEDULE = "scheduler/scheduler_config.json"
_FEW_STEPS = ("LCMScheduler", "TCDScheduler")
_IN_FEW_STEPS = ", for models made to generate in few steps"
#: Set by the schedulers of models that were trained by flow matching.
_FLOW_FIELDS = ("use_flow_sigmas", "use_dynamic_shifting", "base_shift", "max_shift")
_BY_FLOW = ", for models trained by flow matching"
_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
_COMPONENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "scheduler": ("diffusers", _SCHEDULERS),
    "text_encoder": ("transformers", ("CLIPTextModel", "CLIPTextModelWithProjection")),
    "tokenizer": ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
}
# The second has the same parts as the first.
_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
_KINDS = (
    ("StableDiffusionXL", "Stable Diffusion XL"),
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("Flux", "Flux"),
    ("Inpaint", "an inpainting model"),
    ("LatentConsistency", "a latent consistency model (LCM)"),
    ("ControlNet", "a model with a ControlNet"),
    ("Upscale", "an upscaler"),
    ("Depth2Img", "a model that takes a depth map"),
    ("InstructPix2Pix", "a model that edits images by an instruction"),
)
# Names that a part can be known by, whatever training put before them.
MARKS = {
    "text_encoder": ("embeddings.token_embedding.weight",),
    "unet": ("conv_in.weight",),
    "vae": ("decoder.conv_in.weight",),
}
_ALONE = {"text_encoder": TEXT_ENCODER, "unet": UNET, "vae": AUTOENCODER}


def check_index(index: Mapping[str, Any], name: str) -> None:
    """Refuse pipelines and components of other kinds, custom code above all."""
    pipeline = index.get("_class_name")
    if pipeline not in _PIPELINES:
        kinds_named = [
            family for mark, family in _KINDS if isinstance(pipeline, str) and mark in pipeline
        ]
        family = f", {kinds_named[0]}" if kinds_named else ""
        raise not_stable_diffusion(name, f"its pipeline is {pipeline!r:.80}{family}")
    for part, (library, kinds) in _COMPONENTS.items():
        if index.get(part) in [[library, kind] for kind in kinds]:
            continue
        if index.get(part) in [["diffusers", kind] for kind in _FEW_STEPS]:
            raise _other_scheduler(name, f"its scheduler is {index[part][1]}{_IN_FEW_STEPS}")
        raise not_stable_diffusion(name, f"its {part} is {index.get(part)!r:.80}")
    # An adapter for images as prompts would change what the network is.
    if index.get("image_encoder") not in (None, [None, None]):
        raise not_stable_diffusion(name, "it has an image encoder")


def check_scheduler(config: Mapping[str, Any], name: str) -> None:
    """Refuse a scheduler of other models that its own file names: few steps, flow matching.

    Whoever merges or trains often puts the file in place and leaves model_index.json as it was.
    Errors: MMHError.
    """
    kind = config.get("_class_name")
    if kind is not None and kind not in _SCHEDULERS:
        why = _IN_FEW_STEPS if kind in _FEW_STEPS else ""
        if isinstance(kind, str) and "Flow" in kind:
            why = _BY_FLOW
        raise _other_scheduler(name, f"scheduler_config.json names {kind!r:.80}{why}")
    predicted = config.get("prediction_type")
    flow = [field for field in _FLOW_FIELDS if config.get(field)]
    if isinstance(predicted, str) and "flow" in predicted:
        flow = ["prediction_type"]
    if flow:
        raise _other_scheduler(
            name, f"scheduler_config.json sets {flow[0]} to {config[flow[0]]!r:.40}{_BY_FLOW}"
        )


def _other_scheduler(name: str, reason: str) -> MMHError:
    return not_stable_diffusion(
        name,
        reason,
        "choose one that is; where a LoRA was merged into Stable Diffusion, put that "
        "model's scheduler into it (scheduler/ and its line in model_index.json)",
    )


def open_folder(folder: Path, name: str) -> dict[str, WeightFiles]:
    """Return the weight files of each part of a folder. Errors: MMHError, saying what it is."""
    if not (folder / INDEX).exists():
        raise not_a_model(folder)
    check_index(read_json(folder / INDEX), name)
    schedule = folder / SCHEDULE
    if schedule.exists():
        check_scheduler(read_json(schedule), name)
    return {part: find_weights(folder / part, stem) for part, stem in STEMS.items()}


def checked_shapes(part: str, files: WeightFiles) -> tuple[dict[str, tuple[int, ...]], str]:
    """Return the shapes of a part's tensors, and a note; MMHError where it is something else."""
    stored = without_wrappers(files.shapes())
    kind = identify(stored)
    source = files.files[0]
    if kind is not None and kind.noun != UNKNOWN and kind is not _ALONE[part]:
        raise MMHError(f"{source} is {kind}: {kind.step}.")
    shapes, note = of_part(stored, MARKS[part])
    return shapes or stored, f"{source.parent.name}: {note}" if note else files.note


def part_tensors(part: str, files: WeightFiles) -> Mapping[str, Any]:
    """Return a part's tensors under the names of today."""
    stored = without_wrappers(files.tensors())
    return of_part(stored, MARKS[part])[0] or stored


def check_config(
    part: str, config: Mapping[str, Any], shapes: Shapes, source: Path, name: str
) -> dict[str, Any]:
    """Return the known fields of a part's configuration. Errors: MMHError."""
    if part == "text_encoder":
        return text_config(config, shapes, source)
    check = unet_config if part == "unet" else autoencoder_config
    return check(config, shapes, source, name)


def read_folder(folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> ModelParts:
    """Check the files of a diffusers folder, cheapest first, and read them. Errors: MMHError."""
    weights = open_folder(folder, name)
    shapes = {part: checked_shapes(part, files) for part, files in weights.items()}
    config_files = {part: folder / part / "config.json" for part in STEMS}
    schedule = folder / SCHEDULE
    check_memory(
        sum(counted(part_files) for part_files, _ in shapes.values()), dtype, device, name
    )
    files_read = [folder / INDEX, *config_files.values(), schedule]
    files_read += sorted(path for path in (folder / "tokenizer").glob("*") if path.is_file())
    sha256 = _digest(
        folder, files_read, [path for part_files in weights.values() for path in part_files.files]
    )
    scheduler = scheduler_config(read_json(schedule), schedule)
    configs = {
        part: check_config(part, read_json(config_file), shapes[part][0], config_file, name)
        for part, config_file in config_files.items()
    }
    parts = {
        part: ModelPart(configs[part], part_tensors(part, part_files), part_files.files[0])
        for part, part_files in weights.items()
    }
    card = read_json(folder / CARD) if (folder / CARD).exists() else {}
    return ModelParts(
        name,
        sha256,
        parts["unet"],
        parts["vae"],
        parts["text_encoder"],
        folder / "tokenizer",
        scheduler,
        notes=tuple(note for _, note in shapes.values() if note),
        **recommended(card),
    )


def _digest(folder: Path, files_read: list[Path], files: list[Path]) -> str:
    """Return the digest of the weights, compared with the manifest where there is one."""
    names = [path.relative_to(folder).as_posix() for path in files]
    others = [path.relative_to(folder).as_posix() for path in files_read]
    checked = check_manifest(folder, [*others, *names])
    return joint_digest({name: checked.get(name) or digest(folder / name) for name in names})


def replaced(
    parts: ModelParts, field: str, part: ModelPart, digest_of_part: str, label: str
) -> ModelParts:
    """Return a model with another network (`unet`) or autoencoder (`autoencoder`) in its place."""
    changed = replace(parts, unet=part) if field == "unet" else replace(parts, autoencoder=part)
    return replace(
        changed,
        name=f"{parts.name} with {label}",
        sha256=joint_digest({"model": parts.sha256, field: digest_of_part}),
    )
