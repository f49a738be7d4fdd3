"""How a run trained, how the estimators compare on it, and how well it fits."""

from __future__ import annotations

import math

import streamlit as st

from mmh_core.plots import curves, summaries, theme
from mmh_core.studies.manifolds.run import EstimatorRow, ManifoldRun, Snapshot
from views.manifolds import training_mitigation
from views.widgets import layout, words


def progress(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Show loss, LID and copies over training, and the distribution of LID now."""
    layout.heading(
        "Training curves",
        "The loss should level off. Memorization begins where model LID falls below the true "
        "LID. A distance ratio below ⅓ is a sign of copies only where more samples have one than "
        "fresh data.",
    )
    layout.chart(curves.training(run, snapshot), "mf_training")
    layout.heading(
        f"Model LID at step {snapshot.step:,}",
        "Histogram of model LID. Samples in a peak below the true LID are memorized; its width "
        "includes the estimator's own error.",
        help=words.LID,
    )
    layout.chart(summaries.lid_histogram(run, snapshot), "mf_histogram")
    training_mitigation.section(run)


def estimators(run: ManifoldRun) -> None:
    """Show all estimators side by side, with a sentence on what to conclude."""
    if not run.estimators:
        st.info(
            "The estimators are compared at the end of a run; this one was stopped before.",
            icon=":material/info:",
        )
        return
    truth_known = theme.truth_known(run)
    layout.heading(
        "Comparison of LID estimators",
        "Each chooses its own noise scale; the true LID is used for this comparison only. On "
        "another manifold the ranking can differ.",
    )
    st.text(_conclusion(run.estimators, truth_known))
    layout.chart(summaries.estimator_errors(run), "mf_estimators")
    st.dataframe(
        [_row(row, truth_known) for row in run.estimators],
        hide_index=True,
        height="content",
        placeholder="",
        column_config={
            "Estimator": st.column_config.TextColumn(width="medium"),
        }
        | {
            name: st.column_config.NumberColumn(format=form, help=help)
            for name, form, help in (
                ("Median LID", "%.2f", words.LID),
                (
                    "Mean absolute error",
                    "%.3f",
                    "Mean absolute difference from the true LID, in dimensions.",
                ),
                (
                    "Concordance",
                    "%.2f",
                    "Harrell's C: share of pairs of points in the order of their true LIDs.",
                ),
                (
                    "Standard error",
                    "%.3f",
                    "Of the LID, by the estimator's own randomness; median over points.",
                ),
                (
                    "NFE",
                    "%d",
                    (
                        "Number of function evaluations (passes of the network) per point, over "
                        "all noise scales."
                    ),
                ),
                ("Seconds", "%.2f", "For all points, on the machine of the run."),
            )
        },
    )


def _row(row: EstimatorRow, truth_known: bool) -> dict[str, object]:
    cells: dict[str, object] = {
        "Estimator": row.label,
        "Input": "the model" if row.side == "model" else "the data",
        "Median LID": _or_blank(float(row.lid.nanmedian())),
    }
    if truth_known:
        cells["Mean absolute error"] = _or_blank(row.mean_abs_error)
        if not math.isnan(row.concordance):
            cells["Concordance"] = row.concordance
    return cells | {
        "Standard error": _or_blank(row.standard_error),
        "NFE": row.nfe,
        "Seconds": row.seconds,
    }


def _or_blank(value: float) -> float | None:
    return None if math.isnan(value) else value


def _conclusion(rows: tuple[EstimatorRow, ...], truth_known: bool) -> str:
    """Return in one sentence what the comparison shows."""
    model = [row for row in rows if row.side == "model"]
    if not truth_known:
        low, high = (f(float(r.lid.nanmedian()) for r in model) for f in (min, max))
        return (
            f"The true dimension is unknown; the estimators' medians range from {low:.1f} to "
            f"{high:.1f}, so compare points by one estimator and not across them."
        )
    best = min(model, key=lambda row: row.mean_abs_error)
    near = [r for r in model if r.mean_abs_error <= 1.5 * best.mean_abs_error + 0.05]
    cheap = min(near, key=lambda row: row.nfe)
    text = (
        f"{best.label} comes closest to the truth here, {best.mean_abs_error:.2f} dimensions off "
        f"on average"
    )
    if cheap.name == best.name:
        return f"{text}."
    return f"{text}; {cheap.label} is about as good at {cheap.nfe:.0f} NFE a point."


def fit(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Show the gate of fit, which stands before every verdict."""
    layout.heading(
        "Denoising error and fit",
        "LID is trusted where the model denoises at least as well as two denoisers without a "
        "network: the best affine one, and an average of the other training points. A lower error "
        "on training than on held-out points is overfitting.",
        help=words.DELTA,
    )
    if not snapshot.fits:
        st.warning(
            "The fit is too poor for a verdict: no range of noise scales is trusted at this step.",
            icon=":material/warning:",
        )
    layout.chart(curves.fit(run, snapshot), "mf_fit")
