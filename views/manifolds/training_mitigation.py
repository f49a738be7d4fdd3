"""Draw what removing duplicates and stopping early would do, beside the run as it was trained."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun, Snapshot
from mmh_core.studies.manifolds.training_mitigation import Effect, deduplicated, early_stop, effect
from views import session
from views.manifolds.state import key
from views.widgets import layout, words

POLL_SECONDS = 1.0
_JOB = key("cure_job")


def section(run: ManifoldRun) -> None:
    """Draw the two toggles and, for what is switched on, the figures side by side."""
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
            key="mf_cure_duplicates",
            disabled=not run.config.duplicates,
            help="Train with every point once, all else equal."
            if run.config.duplicates
            else "This training set has no duplicates.",
        )
        early = st.toggle(
            "Early stopping",
            key="mf_cure_early",
            help="Take the step with the fewest samples memorized by LID among those that fit.",
        )
    columns = [("as trained", run.snapshots[-1])]
    other = run
    if alone and run.config.duplicates:
        found = _without(run.config)
        if found is None:
            return
        other = found
        columns.append(("deduplicated", found.snapshots[-1]))
    if early:
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
        return [words.percent(getattr(one, name)) for _, one in effects]

    def lids(name: str) -> list[str]:
        return [words.number(getattr(one, name)) for _, one in effects]

    found: list[Effect] = [one for _, one in effects]
    st.dataframe(
        [
            row("Training step", [f"{one.step:,}" for one in found]),
            row("Learned LID, median of samples", lids("lid_generated")),
            row("Learned LID, median of training points", lids("lid_trained")),
            row("Samples memorized by LID", shares("memorized_generated")),
            row("Training points memorized by LID", shares("memorized_trained")),
            row("Copy rate of samples", shares("copies")),
        ],
        hide_index=True,
        height="content",
    )


def _without(config: ManifoldConfig) -> ManifoldRun | None:
    """Return the run without duplicates, or draw the way to it."""
    wanted = deduplicated(config)
    for record in session.past_runs(30):
        try:
            run = session.read_run(session.data_folder() / "runs" / Path(record.result or "").name)
        except MMHError:
            continue
        if run.config == wanted and run.state == "complete":
            return run
    job = st.session_state.get(_JOB)
    if job is not None and session.job_view(job).record.is_active:
        st.fragment(_progress, run_every=POLL_SECONDS)(job)
    elif st.button("Train deduplicated", key="mf_cure_train", icon=":material/model_training:"):
        st.session_state[_JOB] = session.submit_manifold(wanted)
        st.rerun()
    else:
        _cost(wanted)
    return None


def _cost(config: ManifoldConfig) -> None:
    found = session.expected_seconds(config)
    if found is not None:
        st.caption(
            f"Takes about {words.in_words(found[0])}; the run is kept among your past runs."
        )


def _progress(job: str) -> None:
    with session.errors_as_messages():
        record = session.job_view(job).record
        if not record.is_active:
            st.rerun()
        st.progress(record.fraction, text="Training with deduplication")
