"""All mitigations by name, with their usual strengths and the range of each."""

from __future__ import annotations

import math

from mmh_core.mitigations.anti_memorization import AntiMemorizationGuidance
from mmh_core.mitigations.attention_attenuation import STRONGEST, AttentionAttenuation
from mmh_core.mitigations.attention_masking import AttentionMasking
from mmh_core.mitigations.chain import AutomaticChain
from mmh_core.mitigations.embedding_optimization import EmbeddingOptimization
from mmh_core.mitigations.guidance_schedule import DynamicGuidance, GuidanceSchedule
from mmh_core.mitigations.initial_noise import NoiseAdjustment, NoiseOptimization
from mmh_core.mitigations.interface import Mitigation
from mmh_core.mitigations.lid_guided_embedding import LidGuidedEmbedding
from mmh_core.mitigations.none import NoMitigation
from mmh_core.mitigations.padding_fix import PaddingFix
from mmh_core.mitigations.random_tokens import RandomTokens
from mmh_core.mitigations.rewrite import TokenRewrite
from mmh_core.mitigations.sparse_repellency import SparseRepellency
from mmh_core.records import MMHError

#: Generated beside the others in every comparison.
BASELINES = ("none", "random_tokens")

_SINGLE: dict[str, Mitigation] = {
    "none": NoMitigation(),
    "random_tokens": RandomTokens(),
    "rewrite": TokenRewrite(),
    "embedding_optimization": EmbeddingOptimization(),
    "raise_lid": LidGuidedEmbedding(),
    "static_guidance": GuidanceSchedule(),
    "opposite_guidance": GuidanceSchedule(
        strength=0.35,
        initial_scale=-2.0,
        name="opposite_guidance",
        label="Opposite guidance",
        summary="Steers away from the prompt before a fixed transition point, towards it after.",
        strength_label="share of the time with opposite guidance",
        strengths=(0.15, 0.35, 0.5),
    ),
    "dynamic_guidance": DynamicGuidance(),
    "noise_adjustment": NoiseAdjustment(),
    "noise_optimization": NoiseOptimization(),
    "attention_masking": AttentionMasking(),
    "attention_attenuation": AttentionAttenuation(),
    "padding_fix": PaddingFix(),
    "sparse_repellency": SparseRepellency(),
    "anti_memorization_guidance": AntiMemorizationGuidance(),
}

MITIGATIONS: dict[str, Mitigation] = {
    **_SINGLE,
    "automatic_chain": AutomaticChain(
        tuple(single for name, single in _SINGLE.items() if name not in BASELINES)
    ),
}

#: What of a generation each changes, in the order in which a generation comes to it.
ACTS_ON: dict[str, tuple[str, ...]] = {
    "prompt": ("random_tokens", "rewrite"),
    "prompt embedding": ("embedding_optimization", "raise_lid", "padding_fix"),
    "starting noise": ("noise_adjustment", "noise_optimization"),
    "cross-attention": ("attention_masking", "attention_attenuation"),
    "guidance": ("static_guidance", "opposite_guidance", "dynamic_guidance"),
    "denoised image": ("sparse_repellency", "anti_memorization_guidance"),
    "several in turn": ("automatic_chain",),
}
#: Those that search the training images while they generate.
SEARCHING = ("anti_memorization_guidance",)


def mitigation(name: str) -> Mitigation:
    """Return a mitigation with its usual strength; ValueError for an unknown name."""
    if name not in MITIGATIONS:
        raise ValueError(f"Unknown mitigation {name!r}; choose from {list(MITIGATIONS)}.")
    return MITIGATIONS[name]


def strength_words(name: str, strength: float) -> str:
    """Return a strength with its meaning, such as 50 % of the padding; "" where there is none."""
    record = mitigation(name)
    if len(record.strengths) == 1:
        return ""
    if record.strength_label.startswith(_SHARE):
        return f"{100 * strength:g} % of {record.strength_label.removeprefix(_SHARE)}"
    return f"{record.strength_label}: {strength:g}"


def mitigation_words(name: str, strength: float) -> str:
    """Return the label of a mitigation with its strength in brackets, where it has several."""
    record = mitigation(name)
    if len(record.strengths) == 1:
        return record.label
    is_share = record.strength_label.startswith(_SHARE)
    number = f"{100 * strength:g} %" if is_share else f"{strength:g}"
    most = "up to " if record.strength_label.endswith("at most") else ""
    return f"{record.label} ({most}{number})"


#: How the labels of strengths begin that are shares, and are shown in percent.
_SHARE = "share of "
#: Words, tokens, rounds and weights; the strength of all others is a share or a cosine.
_MOST = 100.0
_LIMITS = {
    "none": math.inf,
    "random_tokens": _MOST,
    "rewrite": _MOST,
    "noise_adjustment": _MOST,
    "attention_masking": _MOST,
    "attention_attenuation": STRONGEST,
    "anti_memorization_guidance": _MOST,
    "automatic_chain": _MOST,
}


def most_strength(name: str) -> float:
    """Return the largest strength that a mitigation takes; the least is 0."""
    return _LIMITS.get(name, 1.0)


def check_strength(name: str, strength: float) -> None:
    """Raise MMHError for a strength out of range, ValueError for an unknown mitigation."""
    chosen, most = mitigation(name), most_strength(name)
    if math.isfinite(strength) and 0 <= strength <= most:
        return
    wrong = "is out of its range" if math.isfinite(strength) else "is no number"
    limit = "0 or more" if math.isinf(most) else f"a number from 0 to {most:g}"
    raise MMHError(
        f"The strength {strength:g} of {name} {wrong}: choose {limit} ({chosen.strength_label})."
    )
