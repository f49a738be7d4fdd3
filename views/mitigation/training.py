"""Training-time mitigation: deduplication and early stopping of the shipped model."""

from __future__ import annotations

from html import escape

import streamlit as st

from mmh_core.installation import PROGRAM
from mmh_core.memorization.verdict import OUTCOME_ROWS
from mmh_core.plots.training_mitigation import group_name, training_curves
from mmh_core.studies.mitigation.robustness_rows import robustness_words
from mmh_core.studies.mitigation.training_run import (
    ARMS,
    REFERENCE,
    TrainingMitigationRun,
    TrainingMitigationSnapshot,
    early_stop,
)
from views import models as model_session
from views.images import image_html
from views.mitigation import session as mitigation_session
from views.mitigation.state import key
from views.widgets import layout, words

_AS_IS, _SINGLE = (arm.name for arm in ARMS)
_ROW = "grid-template-columns: repeat(4, minmax(0, 9rem))"
_COMMAND = f"{PROGRAM} pocket training-mitigation --out FILE"


def section(model: str) -> None:
    """Show deduplication and early stopping: copies, LID and images."""
    layout.heading(
        "Training-time mitigation",
        "All other mitigations leave the model as it is; these two change its training. A "
        "narrower network was trained twice on a part of the shipped data set, as it is and "
        "with every image once, all else equal: one seed, so it shows a direction, not an "
        "effect size.",
        help=f"{words.DD_MEM} {words.OD_MEM}",
    )
    run = mitigation_session.training_run() if model == model_session.POCKET else None
    if run is None or not run.snapshots:
        st.info(
            "There is no training run for this model: only that of the shipped one can be "
            "repeated here.",
            icon=":material/info:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        group = st.segmented_control(
            "Captions",
            [name for name in run.groups if name != REFERENCE],
            default=run.groups[0],
            required=True,
            key=key("training_group"),
            format_func=_captions,
            label_visibility="collapsed",
        )
        single = st.toggle(
            "Deduplication",
            True,
            key=key("deduplicated"),
            help="Train with every distinct image once.",
        )
        stop_early = st.toggle(
            "Early stopping",
            True,
            key=key("stopped_early"),
            help="Stop at the step with the fewest copies, among the steps at which the alignment "
            "of reference captions is nearly that of the end. It is chosen on these same "
            "images.",
        )
    columns, stopped = _columns(run, single=single, stop_early=stop_early)
    if stop_early and stopped is None:
        st.caption("No earlier step was better: early stopping does not help here.")
    _table(columns, run.groups)
    arms = (_AS_IS, _SINGLE) if single else (_AS_IS,)
    layout.chart(training_curves(run, str(group), arms, stopped), "mi_training_curves")
    _images(columns, str(group))
    st.caption(
        f"{run.config.steps:,} steps of {run.config.batch} images. Train it again by "
        f"`{_COMMAND}`; it took {words.duration_words(run.seconds)} where it was made."
    )


def _captions(group: str) -> str:
    return f"{group_name(group).capitalize()} captions"


def _columns(
    run: TrainingMitigationRun, *, single: bool, stop_early: bool
) -> tuple[list[tuple[str, TrainingMitigationSnapshot]], TrainingMitigationSnapshot | None]:
    """Return what is compared, as trained first, and the step at which training is stopped."""
    plain = run.arm(_AS_IS)
    chosen = run.arm(_SINGLE) if single and run.arm(_SINGLE) else plain
    name = "deduplicated" if chosen is not plain else "as trained"
    columns = [("as trained", plain[-1])]
    if chosen is not plain:
        columns.append((name, chosen[-1]))
    stopped = early_stop(chosen) if stop_early else None
    if stopped is not None:
        early_name = "early stopping" if chosen is plain else f"{name}, early stopping"
        columns.append((early_name, stopped))
    return columns, stopped


def _table(columns: list[tuple[str, TrainingMitigationSnapshot]], groups: tuple[str, ...]) -> None:
    """Show the numbers of what is compared side by side."""

    def row(label: str, values: list[str]) -> dict[str, str]:
        return {"": label} | dict(zip([name for name, _ in columns], values, strict=True))

    snapshots = [snapshot for _, snapshot in columns]
    rows = [row("Training step", [f"{snapshot.step:,}" for snapshot in snapshots])]
    for group in groups:
        name = _captions(group)
        rows.append(
            row(
                f"{name}: copy rate",
                [words.percent(_copied(snapshot, group)) for snapshot in snapshots],
            )
        )
        rows.append(
            row(
                f"{name}: LID, median",
                [words.number(snapshot.median_lid(group), 1) for snapshot in snapshots],
            )
        )
    fits = [words.number(snapshot.mean("alignment", REFERENCE), 3) for snapshot in snapshots]
    rows.append(row("Reference captions: alignment", fits))
    ways = ("paraphrases", "other seeds", "re-trigger attack", "attack on reference captions")
    returned = [robustness_words(snapshot.robustness) for snapshot in snapshots]
    for way, texts in zip(ways, zip(*returned, strict=True), strict=True):
        rows.append(row(f"Copies that come back, {way}", list(texts)))
    st.dataframe(rows, hide_index=True, height="content")


def _copied(snapshot: TrainingMitigationSnapshot, group: str) -> float:
    return snapshot.mean("copied", group)


def _images(columns: list[tuple[str, TrainingMitigationSnapshot]], group: str) -> None:
    """Show the first images of a group, from the same noise in every column."""
    layout.heading(
        f"The same captions and noise: {_captions(group).lower()}",
        "One row for each way of training; framed in orange: copies of a training image.",
    )
    row = columns[0][1].groups.index(group)
    for name, snapshot in columns:
        figures = []
        for i, image in enumerate(snapshot.images[row]):
            copied = bool(snapshot.copied[row][i])
            verdict = "a copy" if copied else "no copy"
            lid = words.number(float(snapshot.lid[row][i]), 1)
            element = image_html.img(image, f"{name}: {verdict}", most=image_html.THUMB)
            frame = OUTCOME_ROWS["copy"].outline if copied else ""
            figures.append(
                f'<figure style="margin: 0"><div style="{frame}">{element}</div>'
                f"<figcaption>{verdict}, LID {lid}</figcaption></figure>"
            )
        image_html.show(
            f'<p style="margin: .2rem 0; font-weight: 600">{escape(name)}</p>'
            f'<div class="im-grid" style="{_ROW}">{"".join(figures)}</div>'
        )
