"""Which detector a benchmark advises to screen with, and how sure that is."""

from __future__ import annotations

from mmh_core.installation import PROGRAM
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
from mmh_core.studies.detection.findings import best_row


def cheapest_good(run: BenchmarkRun) -> DetectorRow:
    """Return the cheapest detector whose area the best one's interval holds.

    Errors: ValueError for a run without detectors.
    """
    if not run.of_model:
        raise ValueError("A run without detectors advises none.")
    best = best_row(run.of_model)
    good = [row for row in run.of_model if row.all.auc >= best.all.auc_low]
    return min(good or [best], key=lambda row: (row.nfe + row.generation_nfe, -row.all.auc))


def advice(run: BenchmarkRun) -> tuple[str, str]:
    """Return what to screen prompts with, and how sure that is."""
    chosen, best = cheapest_good(run), best_row(run.of_model)
    rank = (
        "the best of this file"
        if chosen is best
        else f"the cheapest whose AUC lies within the interval of {best.label}"
    )
    counted = chosen.all
    return (
        f"Screen prompts by {chosen.label}, {rank} (AUC {counted.auc:.3f}, "
        f"{chosen.nfe + chosen.generation_nfe:.0f} network evaluations an image), and confirm "
        "the flagged prompts by the search for copies on the images page.",
        f"Of {counted.positives} memorized and {counted.negatives} reference prompts of one "
        "model; thresholds and ranks of another checkpoint have to be measured on it: "
        f"{PROGRAM} benchmark --model NAME --prompts TABLE.",
    )
