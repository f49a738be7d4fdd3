"""One detector's scores with a threshold to move, and list the prompts behind them."""

from __future__ import annotations

import math
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mmh_core.plots import benchmark as plots
from mmh_core.studies.detection.benchmark_run import (
    BenchmarkRun,
    DetectorRow,
    ThresholdCounts,
    counts,
)
from mmh_core.subject.reference_scores import Proportion, threshold_words
from views.benchmark import state
from views.widgets import layout, words


def threshold(run: BenchmarkRun, settings: state.BenchmarkSettings) -> None:
    """Show the choice of a detector and a threshold, and the errors that follow."""
    layout.heading(
        "Detection threshold",
        "Prompts right of the line are flagged. A higher false-positive rate moves the line left: "
        "more memorized prompts are detected and more reference prompts flagged. Which error is "
        "worse depends on the use.",
    )
    names = [row.name for row in run.rows]
    labels = {row.name: row.label for row in run.rows}
    if settings.detector not in names:
        st.session_state[state.key("detector")] = names[0]
    left, right = layout.side_by_side("bm_threshold")
    with left:
        name = st.selectbox(
            "Detector",
            names,
            format_func=lambda candidate: labels[candidate],
            key=state.key("detector"),
        )
    row = next(candidate for candidate in run.rows if candidate.name == name)
    with right:
        fpr = st.slider(
            "Target false-positive rate",
            0.0,
            20.0,
            1.0,
            0.5,
            format="%.1f %%",
            key=state.key("share"),
            help="The threshold is set on the calibration half's reference prompts, not on these.",
        )
    flagged = counts(run, row, fpr / 100)
    value = flagged.threshold
    st.caption(
        f"A threshold of {value:.3g}, "
        f"{threshold_words(fpr / 100, len(row.reference_scores))}. It is set on reference prompts "
        "of the calibration; with few of them a single outlier moves it far."
    )
    layout.chart(plots.scores(run, row, value), "bm_scores")
    _consequences(run, flagged)
    _prompts(run, row, value)


def _consequences(run: BenchmarkRun, counted: ThresholdCounts) -> None:
    flagged, precision = counted.flagged, counted.precision
    columns = st.columns(5 if counted.paraphrases.total else 4)
    columns[0].metric("Flagged", f"{flagged.count} of {flagged.total}")
    columns[1].metric(
        "Precision",
        f"{precision.count / precision.total:.0%}" if precision.total else "none flagged",
        help="Of the flagged prompts, the share that is memorized"
        + (f": {precision.words()}." if precision.total else "."),
    )
    _flagged(
        columns[2],
        "Detected, training captions" if counted.paraphrases.total else "Detected",
        counted.memorized,
        "Memorized prompts that are flagged, paraphrases not counted",
    )
    if counted.paraphrases.total:
        _flagged(
            columns[3],
            "Detected, paraphrases",
            counted.paraphrases,
            "Paraphrases of memorized captions that are flagged",
        )
    columns[-1].metric(
        "False positives",
        f"{counted.reference.count} of {counted.reference.total}",
        help="Reference prompts of the test half that are flagged; the threshold comes from the "
        "calibration half.",
    )
    if counted.excluded.total:
        reasons = "; ".join(dict.fromkeys(one.exclusion for one in run.prompts if one.exclusion))
        st.caption(
            f"{words.plural(counted.excluded.total, 'prompt')} "
            f"({layout.plain(reasons)}) are excluded and counted in none of these figures; "
            f"{counted.excluded.count} of them exceed the threshold."
        )


def _flagged(column: DeltaGenerator, label: str, counted: Proportion, about: str) -> None:
    """Show how many prompts of how many exceed the threshold."""
    numbers = f": {counted.words()}." if counted.total else ": there are none."
    column.metric(label, f"{counted.count} of {counted.total}", help=about + numbers)


def _prompts(run: BenchmarkRun, row: DetectorRow, value: float) -> None:
    order = sorted(range(len(run.prompts)), key=lambda i: -float(row.scores[i]))
    excluded = any(prompt.exclusion for prompt in run.prompts)
    with st.expander("Scored prompts", icon=":material/list:"):
        st.caption("The link opens a prompt on the images page.")
        st.dataframe(
            [
                {
                    "Score": float(row.scores[i]),
                    "Flagged": float(row.scores[i]) > value,
                    "Kind": run.prompts[i].kind,
                    **({"Excluded": run.prompts[i].exclusion} if excluded else {}),
                    "Prompt": run.prompts[i].prompt,
                    "Copy rate": None
                    if bool(run.copied[i].isnan())
                    else 100 * float(run.copied[i]),
                    "Open": _link(run.model, run.prompts[i].prompt),
                }
                for i in order
            ],
            hide_index=True,
            height=320,
            column_config={
                "Score": st.column_config.NumberColumn(format="%.3g"),
                "Prompt": st.column_config.TextColumn(width="large"),
                "Copy rate": st.column_config.NumberColumn(
                    format="%.0f %%", help="Share of this prompt's images that are copies."
                ),
                "Open": st.column_config.LinkColumn(display_text="Images"),
            },
        )


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else 100 * share


def _link(model: str, prompt: str) -> str:
    """Return the address of the images page with this prompt in its form."""
    return f"/images?{urlencode({'model': model, 'prompt': prompt})}"
