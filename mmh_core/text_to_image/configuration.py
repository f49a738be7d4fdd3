"""The configurations of a model's parts, read as data: known fields only, each of its type.

A configuration comes with a model from anywhere. What is not listed here is dropped, so that
nothing in it can name code or another repository; counts of layers are compared with the tensors,
so that it cannot ask for a network of any size; and what Stable Diffusion 1 and 2 do not have is
refused. Needs no library, so a bad file is refused before anything is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmh_core.records import MMHError
from mmh_core.text_to_image.weight_file_kinds import Shapes

Config = Mapping[str, Any]
Check = Callable[[Any], bool]

_HIGHEST = 2**20
_MOST_LEVELS = 8
_ACTIVATIONS = ("gelu", "gelu_new", "mish", "quick_gelu", "relu", "silu", "swish")


def not_stable_diffusion(name: str, reason: str, step: str = "choose one that is") -> MMHError:
    """Return the error for a model of another kind."""
    return MMHError(
        f"{name} is not a Stable Diffusion 1 or 2 text-to-image model ({reason}): {step}."
    )


def _whole(low: int, high: int = _HIGHEST) -> Check:
    return lambda x: isinstance(x, int) and not isinstance(x, bool) and low <= x <= high


def _number(x: Any) -> bool:
    if isinstance(x, bool) or not isinstance(x, int | float):
        return False
    return abs(x) < 1e30 and math.isfinite(x)


def _flag(x: Any) -> bool:
    return isinstance(x, bool)


def _one_of(*names: str | None) -> Check:
    return lambda x: (x is None or isinstance(x, str)) and x in names


def _listed(item: Check, most: int = _MOST_LEVELS) -> Check:
    return lambda x: (
        isinstance(x, list | tuple) and 0 < len(x) <= most and all(item(entry) for entry in x)
    )


def _either(*checks: Check) -> Check:
    return lambda x: any(check(x) for check in checks)


def _nothing(x: Any) -> bool:
    return x is None


_COUNT = _whole(1)
_COUNTS = _either(_COUNT, _listed(_COUNT))
_UNET: Mapping[str, Check] = {
    "act_fn": _one_of(*_ACTIVATIONS),
    "attention_head_dim": _COUNTS,
    "block_out_channels": _listed(_COUNT),
    "center_input_sample": _flag,
    "cross_attention_dim": _COUNT,
    "down_block_types": _listed(_one_of("CrossAttnDownBlock2D", "DownBlock2D")),
    "downsample_padding": _whole(0, 8),
    "dual_cross_attention": _flag,
    "flip_sin_to_cos": _flag,
    "freq_shift": _whole(0, 8),
    "in_channels": _COUNT,
    "layers_per_block": _COUNTS,
    "mid_block_scale_factor": _number,
    "mid_block_type": _one_of("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None),
    "norm_eps": _number,
    "norm_num_groups": _COUNT,
    "only_cross_attention": _either(_flag, _listed(_flag)),
    "out_channels": _COUNT,
    "resnet_time_scale_shift": _one_of("default", "scale_shift"),
    "sample_size": _either(
        _nothing, _whole(1, 4096), lambda x: _listed(_whole(1, 4096), 2)(x) and len(x) == 2
    ),
    "transformer_layers_per_block": _COUNTS,
    "up_block_types": _listed(_one_of("UpBlock2D", "CrossAttnUpBlock2D")),
    "upcast_attention": _either(_flag, _nothing),
    "use_linear_projection": _flag,
}
# What Stable Diffusion 1 and 2 leave as it is: any other value is another kind of network.
_UNET_FIXED: Config = {
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "attention_type": "default",
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None,
    "num_attention_heads": None,
    "num_class_embeds": None,
    "projection_class_embeddings_input_dim": None,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}
_AUTOENCODER: Mapping[str, Check] = {
    "act_fn": _one_of(*_ACTIVATIONS),
    "block_out_channels": _listed(_COUNT),
    "down_block_types": _listed(_one_of("DownEncoderBlock2D")),
    "force_upcast": _flag,
    "in_channels": _COUNT,
    "latent_channels": _COUNT,
    "layers_per_block": _COUNT,
    "mid_block_add_attention": _flag,
    "norm_num_groups": _COUNT,
    "out_channels": _COUNT,
    "sample_size": _either(_nothing, _COUNT, _listed(_COUNT, 2)),
    "scaling_factor": lambda x: _number(x) and x > 0,
    "up_block_types": _listed(_one_of("UpDecoderBlock2D")),
    "use_post_quant_conv": _flag,
    "use_quant_conv": _flag,
}
_AUTOENCODER_FIXED: Config = {"latents_mean": None, "latents_std": None, "shift_factor": None}
_TOKEN = _either(_nothing, _whole(0))
_TEXT: Mapping[str, Check] = {
    "bos_token_id": _TOKEN,
    "eos_token_id": _TOKEN,
    "hidden_act": _one_of(*_ACTIVATIONS, "gelu_fast", "gelu_pytorch_tanh"),
    "hidden_size": _COUNT,
    "intermediate_size": _COUNT,
    "layer_norm_eps": _number,
    "max_position_embeddings": _COUNT,
    "num_attention_heads": _COUNT,
    "num_hidden_layers": _COUNT,
    "pad_token_id": _TOKEN,
    "projection_dim": _COUNT,
    "vocab_size": _COUNT,
}


def _beta(x: Any) -> bool:
    return _number(x) and 0 <= x <= 1


_BETAS = _listed(_beta, 100_000)
_OPTIONAL_NUMBER = _either(_nothing, _number)
_SCHEDULER: Mapping[str, Check] = {
    "_class_name": lambda x: isinstance(x, str) and len(x) < 100,
    "algorithm_type": _one_of(
        "deis", "dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"
    ),
    "beta_end": _beta,
    "beta_schedule": _one_of("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"),
    "beta_start": _beta,
    "clip_sample": _flag,
    "clip_sample_range": _number,
    "disable_corrector": _either(lambda x: x == [], _listed(_whole(0), 1000)),
    "dynamic_thresholding_ratio": _number,
    "euler_at_final": _flag,
    "final_sigmas_type": _one_of("zero", "sigma_min"),
    "flow_shift": _number,
    "interpolation_type": _one_of("linear", "log_linear"),
    "lambda_min_clipped": lambda x: (isinstance(x, float) and not math.isnan(x)) or _number(x),
    "lower_order_final": _flag,
    "num_train_timesteps": _whole(1, 100_000),
    "original_inference_steps": _COUNT,
    "predict_x0": _flag,
    "prediction_type": lambda x: isinstance(x, str) and len(x) < 100,
    "rescale_betas_zero_snr": _flag,
    "sample_max_value": _number,
    "set_alpha_to_one": _flag,
    "sigma_max": _OPTIONAL_NUMBER,
    "sigma_min": _OPTIONAL_NUMBER,
    "skip_prk_steps": _flag,
    "solver_order": _whole(1, 3),
    "solver_type": _one_of("bh1", "bh2", "heun", "logrho", "midpoint"),
    "steps_offset": _whole(0, 100_000),
    "thresholding": _flag,
    "timestep_scaling": _number,
    "timestep_spacing": _one_of("leading", "linspace", "trailing"),
    "timestep_type": _one_of("discrete", "continuous"),
    "trained_betas": _either(_nothing, _BETAS),
    "use_beta_sigmas": _either(_flag, _nothing),
    "use_exponential_sigmas": _either(_flag, _nothing),
    "use_flow_sigmas": _either(_flag, _nothing),
    "use_karras_sigmas": _either(_flag, _nothing),
    "use_lu_lambdas": _either(_flag, _nothing),
    "variance_type": _one_of(
        None,
        "fixed_large",
        "fixed_large_log",
        "fixed_small",
        "fixed_small_log",
        "learned",
        "learned_range",
    ),
}


def unet_config(config: Config, shapes: Shapes, source: Path, name: str) -> dict[str, Any]:
    """Return the known fields of a UNet's configuration. Errors: MMHError."""
    checked = _fixed(config, _UNET_FIXED, name)
    checked = _known(checked, _UNET, source)
    down = tuple(checked.get("down_block_types", ("",) * 4))
    levels = _matching(
        source,
        shapes,
        r"(down|up)_blocks\.(\d+)\.",
        {
            "block_out_channels": len(checked.get("block_out_channels", ("",) * 4)),
            "down_block_types": len(down),
            "up_block_types": len(checked.get("up_block_types", ("",) * 4)),
        },
    )
    for level in range(levels):
        for field, inner, usual in (
            ("layers_per_block", r"resnets\.(\d+)\.", 2),
            ("transformer_layers_per_block", r"attentions\.0\.transformer_blocks\.(\d+)\.", 1),
        ):
            there = _counted(shapes, rf"down_blocks\.{level}\.{inner}")
            if field == "layers_per_block" or there:
                _same(source, field, _at(checked.get(field, usual), level), there)
    return checked


def autoencoder_config(config: Config, shapes: Shapes, source: Path, name: str) -> dict[str, Any]:
    """Return the known fields of an autoencoder's configuration. Errors: MMHError."""
    for field in _AUTOENCODER_FIXED:
        if config.get(field) is not None:
            raise not_stable_diffusion(name, f"its latents are shifted, by {field}")
    checked = _known(config, _AUTOENCODER, source)
    levels = _matching(
        source,
        shapes,
        r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.",
        {
            "block_out_channels": len(checked.get("block_out_channels", ("",))),
            "down_block_types": len(checked.get("down_block_types", ("",))),
            "up_block_types": len(checked.get("up_block_types", ("",))),
        },
    )
    for level in range(levels):
        there = _counted(shapes, rf"encoder\.down_blocks\.{level}\.resnets\.(\d+)\.")
        _same(source, "layers_per_block", checked.get("layers_per_block", 1), there)
    return checked


def text_config(config: Config, shapes: Shapes, source: Path) -> dict[str, Any]:
    """Return the known fields of a text encoder's configuration. Errors: MMHError.

    It may leave out layers at the end that the file holds, as version 2 does.
    """
    inner = config.get("text_config")
    if config.get("model_type") == "clip" and isinstance(inner, dict):
        config = inner
    checked = _known(config, _TEXT, source)
    layers, there = checked.get("num_hidden_layers", 12), _text_layers(shapes)
    if layers > there:
        _same(source, "num_hidden_layers", layers, there)
    return checked


def scheduler_config(config: Config, source: Path) -> dict[str, Any]:
    """Return the known fields of a scheduler's configuration. Errors: MMHError."""
    try:
        return _known(config, _SCHEDULER, source)
    except MMHError as error:
        raise MMHError(f"The noise schedule cannot be used. {error}") from error


def latent_size(config: Config) -> tuple[int, int]:
    """Return height and width of the latents that a UNet's checked configuration is made for."""
    size = config.get("sample_size") or 64
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def pixels_a_latent(config: Config) -> int:
    """Return how many pixels one latent spans along a side, by an autoencoder's configuration."""
    return int(2 ** (len(config.get("block_out_channels", (64,))) - 1))


def image_size(unet: Config, autoencoder: Config, sources: tuple[Path, Path]) -> tuple[int, int]:
    """Return height and width in pixels of a model's images, from unchecked configurations.

    Errors: MMHError.
    """
    size = latent_size(_known(unet, {"sample_size": _UNET["sample_size"]}, sources[0]))
    widths = {"block_out_channels": _AUTOENCODER["block_out_channels"]}
    factor = pixels_a_latent(_known(autoencoder, widths, sources[1]))
    return size[0] * factor, size[1] * factor


def _known(config: Config, checks: Mapping[str, Check], source: Path) -> dict[str, Any]:
    """Return the fields that are listed, each checked; MMHError names the first bad one."""
    for field, check in checks.items():
        if field in config and not check(config[field]):
            raise _unusable(source, f"{field} is {_short(config[field])}")
    return {field: config[field] for field in checks if field in config}


def _fixed(config: Config, fixed: Config, name: str) -> Config:
    for field, value in fixed.items():
        value_in_file = config.get(field, value)
        if value_in_file is not None and value_in_file != value:
            families = (("time_cond_proj_dim", "an LCM"), ("addition_embed_type", "as in SDXL"))
            hint = f", {dict(families)[field]}" if field in dict(families) else ""
            raise not_stable_diffusion(name, f"its network needs {field}{hint}")
    return config


def _unusable(source: Path, problem: str) -> MMHError:
    return MMHError(
        f"The configuration of {source} cannot be used ({problem}): restore it from where the "
        "model came from."
    )


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # A number of more digits than Python writes.
        return "a number of too many digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _at(stated: Any, level: int) -> Any:
    return stated if isinstance(stated, int) else stated[level] if level < len(stated) else 0


def _same(source: Path, field: str, stated: int, there: int) -> None:
    if stated != there:
        raise _unusable(source, f"{field} is {stated:,} and the weights hold {there:,}")


def _matching(source: Path, shapes: Shapes, pattern: str, lengths: Mapping[str, int]) -> int:
    """Return the number of levels; MMHError where a list has another length than the weights."""
    matched = [match[2] for name in shapes if (match := re.match(pattern, name))]
    there = len(set(matched))
    for field, length in lengths.items():
        if length != there:
            raise _unusable(source, f"{field} has {length} levels and the weights hold {there}")
    return there


def _counted(shapes: Shapes, pattern: str) -> int:
    return len({match[1] for name in shapes if (match := re.match(pattern, name))})


def _text_layers(shapes: Shapes) -> int:
    return _counted(shapes, r"encoder\.layers\.(\d+)\.")
