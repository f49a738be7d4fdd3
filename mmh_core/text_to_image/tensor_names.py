"""The names of tensors without what training wrapped around them.

`torch.compile` inserts `_orig_mod.`, distributed training `module.` and its like, and trainers
that average their weights keep both under prefixes. As in diffusers, averaged (EMA) weights are
taken only where the others are missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_AVERAGED = re.compile(r"ema|shadow|averag", re.IGNORECASE)
#: The first layer of the averaged network as Stable Diffusion's own training code names it.
FLAT_EMA = "model_ema.diffusion_model"
_FLAT_WORDS = re.compile(
    r"(?:input|output)_blocks(?=\d)|middle_block|transformer_blocks|time_embed|in_layers"
    r"|out_layers|emb_layers|skip_connection|attn[12]|to_[qkv]|to_out|ff|net|proj_in|proj_out"
    r"|proj|norm[123]?|conv|op|out|weight|bias|\d+"
)
LEFT_OUT = "It also holds averaged (EMA) weights; the others are used, as in diffusers."
USED = "Only its averaged (EMA) weights are there, and they are used."


def without_wrappers(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the same under names without what compiling or sharding inserted."""
    plain = {}
    for name, tensor in tensors.items():
        short = name
        for wrapper in _WRAPPERS:
            short = short.replace(wrapper, "")
        plain[short] = tensor
    return plain


def of_part(tensors: Mapping[str, T], marks: tuple[str, ...]) -> tuple[dict[str, T], str]:
    """Return one network's tensors under their own names, and a note for the reader, "" for none.

    `marks` are names of its tensors, each enough to know it by: what stands before one is the
    prefix. Empty where no mark is there. Of several prefixes the one that is not an average's is
    taken, the shortest first. The second value is "" where there was no choice.
    """
    for mark in marks:
        prefixes = {
            name.removesuffix(mark)
            for name in tensors
            if name == mark or name.endswith("." + mark)
        }
        if not prefixes:
            continue
        averaged = {prefix for prefix in prefixes if _AVERAGED.search(prefix)}
        prefix = min(prefixes - averaged or averaged, key=lambda text: (len(text), text))
        note = USED if prefix in averaged else LEFT_OUT if averaged else ""
        network = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        return network, note
    return {}, ""


def from_flat_ema(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the averaged network of a checkpoint under its original names.

    Training stored it without the dots: `model_ema.diffusion_modelinput_blocks00weight` is
    `input_blocks.0.0.weight`. Behind a block stands one digit for the place in it.
    """
    averaged = {}
    for name, tensor in tensors.items():
        if not name.startswith(FLAT_EMA):
            continue
        words = _FLAT_WORDS.findall(name[len(FLAT_EMA) :].lstrip("."))
        dotted = ".".join(words)
        dotted = re.sub(r"^((?:in|out)put_blocks)\.(\d+)(\d)\b", r"\1.\2.\3", dotted)
        averaged[dotted] = tensor
    return averaged
