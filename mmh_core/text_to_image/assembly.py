"""Put a TextToImage together from configurations and tensors, wherever they came from.

Networks are built without weights and then given the tensors: nothing is initialized in vain, and
a missing or misshapen tensor is noticed. Tensors that need no conversion stay mapped from their
file, as diffusers has them: kernels add up in another order for another alignment in memory, so a
copy would change the last digits. So a model's file may be replaced while it is in use, but not
overwritten in place.
"""

from __future__ import annotations

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
from mmh_core.text_to_image.configuration import (
    latent_size,
    not_stable_diffusion,
    pixels_per_latent,
)
from mmh_core.text_to_image.model import TextToImage, latent_net
from mmh_core.text_to_image.prompt_text import encode_prompts
from mmh_core.text_to_image.requests import MOST_STEPS
from mmh_core.text_to_image.tokenizer_files import read_tokenizer
from mmh_core.text_to_image.weight_file_kinds import QUANTIZED

TARGETS: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
# Schedules rescaled to end in pure noise reach 0, where log delta is infinite: diffusers' Euler
# scheduler puts this in its place.
_LOWEST_SIGNAL = 2.0**-24
_MOST_GUIDANCE = 1000
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class ModelPart:
    """One network's checked configuration and tensors, and where they come from, for messages.

    `convert` gives the tensors the names of today, where they have others; it may import the
    libraries, so it is called when the network is built.
    """

    config: Mapping[str, Any]
    tensors: Tensors
    source: Path
    convert: Callable[[Tensors], Tensors] | None = None


@dataclass(frozen=True, eq=False)
class ModelParts:
    """All parts of a model; `guidance` and `steps` are recommendations.

    `notes` are sentences on what was chosen while reading, for whoever reads the results.
    `prediction_type_unknown` is whether the files leave open what the network predicts.
    """

    name: str
    sha256: str
    unet: ModelPart
    autoencoder: ModelPart
    text_encoder: ModelPart
    tokenizer: Path
    scheduler: Mapping[str, Any]
    guidance: float = 7.5
    steps: int = 50
    notes: tuple[str, ...] = ()
    prediction_type_unknown: bool = False


def assemble(parts: ModelParts, device: torch.device, dtype: torch.dtype) -> TextToImage:
    """Build the model on a device; MMHError when the parts are damaged or do not fit."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    _check_kind(parts)
    scheduler = {**parts.scheduler, "clip_sample": False, "steps_offset": 1}
    schedule = _schedule(scheduler, parts.name)
    unet = _network(_built(UNet2DConditionModel), _converted(parts.unet), device, dtype)
    autoencoder = _network(
        _built(AutoencoderKL), _renamed_attention(_converted(parts.autoencoder)), device, dtype
    )
    text_encoder = _text_encoder(_converted(parts.text_encoder), device, dtype)
    tokenizer = read_tokenizer(parts.tokenizer, text_encoder)
    with torch.no_grad():
        empty = encode_prompts(tokenizer, text_encoder, [""], device)
    channels = parts.unet.config.get("in_channels", 4)
    size = latent_size(parts.unet.config)
    factor = pixels_per_latent(parts.autoencoder.config)
    return TextToImage(
        name=parts.name,
        sha256=parts.sha256,
        score_model=ScoreModel(
            latent_net(unet, schedule, empty),
            schedule,
            TARGETS[scheduler.get("prediction_type", "epsilon")],
            (channels, *size),
            name=parts.name,
        ),
        unconditional=empty,
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=unet,
        autoencoder=autoencoder,
        scheduler=scheduler,
        scaling=parts.autoencoder.config.get("scaling_factor", 0.18215),
        image_size=(size[0] * factor, size[1] * factor),
        guidance=parts.guidance,
        steps=parts.steps,
        notes=parts.notes,
    )


def _check_kind(parts: ModelParts) -> None:
    """Refuse models of the same classes that are made for something else."""
    unet, autoencoder = parts.unet.config, parts.autoencoder.config
    latents = autoencoder.get("latent_channels", 4)
    if unet.get("in_channels", 4) != latents:
        raise not_stable_diffusion(
            parts.name,
            f"its network takes {unet.get('in_channels')} channels, not {latents}",
        )
    if unet.get("out_channels", 4) not in (latents, 2 * latents):
        raise not_stable_diffusion(
            parts.name, f"its network returns {unet.get('out_channels')} channels"
        )
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
            f"The noise schedule of {name} cannot be used ({str(error)[:200]}): restore "
            "scheduler/scheduler_config.json from where the model came from."
        ) from error


def _built(kind: Any) -> Callable[[Mapping[str, Any]], nn.Module]:
    return lambda config: kind(**config)


def _converted(part: ModelPart) -> ModelPart:
    if part.convert is None:
        return part
    return ModelPart(part.config, part.convert(part.tensors), part.source)


def _renamed_attention(part: ModelPart) -> ModelPart:
    """Give the tensors of an autoencoder saved before 2023 the names of today."""

    def renamed(name: str) -> str:
        return re.sub(
            r"(attentions\.\d+\.)(query|key|value|proj_attn)\.",
            lambda match: f"{match[1]}{_OLD_ATTENTION[match[2]]}.",
            name,
        )

    return ModelPart(
        part.config, {renamed(name): x for name, x in part.tensors.items()}, part.source
    )


def _network(
    build: Callable[[Mapping[str, Any]], nn.Module],
    part: ModelPart,
    device: torch.device,
    dtype: torch.dtype,
) -> nn.Module:
    """Build a network without weights and give it the tensors, frozen and ready to compute."""
    try:
        with torch.device("meta"):
            network = build(part.config)
    except Exception as error:  # Whatever the libraries make of a damaged configuration.
        raise MMHError(
            f"The configuration of {part.source} cannot be used ({str(error)[:200]}): restore it "
            "from where the model came from."
        ) from error
    expected = {name: x.shape for name, x in network.state_dict().items()}
    _check_tensors(part, expected)
    tensors = {name: part.tensors[name].to(device, dtype) for name in expected}
    _check_finite(part, tensors)
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval()


def _check_tensors(part: ModelPart, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that lack what the network has, saying what there is in its place."""
    missing = [name for name in expected if name not in part.tensors]
    if missing:
        extra = [name for name in part.tensors if name not in expected]
        instead = f" and instead {extra[0][:80]}" if extra else ""
        raise MMHError(
            f"{part.source} does not hold the tensor {missing[0]} of shape "
            f"{tuple(expected[missing[0]])}{_and_more(len(missing))}{instead}: save the whole "
            "network with save_pretrained(), or copy it from where it came from."
        )
    for name, shape in expected.items():
        tensor = part.tensors[name]
        if tensor.shape != shape:
            raise MMHError(
                f"{part.source} does not hold the tensor {name} of shape {tuple(shape)} but of "
                f"{tuple(tensor.shape)}: the weights and the configuration beside them belong to "
                "two models, so put both from one."
            )
        if not tensor.is_floating_point():
            raise MMHError(
                f"{part.source} holds the tensor {name} in {tensor.dtype}, so it is "
                f"{QUANTIZED}: {QUANTIZED.step}."
            )


def _check_finite(part: ModelPart, tensors: Tensors) -> None:
    """Refuse weights with NaN or infinity, of which everything else would follow."""
    for name, tensor in tensors.items():
        if not tensor.numel():
            continue
        lowest, highest = torch.aminmax(tensor)
        if bool(torch.isfinite(lowest) & torch.isfinite(highest)):
            continue
        # A number that float32 holds and float16 does not becomes infinite.
        if bool(torch.isfinite(part.tensors[name].float()).all()):
            raise MMHError(
                f"{part.source} holds numbers in the tensor {name} that are too large for "
                f"{str(tensor.dtype).removeprefix('torch.')}: load it in float32."
            )
        raise MMHError(
            f"{part.source} holds numbers that are not finite (NaN or infinity) in the tensor "
            f"{name}, so this model can generate nothing: take another copy, or a checkpoint from "
            "before the training or the merge that broke it."
        )


def _and_more(count: int) -> str:
    return f" ({count - 1} more are missing)" if count > 1 else ""


def _text_encoder(part: ModelPart, device: torch.device, dtype: torch.dtype) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    encoder = _network(
        lambda settings: CLIPTextModel(CLIPTextConfig(**settings)),
        part,
        device,
        dtype,
    )
    # The only tensor that no file holds: it counts from 0.
    length = part.config.get("max_position_embeddings", 77)
    encoder.get_submodule("embeddings").register_buffer(
        "position_ids", torch.arange(length, device=device)[None], persistent=False
    )
    return encoder


def recommended(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the guidance scale and the number of steps that a model card states, if it does."""
    values: dict[str, Any] = {}
    guidance, steps = card.get("guidance"), card.get("steps")
    if isinstance(guidance, int | float) and abs(guidance) < _MOST_GUIDANCE:
        values["guidance"] = float(guidance)
    if isinstance(steps, int) and 0 < steps <= MOST_STEPS:
        values["steps"] = steps
    return values
