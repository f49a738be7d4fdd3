"""The fields of configurations that are known, each with a check of its type and range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]
Check = Callable[[Any], bool]

_HIGHEST = 2**20
_MOST_LEVELS = 8
_ACTIVATIONS = ("gelu", "gelu_new", "mish", "quick_gelu", "relu", "silu", "swish")


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
UNET: Mapping[str, Check] = {
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
UNET_FIXED: Config = {
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
AUTOENCODER: Mapping[str, Check] = {
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
AUTOENCODER_FIXED: Config = {"latents_mean": None, "latents_std": None, "shift_factor": None}
_TOKEN = _either(_nothing, _whole(0))
TEXT: Mapping[str, Check] = {
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
SCHEDULER: Mapping[str, Check] = {
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
