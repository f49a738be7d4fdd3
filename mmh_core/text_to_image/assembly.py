"""Put a TextToImage together from configurations and tensors, wherever they came from.

Networks are built without weights and then given the tensors: nothing is initialized in vain, and
a missing or misshapen tensor is noticed. Tensors that need no conversion stay mapped from their
file, as diffusers has them: kernels add up in another order for another alignment in memory, so a
copy would change the last digits. So a model's file may be replaced while it is in use, but not
overwritten in place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmh_core.diffusion.schedule import Discrete
from mmh_core.diffusion.score_model import ScoreModel, Target
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage, encode_prompts, latent_net

TARGETS: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
# Schedules rescaled to end in pure noise reach 0, where log delta is infinite: diffusers' Euler
# scheduler puts this in its place.
_LOWEST_SIGNAL = 2.0**-24
# Inputs that Stable Diffusion 1 and 2 do not have.
_FOREIGN_INPUTS = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
)
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True, eq=False)
class Part:
    """Hold one network's configuration and tensors, and where they come from, for messages."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    source: Path


@dataclass(frozen=True, eq=False)
class Parts:
    """Hold all that makes a model; `guidance` and `steps` are recommendations."""

    name: str
    sha256: str
    unet: Part
    autoencoder: Part
    text_encoder: Part
    tokenizer: Path
    scheduler: Mapping[str, Any]
    guidance: float = 7.5
    steps: int = 50


def assemble(parts: Parts, device: torch.device, dtype: torch.dtype) -> TextToImage:
    """Build the model on a device; MMHError when the parts are damaged or do not fit."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    _check_kind(parts)
    scheduler = {**parts.scheduler, "clip_sample": False, "steps_offset": 1}
    schedule = _schedule(scheduler, parts.name)
    unet = _network(_from_config(UNet2DConditionModel), parts.unet, device, dtype)
    autoencoder = _network(
        _from_config(AutoencoderKL), _renamed_attention(parts.autoencoder), device, dtype
    )
    text_encoder = _text_encoder(parts.text_encoder, device, dtype)
    tokenizer = _tokenizer(parts.tokenizer, text_encoder)
    with torch.no_grad():
        empty = encode_prompts(tokenizer, text_encoder, [""], device)
    channels = parts.unet.config.get("in_channels", 4)
    size = _sample_size(parts.unet.config)
    factor = 2 ** (len(parts.autoencoder.config.get("block_out_channels", (64,))) - 1)
    return TextToImage(
        name=parts.name,
        sha256=parts.sha256,
        score_model=ScoreModel(
            latent_net(unet, schedule, empty),
            schedule,
            TARGETS[scheduler.get("prediction_type", "epsilon")],
            (channels, *size),
        ),
        unconditional=empty,
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=unet,
        autoencoder=autoencoder,
        scheduler=scheduler,
        scaling=parts.autoencoder.config.get("scaling_factor", 0.18215),
        picture_size=(size[0] * factor, size[1] * factor),
        guidance=parts.guidance,
        steps=parts.steps,
    )


def not_stable_diffusion(name: str, reason: str) -> MMHError:
    """Return the error for a model of another kind."""
    return MMHError(
        f"{name} is not a Stable Diffusion 1 or 2 text-to-image model ({reason}): choose one that "
        "is."
    )


def _check_kind(parts: Parts) -> None:
    """Refuse models of the same classes that are made for something else."""
    unet, autoencoder = parts.unet.config, parts.autoencoder.config
    latents = autoencoder.get("latent_channels", 4)
    if unet.get("in_channels", 4) != latents:
        raise not_stable_diffusion(
            parts.name, f"its network takes {unet.get('in_channels')} channels, not {latents}"
        )
    if unet.get("out_channels", 4) not in (latents, 2 * latents):
        raise not_stable_diffusion(
            parts.name, f"its network returns {unet.get('out_channels')} channels"
        )
    for name in _FOREIGN_INPUTS:
        if unet.get(name) is not None:
            raise not_stable_diffusion(parts.name, f"its network needs {name}")
    if autoencoder.get("shift_factor") is not None or autoencoder.get("latents_mean") is not None:
        raise not_stable_diffusion(parts.name, "its latents are shifted")
    width = parts.text_encoder.config.get("hidden_size")
    if unet.get("cross_attention_dim") != width:
        raise not_stable_diffusion(
            parts.name,
            f"its text encoder gives {width} numbers a token and its network takes "
            f"{unet.get('cross_attention_dim')}",
        )


def _schedule(config: Mapping[str, Any], name: str) -> Discrete:
    from diffusers import DDIMScheduler

    if config.get("prediction_type", "epsilon") not in TARGETS:
        raise not_stable_diffusion(name, f"it predicts {config.get('prediction_type')!r}")
    try:
        build: Callable[..., Any] = DDIMScheduler.from_config
        table = build(dict(config)).alphas_cumprod.double().clamp(min=_LOWEST_SIGNAL)
        return Discrete(tuple(table.tolist()))
    except Exception as error:  # Whatever diffusers makes of a damaged configuration.
        raise MMHError(
            f"The noise schedule of {name} cannot be used ({error}): copy or download the model "
            "again."
        ) from error


def _sample_size(config: Mapping[str, Any]) -> tuple[int, int]:
    size = config.get("sample_size") or 64
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _from_config(kind: Any) -> Callable[[Mapping[str, Any]], nn.Module]:
    return lambda config: kind.from_config(dict(config))


def _renamed_attention(part: Part) -> Part:
    """Give the tensors of an autoencoder saved before 2023 the names of today."""

    def renamed(name: str) -> str:
        return re.sub(
            r"(attentions\.\d+\.)(query|key|value|proj_attn)\.",
            lambda found: f"{found[1]}{_OLD_ATTENTION[found[2]]}.",
            name,
        )

    return Part(part.config, {renamed(name): x for name, x in part.tensors.items()}, part.source)


def _network(
    build: Callable[[Mapping[str, Any]], nn.Module],
    part: Part,
    device: torch.device,
    dtype: torch.dtype,
) -> nn.Module:
    """Build a network without weights and give it the tensors, frozen and ready to compute."""
    try:
        with torch.device("meta"):
            network = build(part.config)
    except Exception as error:  # Whatever the libraries make of a damaged configuration.
        raise MMHError(
            f"The configuration of {part.source} cannot be used ({error}): copy or download the "
            "model again."
        ) from error
    wanted = {name: x.shape for name, x in network.state_dict().items()}
    for name, shape in wanted.items():
        if name not in part.tensors or part.tensors[name].shape != shape:
            raise MMHError(
                f"{part.source} does not hold the tensor {name} of shape {tuple(shape)}: copy or "
                "download the model again."
            )
    network.load_state_dict(
        {name: part.tensors[name].to(device, dtype) for name in wanted}, assign=True
    )
    return network.requires_grad_(False).eval()


def _text_encoder(part: Part, device: torch.device, dtype: torch.dtype) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    tensors = {name.removeprefix("text_model."): x for name, x in part.tensors.items()}
    encoder = _network(
        lambda settings: CLIPTextModel(CLIPTextConfig(**settings)),
        Part(part.config, tensors, part.source),
        device,
        dtype,
    )
    # The only tensor that no file holds: it counts from 0.
    length = part.config.get("max_position_embeddings", 77)
    encoder.get_submodule("embeddings").register_buffer(
        "position_ids", torch.arange(length, device=device)[None], persistent=False
    )
    return encoder


def _tokenizer(folder: Path, encoder: nn.Module) -> Callable[..., Any]:
    from transformers import CLIPTokenizer

    whole = (folder / "tokenizer.json").exists()
    if not whole and not ((folder / "vocab.json").exists() and (folder / "merges.txt").exists()):
        raise MMHError(
            f"The tokenizer is missing: put a folder with vocab.json and merges.txt at {folder}."
        )
    build: Callable[..., Any] = CLIPTokenizer.from_pretrained
    try:
        tokenizer: Any = build(str(folder), local_files_only=True)
        highest = max(tokenizer.get_vocab().values())
    except Exception as error:  # Whatever transformers makes of a damaged vocabulary.
        raise MMHError(
            f"The tokenizer in {folder} cannot be used ({error}): copy or download it again."
        ) from error
    positions: Tensor = encoder.get_parameter("embeddings.position_embedding.weight")
    known = len(encoder.get_parameter("embeddings.token_embedding.weight"))
    if highest >= known:
        raise MMHError(
            f"The tokenizer in {folder} has {highest + 1:,} tokens and the text encoder knows "
            f"{known:,}: use the one that came with the model."
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, len(positions))
    ready: Callable[..., Any] = tokenizer
    return ready


def recommended(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the guidance scale and the number of steps that a model card states, if it does."""
    found: dict[str, Any] = {}
    guidance, steps = card.get("guidance"), card.get("steps")
    if isinstance(guidance, int | float) and math.isfinite(guidance):
        found["guidance"] = float(guidance)
    if isinstance(steps, int) and steps > 0:
        found["steps"] = steps
    return found
