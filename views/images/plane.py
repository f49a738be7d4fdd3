"""Draw training images and drawn ones as a map, and list what a person selects there."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.plots import images
from mmh_core.records import MMHError
from mmh_core.studies.images.map import ImageMap
from mmh_core.studies.images.run import ImageRun
from views import models as model_session
from views.images import session as image_session
from views.images import show
from views.images.settings import ImageSettings
from views.images.state import key
from views.manifolds.points import selected_ids
from views.widgets import downloads, job_panel, layout, words

_MOST_ROWS = 200
_THUMB = 48


def section(run: ImageRun, settings: ImageSettings) -> None:
    """Draw the map, and the table of what is selected in it."""
    name, run_key = run.config.model, _run_key(run, settings)
    found = _together(run)
    placed = "All images are placed together."
    if found is None:
        found = image_session.image_map(name, run_key, run.images)
        if found.axes.startswith("UMAP"):
            placed = (
                "A generated image is placed between its 5 nearest training images, nearer to "
                "the more similar."
            )
    layout.heading(
        "Map of generated and training images",
        f"Nearby images are similar. {placed} Distances across the map and empty regions mean "
        "little.",
        help=f"Plane: {found.axes}.",
    )
    _offer(run)
    st.caption("Draw a lasso or a box to list images; what is selected takes its kind's color.")
    layout.chart(images.image_map(found, run.images), "im_map", on_select=take_selection)
    _selection(run, found)


def _together(run: ImageRun) -> ImageMap | None:
    """Return the map by UMAP that was computed for this run, None where there is none."""
    job = st.session_state[key("plane")]
    try:
        found = None if job is None else image_session.map_job(job)[1]
    except MMHError:
        return None  # `_offer` says what is wrong with the job.
    # A link may name the map of another run.
    return found if found is not None and len(found.samples) == len(run.images) else None


def _offer(run: ImageRun) -> None:
    """Offer the map by UMAP, or draw where its job stands; nothing once it is done."""
    job = st.session_state[key("plane")]
    refused = st.session_state.pop(key("map_refused"), None)
    if job is not None:
        try:
            record, _ = image_session.map_job(job)
        except MMHError as error:
            st.session_state[key("plane")], refused = None, str(error)
        else:
            if record.is_active:
                job_panel.live(job, "Keep the map below", "im_map_cancel")
                return
            if record.state == "done":
                return
            refused = record.error
    if refused is not None:
        st.error(layout.plain(refused), icon=":material/error:")
    st.button(
        "UMAP of all images",
        key="im_umap",
        icon=":material/scatter_plot:",
        help="A slower map that includes the generated images and keeps neighbors together "
        "better than principal components. About a minute; it can be stopped.",
        on_click=_submit,
        args=(run,),
    )


def _submit(run: ImageRun) -> None:
    try:
        st.session_state[key("plane")] = image_session.submit_map(run)
    except (MMHError, ValueError) as error:
        st.session_state[key("map_refused")] = str(error)


def _run_key(run: ImageRun, settings: ImageSettings) -> str:
    """Return what tells the images of this run from those of others."""
    return f"{settings.job or settings.example} {run.noise_sha256} {hash(run.config)}"


def take_selection() -> None:
    """Copy what was selected in the map: Plotly forgets it when the figure changes."""
    st.session_state[key("many")] = selected_ids(st.session_state.get("im_map") or {})


def _selection(run: ImageRun, found: ImageMap) -> None:
    many = st.session_state.get(key("many")) or []
    table = _table(run, found, [i for i in many if isinstance(i, int)])
    if table.empty:
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{words.plural(len(table), 'image')} selected**")
            downloads.offer(
                "Download as CSV",
                "images-selected.csv",
                frame_csv(table),
                "im_selection_csv",
            )
            st.button("Clear", icon=":material/close:", key="im_clear", on_click=_clear)
        if len(table) > _MOST_ROWS:
            st.caption(f"Listed are the first {_MOST_ROWS}; the file has all.")
        _listed(run, table.head(_MOST_ROWS))


def _listed(run: ImageRun, table: pd.DataFrame) -> None:
    """Draw the rows with their images."""
    known = model_session.training_set(run.config.model)
    rows = {} if known is None else {int(i): row for row, i in enumerate(known.index.ids)}
    images = []
    for where, number in zip(table["where"], table["image"], strict=True):
        if where == "drawn":
            image = run.images[number].image
        elif known is not None:
            image = known.image(rows[number])
        else:
            continue
        images.append(show.data_uri(image, _THUMB))
    shown = table.copy()
    shown.insert(0, " ", images)
    st.dataframe(
        shown,
        hide_index=True,
        height=320,
        row_height=_THUMB,
        column_config={
            " ": st.column_config.ImageColumn(width="small"),
            "caption": st.column_config.TextColumn(width="large"),
        },
    )


def _table(run: ImageRun, found: ImageMap, many: list[int]) -> pd.DataFrame:
    """Return one row per selected image, drawn ones first."""
    place = {number: row for row, number in enumerate(found.ids)}
    rows: list[dict[str, object]] = []
    for number in many:
        if number < 0 and -1 - number < len(run.images):
            one = run.images[-1 - number]
            kind = "" if one.truth is None else one.truth.kind
            rows.append(_row("drawn", one.index, kind, 0, one.prompt))
        elif number in place:
            i = place[number]
            rows.append(
                _row("training", number, found.kinds[i], found.copies[i], found.captions[i])
            )
    return pd.DataFrame(rows)


def _row(where: str, number: int, kind: str, copies: int, caption: str) -> dict[str, object]:
    return {
        "where": where,
        "image": number,
        "kind": kind,
        "copies": copies,
        "caption": caption,
    }


def _clear() -> None:
    st.session_state[key("many")] = []
