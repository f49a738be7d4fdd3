"""All mitigations by name, with their usual strengths."""

from __future__ import annotations

from mmh_core.mitigations.anti_memorization import AntiMemorizationGuidance
from mmh_core.mitigations.attention_attenuation import AttentionAttenuation
from mmh_core.mitigations.attention_masking import AttentionMasking
from mmh_core.mitigations.chain import AutomaticChain
from mmh_core.mitigations.embedding_optimization import EmbeddingOptimization
from mmh_core.mitigations.guidance_schedule import DynamicGuidance, GuidanceSchedule
from mmh_core.mitigations.initial_noise import NoiseAdjustment, NoiseOptimization
from mmh_core.mitigations.none import NoMitigation
from mmh_core.mitigations.padding_fix import PaddingFix
from mmh_core.mitigations.raise_lid import RaiseLid
from mmh_core.mitigations.random_tokens import RandomTokens
from mmh_core.mitigations.record import Mitigation
from mmh_core.mitigations.rewrite import TokenRewrite
from mmh_core.mitigations.sparse_repellency import SparseRepellency

#: Generated beside the others in every comparison.
BASELINES = ("none", "random_tokens")

_SINGLE: dict[str, Mitigation] = {
    "none": NoMitigation(),
    "random_tokens": RandomTokens(),
    "rewrite": TokenRewrite(),
    "embedding_optimization": EmbeddingOptimization(),
    "raise_lid": RaiseLid(),
    "static_guidance": GuidanceSchedule(),
    "opposite_guidance": GuidanceSchedule(
        strength=0.35,
        early=-2.0,
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


def mitigation(name: str) -> Mitigation:
    """Return a mitigation with its usual strength; ValueError for an unknown name."""
    if name not in MITIGATIONS:
        raise ValueError(f"Unknown mitigation {name!r}; choose from {list(MITIGATIONS)}.")
    return MITIGATIONS[name]
