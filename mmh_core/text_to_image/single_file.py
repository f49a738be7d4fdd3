"""Read a Stable Diffusion checkpoint in its original form: one safetensors file, no configuration.

The architecture is read off the tensors (`original_networks`); the schedule is what the makers
published, scaled-linear of 1,000 steps. Tensors are renamed by diffusers' own converters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import Net
from mmh_core.records import MMHError
from mmh_core.text_to_image.assembly import ModelPart, ModelParts
from mmh_core.text_to_image.configuration import autoencoder_config, not_stable_diffusion
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.original_networks import (
    TOWER_WIDTH,
    autoencoder_shape,
    clip_text,
    is_linear,
    open_clip_text,
    original_autoencoder,
    original_unet,
)
from mmh_core.text_to_image.tensor_names import (
    FLAT_EMA,
    LEFT_OUT,
    USED,
    from_flat_ema,
    of_part,
    without_wrappers,
)
from mmh_core.text_to_image.tokenizer_files import tokenizer_of
from mmh_core.text_to_image.weight_file_kinds import (
    AUTOENCODER,
    TEXT_ENCODER,
    UNET,
    identify,
)
from mmh_core.text_to_image.weights import (
    check_memory,
    check_safetensors,
    counted,
    digest,
    joint_digest,
    read_metadata,
    read_tensors,
    tensor_shapes,
)

T = TypeVar("T")
_MARKS = {
    "unet": ("input_blocks.0.0.weight",),
    "vae": ("decoder.conv_in.weight",),
    "text": ("embeddings.token_embedding.weight",),
    "open_clip": ("token_embedding.weight",),
}
_ALONE = (AUTOENCODER.noun, TEXT_ENCODER.noun, UNET.noun)
_FIRST_WIDTH = 768


@dataclass(frozen=True, eq=False)
class Checkpoint(Generic[T]):
    """A single file's networks under their original names without prefixes; empty where missing.

    `open_clip` is whether the text encoder has OpenCLIP's names. T is a tensor or its shape.
    """

    unet: Mapping[str, T]
    autoencoder: Mapping[str, T]
    text: Mapping[str, T]
    open_clip: bool
    notes: tuple[str, ...]


def parted(tensors: Mapping[str, T]) -> Checkpoint[T]:
    """Part a file's tensors into the three networks, whatever stands before their names."""
    plain = without_wrappers(tensors)
    unet, note = of_part(_without_prefix(plain, "control_model."), _MARKS["unet"])
    flat = any(name.startswith(FLAT_EMA) for name in plain)
    if not unet and flat:
        unet, note = from_flat_ema(plain), USED
    elif flat and not note:
        note = LEFT_OUT
    autoencoder, _ = of_part(plain, _MARKS["vae"])
    text, _ = of_part(plain, _MARKS["text"])
    open_clip = {} if text else of_part(plain, _MARKS["open_clip"])[0]
    notes = (note,) if note else ()
    return Checkpoint(unet, autoencoder, text or open_clip, bool(open_clip), notes)


def _without_prefix(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    return {name: x for name, x in tensors.items() if not name.startswith(prefix)}


def weight_counts(path: Path, *, autoencoder_replaced: bool = False) -> dict[str, int]:
    """Return the number of weights of each network, from the header.

    `autoencoder_replaced` is whether another autoencoder takes the place of the file's. Errors:
    MMHError for a file that is no whole checkpoint, which says what it is.
    """
    check_safetensors(path)
    shapes = tensor_shapes(path)
    checkpoint = parted(shapes)
    kind = identify(without_wrappers(shapes))
    part = kind is None or kind.noun in _ALONE
    if kind is not None and (
        not part or not (checkpoint.unet or (checkpoint.text and checkpoint.autoencoder))
    ):
        raise not_stable_diffusion(path.name, f"it is {kind}", _step(path, kind.step))
    if not checkpoint.unet:
        raise not_stable_diffusion(path.name, "the file holds no denoising network")
    if not checkpoint.text:
        problem = "no text encoder" if checkpoint.autoencoder else "a denoising network alone"
        raise MMHError(
            f"{path.name} holds {problem}: name the model that it belongs to too, --base MODEL "
            f"--unet {path}."
        )
    count = {"unet": counted(checkpoint.unet), "text_encoder": counted(checkpoint.text)}
    beside = None if autoencoder_replaced else beside_it(path)
    if not checkpoint.autoencoder and beside is None and not autoencoder_replaced:
        raise MMHError(
            f"{path.name} holds no autoencoder (VAE): put one beside it as "
            f"{path.stem}.vae.safetensors, or name one by --vae."
        )
    tokenizer_of(path, second=checkpoint.open_clip)
    if checkpoint.autoencoder and not autoencoder_replaced:
        return {**count, "vae": counted(checkpoint.autoencoder)}
    return count if beside is None else {**count, "vae": counted(tensor_shapes(beside))}


def _step(path: Path, step: str) -> str:
    return f"{step} {path}" if step.endswith("--unet") else step


def beside_it(path: Path) -> Path | None:
    """Return the autoencoder that lies beside a single file as NAME.vae.safetensors, or None."""
    for suffix in (".vae.safetensors", ".vae.sft"):
        candidate = path.with_name(path.stem + suffix)
        if candidate.is_file():
            return candidate
    return None


def read_file(
    path: Path, device: torch.device, dtype: torch.dtype, *, autoencoder_replaced: bool = False
) -> ModelParts:
    """Read a checkpoint; its tokenizer is the folder `tokenizer` beside the file.

    Without that folder the tokenizer of an earlier download of the same version is taken.
    An autoencoder that it lacks is taken from the file beside it; `autoencoder_replaced` is
    whether another one will take its place. Raises MMHError.
    """
    numbers = weight_counts(path, autoencoder_replaced=autoencoder_replaced)
    check_memory(sum(numbers.values()), dtype, device, path.name)
    checkpoint = parted(read_tensors(path))
    second = _is_sd2(checkpoint)
    text = (
        open_clip_text(path, checkpoint.text)
        if checkpoint.open_clip
        else clip_text(path, checkpoint.text, second)
    )
    stated = _stated_prediction(read_metadata(path))
    sha256, notes, beside = digest(path), checkpoint.notes, beside_it(path)
    autoencoder = ModelPart({}, {}, path)
    if checkpoint.autoencoder:
        autoencoder = original_autoencoder(path, checkpoint.autoencoder)
    elif beside is not None and not autoencoder_replaced:
        autoencoder = read_autoencoder(beside)
        sha256 = joint_digest({path.name: sha256, beside.name: digest(beside)})
        notes = (*notes, f"Its autoencoder is {beside.name}.")
    return ModelParts(
        path.stem,
        sha256,
        original_unet(path, checkpoint.unet, second),
        autoencoder,
        text,
        tokenizer_of(path, second=second),
        _scheduler(stated or ("v_prediction" if second else "epsilon")),
        notes=notes,
        prediction_type_unknown=second and stated is None,
    )


def read_autoencoder(path: Path) -> ModelPart:
    """Return the autoencoder that a file holds, by either names. Errors: MMHError."""
    check_safetensors(path)
    tensors = without_wrappers(read_tensors(path))
    autoencoder = of_part(tensors, _MARKS["vae"])[0]
    if not autoencoder:
        kind = identify({name: tuple(x.shape) for name, x in tensors.items()})
        raise MMHError(f"{path} is {kind or 'no autoencoder'}: name an autoencoder (VAE).")
    if any(name.startswith("encoder.down_blocks.") for name in autoencoder):
        shapes = {name: tuple(x.shape) for name, x in autoencoder.items()}
        config = autoencoder_shape(shapes, "encoder.down_blocks.", "resnets.")
        config = autoencoder_config(config, shapes, path, path.name)
        return ModelPart(config, autoencoder, path)
    return original_autoencoder(path, autoencoder)


def read_network(path: Path, base: Mapping[str, Any]) -> ModelPart:
    """Return the denoising network alone in a file, by either names. Errors: MMHError.

    In diffusers' names it has the configuration `base`, that of the model it belongs to.
    """
    check_safetensors(path)
    tensors = read_tensors(path)
    checkpoint = parted(tensors)
    if checkpoint.unet:
        return original_unet(path, checkpoint.unet, _is_sd2(checkpoint))
    plain = without_wrappers(tensors)
    kind = identify({name: tuple(x.shape) for name, x in plain.items()})
    network, _ = of_part(plain, ("conv_in.weight",))
    if kind is None or kind.noun != UNET.noun or not network:
        raise MMHError(f"{path} is {kind or 'no denoising network'}: name a network (UNet).")
    return ModelPart(base, network, path)


def settle_prediction(model: TextToImage) -> TextToImage:
    """Return a model of version 2 with the prediction type that one pass of its network shows.

    Version 2 exists with both predictions, and files rarely say which.
    """
    if not predicts_noise(model.score_model.net, model.device):
        return model
    # What the makers published with eps-prediction works on 512 pixels, not 768.
    score_model = replace(model.score_model, target="eps", shape=(4, 64, 64))
    scheduler = _scheduler("epsilon")
    return replace(model, score_model=score_model, scheduler=scheduler, image_size=(512, 512))


@torch.no_grad()
def predicts_noise(net: Net, device: torch.device) -> bool:
    """Return whether a network on latents predicts eps, as opposed to v.

    At the last step the input is noise but for a few percent. An eps-network returns it; a
    v-network returns `alpha eps - sigma x0`, the negative image, and hardly correlates with it.
    """
    noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    output = net(noise, torch.ones(1, device=device), None).float()
    return float(torch.nn.functional.cosine_similarity(output.flatten(), noise.flatten(), 0)) > 0.5


def _stated_prediction(metadata: Mapping[str, str]) -> str | None:
    """Return the prediction type that the file's metadata states in the ModelSpec standard."""
    kinds = {"epsilon": "epsilon", "eps": "epsilon", "v": "v_prediction"}
    return kinds.get(metadata.get("modelspec.prediction_type", "").lower())


def _scheduler(prediction: str) -> dict[str, Any]:
    return {
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
    }


def _is_sd2(checkpoint: Checkpoint[Tensor]) -> bool:
    """Return whether a checkpoint is of version 2: by its text encoder, or its UNet."""
    tokens = checkpoint.text.get("embeddings.token_embedding.weight")
    width = _FIRST_WIDTH if tokens is None else tokens.shape[1]
    linear = is_linear(checkpoint.unet) and width != _FIRST_WIDTH
    return checkpoint.open_clip or width == TOWER_WIDTH or linear
