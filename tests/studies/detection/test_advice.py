"""Which detector is advised: the cheapest among those that are as good as the best."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmh_core.studies.detection.advice import advice, cheapest_good
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from mmh_core.studies.detection.findings import best_row
from tests.studies.detection.test_findings import separated


def with_costs(*costs: float) -> BenchmarkRun:
    run = separated(1.0, 0.0)
    rows = tuple(
        replace(run.of_model[0], name=f"d{i}", label=f"Detector {i}", nfe=cost, generation_nfe=0)
        for i, cost in enumerate(costs)
    )
    return replace(run, detectors=rows, combined=None)


def test_of_equals_the_cheapest_is_advised_with_its_cost() -> None:
    run = with_costs(40.0, 5.0, 60.0)
    assert cheapest_good(run).label == "Detector 1"
    text, sure = advice(run)
    assert "Screen prompts by Detector 1" in text and "5 network evaluations" in text
    assert "has to be measured" in sure or "have to be measured on it" in sure


def test_a_cheap_one_below_the_interval_of_the_best_is_not_advised() -> None:
    run = with_costs(40.0, 5.0)
    good, poor = run.detectors
    low = good.all.auc_low - 0.01
    run = replace(run, detectors=(good, replace(poor, all=replace(poor.all, auc=low))))
    assert cheapest_good(run).label == best_row(run.of_model).label == "Detector 0"
    assert "the best of this file" in advice(run)[0]


def test_without_detectors_none_is_advised() -> None:
    with pytest.raises(ValueError, match="without detectors"):
        cheapest_good(with_costs())
