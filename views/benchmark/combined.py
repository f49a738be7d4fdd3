"""Say what the combined score is made of, and how it fared before it met the test prompts."""

from __future__ import annotations

import streamlit as st

from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from views.widgets import layout


def combined(run: BenchmarkRun) -> None:
    """Draw the weights of the logistic regression; nothing where none was fitted."""
    found = run.combined
    if found is None:
        return
    labels = {row.name: row.label for row in run.detectors}
    with st.expander("Weights of the combined score", icon=":material/functions:"):
        layout.heading(
            "A logistic regression, fitted on the calibration half",
            f"Five-fold cross-validation within that half gives an AUC of {found.cv_auc:.3f}; on "
            f"the test half it is {found.row.all.auc:.3f}. Each score enters in units of its "
            "spread over reference prompts. Detectors that go together share their weight, so a "
            "small one does not mean that a detector is useless.",
        )
        order = sorted(range(len(found.names)), key=lambda k: -abs(float(found.weights[k])))
        st.dataframe(
            [
                {"Detector": labels[found.names[k]], "Weight": float(found.weights[k])}
                for k in order
            ],
            hide_index=True,
            height="content",
            column_config={"Weight": st.column_config.NumberColumn(format="%+.2f")},
        )
