"""The range of strengths of each mitigation, checked before a model is loaded."""

from __future__ import annotations

import math

from mmh_core.mitigations.attention_attenuation import STRONGEST
from mmh_core.mitigations.catalogue import mitigation
from mmh_core.records import MMHError

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
