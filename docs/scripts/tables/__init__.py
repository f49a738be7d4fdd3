"""The tables of `docs/results/`, made from the JSON that benchmarks wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.scripts.tables import detectors, lid, mitigations, speed, world

TABLES: dict[str, Callable[[Path], str]] = {
    "closed-forms": lid.closed_forms,
    "trained-networks": lid.trained_networks,
    "circle-seeds": lid.circle_seeds,
    "exact-copies": lid.exact_copies,
    "digits": lid.digits,
    "embedded-model": lid.embedded_model,
    "recolored": lid.recolored,
    "detectors": detectors.detectors,
    "detector-rates": detectors.rates,
    "detector-roc": detectors.roc,
    "detector-facts": detectors.facts,
    "doses": detectors.doses,
    "cause": detectors.cause,
    "cause-reliability": detectors.reliability,
    "networks": detectors.networks,
    "mitigations": mitigations.mitigations,
    "mitigation-criteria": mitigations.criteria,
    "reference-captions": mitigations.reference_captions,
    "rank-correlation": mitigations.rank_correlation,
    "dropped-tokens": mitigations.dropped_tokens,
    "training-mitigation": mitigations.training_mitigation,
    "ten-windows": speed.ten_windows,
    "world": world.world,
    "flipd-cost": speed.flipd_cost,
    "soft-count": speed.soft_count,
    "data-lid": speed.data_lid,
    "generation": speed.generation,
    "retrieval": speed.retrieval,
}
