"""Deduplication and early stopping beside the run as it was trained."""

from __future__ import annotations

import streamlit as st

from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun, Snapshot
from mmh_core.studies.manifolds.training_mitigation import Effect, deduplicated, early_stop, effect
from views.manifolds import session as manifold_session
from views.manifolds.state import key
from views.widgets import job_panel, layout, words

_JOB = key("deduplicated_job")


def section(run: ManifoldRun) -> None:
    """Show the two toggles and, for what is switched on, the numbers side by side."""
    layout.heading(
        "Training-time mitigation",
        "Deduplication acts on memorization that the data causes (DD-Mem), early stopping on "
        "what overfitting causes (OD-Mem). One run with one seed shows a direction, not an "
        "effect size.",
        help=f"{words.DD_MEM} {words.OD_MEM}",
    )
    with st.container(horizontal=True):
        alone = st.toggle(
            "Deduplication",
            key="mf_deduplicated",
            disabled=not run.config.duplicates,
            help="Train with every point once, all else equal."
            if run.config.duplicates
            else "This training set has no duplicates.",
        )
        stop_early = st.toggle(
            "Early stopping",
            key="mf_stopped_early",
            help="Of the steps with a good fit, take the one with the fewest samples memorized by "
            "LID.",
        )
    columns = [("as trained", run.snapshots[-1])]
    other = run
    if alone and run.config.duplicates:
        without = _without(run.config)
        if without is None:
            return
        other = without
        columns.append(("deduplicated", without.snapshots[-1]))
    if stop_early:
        stopped = early_stop(other)
        name = "early stopping" if other is run else "deduplicated, early stopping"
        if stopped is None:
            st.caption("No earlier step was better: early stopping does not help here.")
        else:
            columns.append((name, stopped))
    if len(columns) > 1:
        _table(columns)


def _table(columns: list[tuple[str, Snapshot]]) -> None:
    effects = [(name, effect(snapshot)) for name, snapshot in columns]

    def row(label: str, values: list[str]) -> dict[str, str]:
        return {"": label} | dict(zip([name for name, _ in effects], values, strict=True))

    def shares(name: str) -> list[str]:
        return [words.percent(getattr(outcome, name)) for _, outcome in effects]

    def lids(name: str) -> list[str]:
        return [words.number(getattr(outcome, name)) for _, outcome in effects]

    measured: list[Effect] = [outcome for _, outcome in effects]
    st.dataframe(
        [
            row("Training step", [f"{outcome.step:,}" for outcome in measured]),
            row("Model LID, median of samples", lids("lid_generated")),
            row("Model LID, median of training points", lids("lid_trained")),
            row("Samples memorized by LID", shares("memorized_generated")),
            row("Training points memorized by LID", shares("memorized_trained")),
            row("Samples of distance ratio below ⅓", shares("low_ratio_share")),
        ],
        hide_index=True,
        height="content",
    )


def _without(config: ManifoldConfig) -> ManifoldRun | None:
    """Return the run without duplicates, or show the way to it."""
    deduplicated_config = deduplicated(config)
    for run in manifold_session.past_runs(30):
        if run.config == deduplicated_config and run.state == "complete":
            return run
    job = st.session_state.get(_JOB)
    if job is not None and manifold_session.manifold_job(job).record.is_active:
        job_panel.live(
            lambda: manifold_session.manifold_job(job),
            "Stop here; the run is kept among your past runs",
            "mf_dedup_cancel",
            starting="starting",
        )
    elif st.button(
        "Train deduplicated", key="mf_train_deduplicated", icon=":material/model_training:"
    ):
        st.session_state[_JOB] = manifold_session.submit_manifold(deduplicated_config)
        st.rerun()
    else:
        _cost(deduplicated_config)
    return None


def _cost(config: ManifoldConfig) -> None:
    expectation = manifold_session.expected_seconds(config)
    if expectation is not None:
        st.caption(
            f"Takes about {words.duration_words(expectation[0])}; the run is kept among your "
            "past runs."
        )
