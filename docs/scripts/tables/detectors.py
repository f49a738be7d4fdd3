"""Tables of the benchmark of detectors, as the command prints them."""

from __future__ import annotations

from pathlib import Path

from docs.scripts.figures import benchmark_run
from mmh_core.report import detection_tables, response_tables
from mmh_core.studies.detection.figures import row_figures


def detectors(data: Path) -> str:
    """Return one row per detector, the best first."""
    return detection_tables.detector_table(benchmark_run(data)).markdown()


def rates(data: Path) -> str:
    """Return the realized rates at thresholds set beforehand."""
    run = benchmark_run(data)
    return detection_tables.rate_table(run, row_figures(run)).markdown()


def roc(data: Path) -> str:
    """Return the ROC curves of every group, text alone beside the best detector."""
    return detection_tables.roc_table(benchmark_run(data)).markdown()


def facts(data: Path) -> str:
    """Return the areas by caption and by image."""
    run = benchmark_run(data)
    return detection_tables.fact_table(run, row_figures(run)).markdown()


def doses(data: Path) -> str:
    """Return copy rate, LID and guidance norm against the occurrences of an image."""
    return response_tables.dose_table(benchmark_run(data)).markdown()


def cause(data: Path) -> str:
    """Return the confusion matrix of the cause."""
    return response_tables.cause_table(benchmark_run(data)).markdown()


def reliability(data: Path) -> str:
    """Return how often causes of like confidence are right."""
    return response_tables.reliability_table(benchmark_run(data).cause).markdown()


def networks(data: Path) -> str:
    """Return mean and spread of the detectors over networks."""
    return response_tables.network_table(benchmark_run(data).networks).markdown()
