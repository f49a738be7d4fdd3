"""A comparison of detectors: the short answer, then each chart with what it means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.installation import PROGRAM
from mmh_core.plots import benchmark as plots
from mmh_core.studies.detection.advice import advice
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, CauseResults, DetectorRow
from mmh_core.studies.detection.figures import RowFigures
from mmh_core.studies.detection.findings import best_row, findings
from views.benchmark import charts, state, tables
from views.benchmark import session as benchmark_session
from views.benchmark.threshold import threshold
from views.images import image_html
from views.widgets import downloads, layout, words


def nothing() -> None:
    """Show what to do where nothing is precomputed."""
    st.info(
        "This copy holds no precomputed comparison. Make it with the command below, or upload "
        "a table of labeled prompts in the sidebar.",
        icon=":material/info:",
    )
    st.code(f"{PROGRAM} benchmark --out assets/benchmark/pocket-sd.safetensors", language="bash")


def result(run: BenchmarkRun, settings: state.BenchmarkSettings) -> None:
    """Show everything about one comparison: sentences, charts, tables."""
    image_html.show_missing(run.missing, run.notes)
    figures = benchmark_session.figures(run)
    _sentences(run, figures)
    _answer(run)
    charts.doses(run)
    charts.groups(run)
    charts.fixed(run, figures)
    _causes(run)
    _truth(run)
    threshold(run, settings)
    layout.heading(
        "Detector performance: memorized against reference prompts",
        "Right is better; the whiskers are 95 % intervals over prompts. Detectors whose "
        "intervals overlap are not distinguished by this benchmark.",
        help="AUC: the probability that a memorized prompt scores above a reference prompt. "
        "TPR at 1 % FPR: the share of memorized prompts detected while one reference "
        "prompt in a hundred is flagged.",
    )
    layout.chart(plots.separations(run.rows), "bm_separations")
    _wrong_way(run)
    _table(run)
    tables.figures(run, figures)
    tables.networks(run)
    _combined(run)
    tables.published(run)
    _limits(run)
    if run.of_model:
        layout.recommendation(*advice(run))


def _sentences(run: BenchmarkRun, figures: Sequence[RowFigures]) -> None:
    """Show what the file shows, and what it does not show about a real checkpoint."""
    with st.container(border=True):
        layout.part("What this shows, and what it does not show about a real checkpoint")
        lines = (layout.plain(sentence) for sentence in findings(run, figures))
        st.markdown("\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1)))


def _answer(run: BenchmarkRun) -> None:
    """Show the most important figures in one row."""
    by_name = {row.name: row for row in run.rows}
    best = best_row(run.of_model)
    counted = best.all
    st.caption(
        f"{run.model}, {counted.positives} memorized and "
        f"{words.plural(counted.negatives, 'reference prompt')} that nothing was fitted on, "
        f"{words.plural(len(run.seeds), 'seed')} each, "
        f"{words.plural(run.sampling.steps, 'step')}, guidance {run.sampling.guidance:g}."
    )
    columns = st.columns(4)
    _measured(columns[0], "Best detector (AUC)", best)
    for column, label, name in (
        (columns[1], "Early scan (AUC)", "early_scan"),
        (columns[2], "LID, unconditional (AUC)", "lid_unconditional_count"),
    ):
        if name in by_name:
            _measured(column, label, by_name[name])
    cause = run.cause
    columns[3].metric(
        "Cause, balanced accuracy",
        "not identifiable" if cause is None else f"{cause.accuracy:.0%}",
        None if cause is None else f"95 % interval {cause.low:.0%} to {cause.high:.0%}",
        delta_color="off",
        delta_arrow="off",
        border=True,
        help="Over copied memorized captions of known cause: the mean over causes of the share "
        "that is attributed rightly. Where only one cause occurs, 100 % shows little.",
    )


def _measured(column: st.delta_generator.DeltaGenerator, label: str, row: DetectorRow) -> None:
    column.metric(
        label,
        f"{row.all.auc:.3f}",
        f"TPR {row.all.tpr:.0%} at 1 % FPR",
        delta_color="off",
        delta_arrow="off",
        border=True,
        help=f"{row.label}: area under the ROC curve, 95 % interval {row.all.auc_low:.3f} to "
        f"{row.all.auc_high:.3f}; below it the true-positive rate, the share of memorized "
        "prompts flagged at the threshold that flags 1 % of the reference prompts.",
    )


def _wrong_way(run: BenchmarkRun) -> None:
    """Show which detectors rank the wrong way round on this test half."""
    below = [row.label for row in run.rows if row.all.auc_high < 0.5]
    if below:
        st.caption(
            "An AUC below 0.5 means that reference prompts score higher than memorized ones: "
            f"{'; '.join(below)}. On another model these detectors may rank the right way round."
        )


def _table(run: BenchmarkRun) -> None:
    rows = sorted(run.rows, key=lambda row: (-row.all.auc, -row.all.tpr))
    with st.expander("Results as a table", icon=":material/table_rows:"):
        st.dataframe(
            [
                {
                    "Detector": row.label,
                    "AUC": row.all.auc,
                    "TPR at 1 % FPR": row.all.tpr,
                    "NFE": row.nfe,
                    "Generation NFE": row.generation_nfe or None,
                    **{f"AUC {kind}": separation.auc for kind, separation in row.kinds},
                    "Citation": row.citation,
                }
                for row in rows
            ],
            hide_index=True,
            height="content",
            column_config={
                "AUC": st.column_config.NumberColumn(format="%.3f"),
                "TPR at 1 % FPR": st.column_config.NumberColumn(format="%.3f"),
                "NFE": st.column_config.NumberColumn(
                    format="%.1f",
                    help=(
                        "Number of function evaluations (passes of the network) per image, beyond "
                        "those of its generation."
                    ),
                ),
                "Generation NFE": st.column_config.NumberColumn(
                    format="%.0f",
                    help=("NFE of generating the image; empty: no image is needed."),
                ),
            }
            | {
                f"AUC {kind}": st.column_config.NumberColumn(format="%.3f")
                for kind, _ in run.rows[0].kinds
            },
        )
        downloads.offer(
            "Table (CSV)",
            f"benchmark-{run.model}.csv",
            lambda: frame_csv(run.frame()),
            "bm_csv",
        )


def _truth(run: BenchmarkRun) -> None:
    if bool(run.data_lid.isnan().all()):
        return
    layout.heading(
        "Model LID against true LID",
        "Above the dashed line the network itself adds dimensions, so compare ranks and not "
        "values; far below it the model LID is lower than the data LID: overfitting.",
        help=words.LID,
    )
    layout.chart(plots.lid_against_truth(run), "bm_truth")


def _causes(run: BenchmarkRun) -> None:
    layout.heading(
        "Cause: overfitting, the data, or both",
        "For memorized captions whose images are copies. The cause is attributed by the training "
        "set around the copied image (its duplicates, near-duplicates, and data LID) and the "
        "model LID. Overfitting (OD-Mem) can be reduced by training, data-driven memorization "
        "(DD-Mem) only by changing the data.",
    )
    cause = run.cause
    if cause is None:
        st.info(
            "No caption of known cause is copied, or there are no training images to search, so "
            "the cause is not identifiable.",
            icon=":material/info:",
        )
        return
    left, right = layout.side_by_side("bm_cause", (3, 2))
    with left:
        layout.chart(plots.causes(cause), "bm_causes")
    with right:
        ends = f"95 % interval {cause.low:.2f} to {cause.high:.2f}"
        spread = "" if math.isnan(cause.low) else f" ({ends})"
        rows = [
            ("Balanced accuracy", f"{cause.accuracy:.2f}{spread}"),
            ("Captions", f"{len(cause.prompts)}"),
        ]
        if not math.isnan(cause.threshold):
            rows.append(
                (
                    "Threshold on data LID, in the version that made this file",
                    f"> {cause.threshold:.1f} dimensions",
                )
            )
        layout.facts(rows)
        if len(set(cause.true)) == 1:
            st.caption(
                "Only one cause occurs here, so nothing is shown about telling causes apart."
            )
    _reliability(cause)


def _reliability(cause: CauseResults) -> None:
    """Show how well the confidence of causes is calibrated; nothing where there is none."""
    if cause.confidence is None or bool(cause.confidence.isnan().all()):
        return
    layout.heading(
        "Reliability of the confidence",
        "Answers in groups of like confidence: the share that is right, with its exact 95 % "
        "interval. A calibrated confidence lies on the dashed line.",
    )
    layout.chart(plots.reliability(cause.confidence, cause.right), "bm_reliability")


def _limits(run: BenchmarkRun) -> None:
    count = best_row(run.rows).all.negatives
    allowed = int(0.01 * count)
    strict = words.plural(allowed, "prompt") if allowed else "less than one"
    with st.expander("Limits", icon=":material/info:", expanded=True):
        st.markdown(
            "- The labels describe the data, not what the model does: a duplicated caption counts "
            "as memorized even where the model failed to learn it. The truth by image stands in "
            f"a table of its own.\n- One percent of {words.plural(count, 'reference prompt')} is "
            f"{strict}: read the TPR at 1 % FPR with its interval.\n- Prompts of one subject "
            "resemble one another, which the intervals over prompts do not take into account."
        )


def _combined(run: BenchmarkRun) -> None:
    """Show the weights of the logistic regression; nothing where none was fitted."""
    combined = run.combined
    if combined is None:
        return
    labels = {row.name: row.label for row in run.detectors}
    with st.expander("Weights of the combined score", icon=":material/functions:"):
        layout.heading(
            "A logistic regression, fitted on the calibration half",
            f"Five-fold cross-validation within that half gives an AUC of {combined.cv_auc:.3f}; "
            f"on the test half it is {combined.row.all.auc:.3f}. Each score enters in units of "
            "its spread over reference prompts. Correlated detectors share their weight, so "
            "a small one does not mean that a detector is useless.",
        )
        order = sorted(range(len(combined.names)), key=lambda k: -abs(float(combined.weights[k])))
        st.dataframe(
            [
                {"Detector": labels[combined.names[k]], "Weight": float(combined.weights[k])}
                for k in order
            ],
            hide_index=True,
            height="content",
            column_config={"Weight": st.column_config.NumberColumn(format="%+.2f")},
        )
