"""The paragraphs of `docs/results/` that hold figures, made from the JSON that benchmarks wrote.

No text here holds a digit: a figure comes from the data, and a bar from the code, the data or
`BARS`. What a sentence says in words is checked too: where the data no longer has it so, `holds`
refuses, and the sentence has to be written anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.scripts.sentences import detectors, lid, mitigations, speed

SENTENCES: dict[str, Callable[[Path], str]] = {
    "closed-forms": lid.closed_forms,
    "trained-networks": lid.trained_networks,
    "jacobian-rank": lid.jacobian_rank,
    "circle": lid.circle,
    "exact-copies": lid.exact_copies,
    "digits": lid.digits,
    "embedded-model": lid.embedded_model,
    "recolored": lid.recolored,
    "detectors-shown": detectors.shown,
    "detectors": detectors.bars,
    "detector-thresholds": detectors.thresholds,
    "detector-failures": detectors.failures,
    "mitigations": mitigations.counted,
    "mitigations-found": mitigations.outcome,
    "reference-captions": mitigations.reference_captions,
    "rank-correlation": mitigations.rank_correlation,
    "token-attribution": mitigations.token_attribution,
    "training-mitigation": mitigations.training_mitigation,
    "scan": speed.scan,
    "images": speed.images,
}
