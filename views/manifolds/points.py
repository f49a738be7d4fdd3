"""Follow the points that a person selects: one in detail, many as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.memorization.hypothesis import MEMORIZED, VERDICTS, explain
from mmh_core.memorization.verdict import POINT_ROWS, verdict_words
from mmh_core.plots import curves, theme
from mmh_core.plots.points import PointPlace, point_of
from mmh_core.studies.manifolds.run import STATUSES, ManifoldRun, Snapshot
from views.manifolds.state import key
from views.widgets import downloads, layout, words

_MOST_ROWS = 500
#: What the columns of the table are called; the exported file keeps their short names.
_HEADS = {
    "point": "Number in links",
    "kind": "Kind",
    "x0": "x₁",
    "x1": "x₂",
    "x2": "x₃",
    "true_lid": "True LID",
    "lid": "Model LID",
    "log_delta": "ln δ of the LID",
    "plateau": "Plateau",
    "verdict": "Verdict",
}


def take_selection() -> None:
    """Copy what was selected in the image: Plotly forgets it when the figure changes."""
    state = st.session_state
    ids = selected_ids(state.get("mf_figure") or {})
    if len(ids) == 1:
        state[key("point")], state[key("many")] = ids[0], []
    elif ids:
        state[key("many")] = ids


def selected_ids(event: Mapping[str, Any]) -> list[int]:
    """Return the ids in a selection of the image, ascending, each once."""
    ids = (_id(point) for point in (event.get("selection") or {}).get("points", []))
    return sorted({i for i in ids if i is not None})


def _id(point: dict[str, object]) -> int | None:
    """Return the id in one selected point; the truth in the background has none."""
    data = point.get("customdata")
    if isinstance(data, list | tuple):
        data = data[0] if data else None
    if isinstance(data, dict):
        data = next(iter(data.values()), None)
    return int(data) if isinstance(data, int | float) else None


def count(run: ManifoldRun, snapshot: Snapshot) -> int:
    """Return how many points the images have: training points first, then samples."""
    return len(snapshot.trained.lid) + len(snapshot.generated.lid)


def current(run: ManifoldRun, snapshot: Snapshot) -> int:
    """Return the id of the point to show: the chosen one, else one that is memorized."""
    point = st.session_state.get(key("point"))
    total = count(run, snapshot)
    if isinstance(point, int) and 0 <= point < total:
        return point
    if point is not None:
        st.warning(
            f"point is {point}; this run has the points 0 to {total - 1:,}.",
            icon=":material/warning:",
        )
        st.session_state[key("point")] = None
    return default_point(snapshot)


def default_point(snapshot: Snapshot) -> int:
    """Return the memorized sample of the lowest LID, else the first sample."""
    first = len(snapshot.trained.lid)
    memorized = _memorized(snapshot)
    samples = [i for i in memorized if i >= first] or memorized
    return samples[0] if samples else first


def _memorized(snapshot: Snapshot) -> list[int]:
    """Return the ids of memorized points, most severe verdict and lowest LID first."""
    first = len(snapshot.trained.lid)
    ranked = []
    for offset, estimates in ((0, snapshot.trained), (first, snapshot.generated)):
        pairs = zip(estimates.verdict.tolist(), estimates.lid.tolist(), strict=True)
        for i, (code, lid) in enumerate(pairs):
            if VERDICTS[code] in MEMORIZED:
                ranked.append((-POINT_ROWS[VERDICTS[code]].severity, lid, offset + i))
    return [i for _, _, i in sorted(ranked)]


def detail(
    run: ManifoldRun,
    snapshot: Snapshot,
    chosen: int,
    *,
    above: Callable[[ManifoldRun, Snapshot, int], None] | None = None,
) -> None:
    """Show the results of one point: LID, verdict with its reason, neighbor, LID curve.

    `above` draws what only this kind of data has, such as the image itself.
    """
    st.divider()
    point = point_of(run, snapshot, chosen)
    _stepper(snapshot, chosen, f"{point.kind.capitalize()} {point.number_in(run):,}")
    left, right = layout.side_by_side("point", (2, 3))
    with left:
        if above is not None:
            above(run, snapshot, chosen)
        _facts(run, snapshot, point)
    with right:
        layout.heading(
            "LID across noise scales",
            "The plateau is the LID. At smaller noise scales the network's approximation error "
            "dominates, at larger ones the shape of the whole data; without a plateau the value "
            "is uncertain. Of several plateaus the one at the smallest noise scale is used, "
            "since it counts thin directions too.",
            help=words.PLATEAU,
        )
        layout.chart(curves.lid_curve(run, snapshot, chosen), "mf_curve")


def _stepper(snapshot: Snapshot, chosen: int, name: str) -> None:
    total = len(snapshot.trained.lid) + len(snapshot.generated.lid)
    memorized = sorted(_memorized(snapshot))
    later = next((i for i in memorized if i > chosen), memorized[0] if memorized else None)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(name, anchor=False, width="content")
        for label, icon, target in (
            ("Previous", "arrow_back", (chosen - 1) % total),
            ("Next", "arrow_forward", (chosen + 1) % total),
            ("Next memorized", "skip_next", later),
        ):
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"mf_{label}",
                disabled=target is None,
                on_click=_choose,
                args=(target,),
            )


def _choose(point: int) -> None:
    st.session_state[key("point")] = point


def _facts(run: ManifoldRun, snapshot: Snapshot, point: PointPlace) -> None:
    estimates, i = point.estimates(snapshot), point.index
    lid, data_lid = float(estimates.lid[i]), float(estimates.data_lid[i])
    verdict = explain(VERDICTS[int(estimates.verdict[i])], lid, data_lid, run.typical_lid)
    st.badge(
        verdict_words(verdict.label),
        color="orange" if verdict.memorized else "gray",
        help=f"{words.OD_MEM} {words.DD_MEM}",
    )
    st.text(verdict.reason)
    plateau = STATUSES[int(estimates.status[i])]
    rows = [
        ("Kind", point.kind),
        ("Model LID", f"{words.number(lid)} ({plateau})"),
        ("True LID" if theme.truth_known(run) else "Data LID", words.number(data_lid)),
    ]
    if point.kind == "generated sample":
        row, ratio = int(snapshot.nearest[i]), float(snapshot.distance_ratio[i])
        rows += [("Nearest training point", f"row {row:,}"), ("Distance ratio", how_close(ratio))]
    if run.train.ambient_dim <= 3:
        at = ", ".join(f"{v:.2f}" for v in estimates.points[i].flatten().tolist())
        rows.insert(1, ("Coordinates", f"({at})"))
    layout.facts(rows)


def how_close(ratio: float) -> str:
    """Put the ratio of the distances to the nearest and the next training point into words."""
    if math.isnan(ratio):
        return "n/a (only one training point)"
    return f"{ratio:.2f} ({'below 0.33, as of a copy' if ratio < 1 / 3 else 'not below 0.33'})"


def selection(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Show the table of the points selected with the box or the lasso, with its export."""
    many = [i for i in st.session_state.get(key("many")) or [] if i < count(run, snapshot)]
    if not many:
        return
    import pandas as pd

    first = len(snapshot.trained.lid)
    both = pd.concat([snapshot.trained.frame(), snapshot.generated.frame()], ignore_index=True)
    both.insert(0, "kind", ["training point"] * first + ["generated sample"] * (len(both) - first))
    both.insert(0, "point", list(range(len(both))))
    table = both.iloc[many]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{words.plural(len(many), 'point')} selected**")
            downloads.offer(
                "Download as CSV",
                f"{run.config.manifold}-selection.csv",
                frame_csv(table),
                "mf_selection_csv",
            )
            st.button("Clear", icon=":material/close:", key="mf_clear", on_click=_clear)
        # Samples first: they are what is selected among the training points around them.
        ordered = table.sort_values("kind", kind="stable").head(_MOST_ROWS)
        ordered = ordered.assign(verdict=ordered["verdict"].map(verdict_words))
        st.dataframe(ordered.rename(columns=_HEADS), hide_index=True, height=220)


def _clear() -> None:
    st.session_state[key("many")] = []
