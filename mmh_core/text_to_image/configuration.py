"""The configurations of a model's parts, read as data: known fields only, each of its type.

A configuration comes with a model from anywhere. What `configuration_fields` does not list is
dropped, so that nothing in it can name code or another repository; counts of layers are compared
with the tensors, so that it cannot ask for a network of any size; and what Stable Diffusion 1 and
2 do not have is refused. Needs no library, so a bad file is refused before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmh_core.records import MMHError
from mmh_core.text_to_image.configuration_fields import (
    AUTOENCODER,
    AUTOENCODER_FIXED,
    SCHEDULER,
    TEXT,
    UNET,
    UNET_FIXED,
    Check,
    Config,
)
from mmh_core.text_to_image.weight_file_kinds import Shapes


def not_stable_diffusion(name: str, reason: str, step: str = "choose one that is") -> MMHError:
    """Return the error for a model of another kind."""
    return MMHError(
        f"{name} is not a Stable Diffusion 1 or 2 text-to-image model ({reason}): {step}."
    )


def unet_config(config: Config, shapes: Shapes, source: Path, name: str) -> dict[str, Any]:
    """Return the known fields of a UNet's configuration. Errors: MMHError."""
    checked = _fixed(config, UNET_FIXED, name)
    checked = _known(checked, UNET, source)
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
    for field in AUTOENCODER_FIXED:
        if config.get(field) is not None:
            raise not_stable_diffusion(name, f"its latents are shifted, by {field}")
    checked = _known(config, AUTOENCODER, source)
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
    checked = _known(config, TEXT, source)
    layers, there = checked.get("num_hidden_layers", 12), _text_layers(shapes)
    if layers > there:
        _same(source, "num_hidden_layers", layers, there)
    return checked


def scheduler_config(config: Config, source: Path) -> dict[str, Any]:
    """Return the known fields of a scheduler's configuration. Errors: MMHError."""
    try:
        return _known(config, SCHEDULER, source)
    except MMHError as error:
        raise MMHError(f"The noise schedule cannot be used. {error}") from error


def latent_size(config: Config) -> tuple[int, int]:
    """Return height and width of the latents that a UNet's checked configuration is made for."""
    size = config.get("sample_size") or 64
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def pixels_per_latent(config: Config) -> int:
    """Return how many pixels one latent spans along a side, by an autoencoder's configuration."""
    return int(2 ** (len(config.get("block_out_channels", (64,))) - 1))


def image_size(unet: Config, autoencoder: Config, sources: tuple[Path, Path]) -> tuple[int, int]:
    """Return height and width in pixels of a model's images, from unchecked configurations.

    Errors: MMHError.
    """
    size = latent_size(_known(unet, {"sample_size": UNET["sample_size"]}, sources[0]))
    widths = {"block_out_channels": AUTOENCODER["block_out_channels"]}
    factor = pixels_per_latent(_known(autoencoder, widths, sources[1]))
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
