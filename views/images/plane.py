"""Training images and generated ones on a map, and a list of what is selected there."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.plots import images
from mmh_core.records import MMHError
from mmh_core.studies.images.map import ImageMap
from mmh_core.studies.images.run import ImageRun
from mmh_core.subject.caption_kinds import kind_words
from views.images import image_html
from views.images import session as image_session
from views.images.settings import ImageSettings
from views.images.state import key
from views.manifolds.points import selected_ids
from views.widgets import downloads, job_panel, layout, words

_MOST_ROWS = 200
_THUMB = 48
#: What the columns of the table are called; the exported file keeps their short names.
_HEADS = {
    "where": "Generated or training",
    "image": "Image",
    "kind": "Kind of caption",
    "multiplicity": "Occurrences in the training set",
    "caption": "Caption",
}


def section(run: ImageRun, settings: ImageSettings) -> None:
    """Show the map, and the table of what is selected in it."""
    run_key = _run_key(run, settings)
    image_map = _together(run)
    placed = "All images are placed together."
    if image_map is None:
        image_map = image_session.image_map(run, run_key)
        if image_map.axes.startswith("UMAP"):
            placed = (
                "A generated image is placed between its 5 nearest training images, nearer to "
                "the more similar."
            )
    layout.heading(
        "Map of generated and training images",
        f"Nearby images are similar. {placed} Distances across the map and empty regions mean "
        "little.",
        help=f"Plane: {image_map.axes}.",
    )
    _offer(run)
    st.caption("Draw a lasso or a box to list images; what is selected takes its kind's color.")
    layout.chart(images.image_map(image_map, run.images), "im_map", on_select=take_selection)
    _selection(run, image_map)


def _together(run: ImageRun) -> ImageMap | None:
    """Return the map by UMAP that was computed for this run, None where there is none."""
    job = st.session_state[key("plane")]
    try:
        image_map = None if job is None else image_session.map_job(job).run
    except MMHError:
        return None  # `_offer` says what is wrong with the job.
    # A link may name the map of another run.
    return (
        image_map if image_map is not None and len(image_map.samples) == len(run.images) else None
    )


def _offer(run: ImageRun) -> None:
    """Show the button of the map by UMAP, or the progress of its job; nothing once it is done."""
    job = st.session_state[key("plane")]
    refused = st.session_state.pop(key("map_refused"), None)
    if job is not None:
        try:
            record = image_session.map_job(job).record
        except MMHError as error:
            st.session_state[key("plane")], refused = None, str(error)
        else:
            if record.is_active:
                job_panel.live(
                    lambda: image_session.map_job(job), "Keep the map below", "im_map_cancel"
                )
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


def _selection(run: ImageRun, image_map: ImageMap) -> None:
    many = st.session_state.get(key("many")) or []
    table = _table(run, image_map, [i for i in many if isinstance(i, int)])
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
    """Show the rows with their images."""
    training = image_session.training_set_of(run)
    rows = {} if training is None else {int(i): row for row, i in enumerate(training.index.ids)}
    images = []
    for where, number in zip(table["where"], table["image"], strict=True):
        if where == "generated":
            image = run.images[number].image
        elif training is not None:
            image = training.image(rows[number])
        else:
            continue
        images.append(image_html.data_uri(image, _THUMB))
    listed = table.assign(kind=table["kind"].map(kind_words)).rename(columns=_HEADS)
    listed.insert(0, " ", images)
    st.dataframe(
        listed,
        hide_index=True,
        height=320,
        row_height=_THUMB,
        column_config={
            " ": st.column_config.ImageColumn(width="small"),
            "Caption": st.column_config.TextColumn(width="large"),
        },
    )


def _table(run: ImageRun, image_map: ImageMap, many: list[int]) -> pd.DataFrame:
    """Return one row per selected image, generated ones first."""
    row_of = {number: row for row, number in enumerate(image_map.ids)}
    rows: list[dict[str, object]] = []
    for number in many:
        if number < 0 and -1 - number < len(run.images):
            image = run.images[-1 - number]
            kind = "" if image.truth is None else image.truth.kind
            rows.append(_row("generated", image.index, kind, 0, image.prompt))
        elif number in row_of:
            i = row_of[number]
            rows.append(
                _row(
                    "training",
                    number,
                    image_map.kinds[i],
                    image_map.multiplicity[i],
                    image_map.captions[i],
                )
            )
    return pd.DataFrame(rows)


def _row(where: str, number: int, kind: str, multiplicity: int, caption: str) -> dict[str, object]:
    return {
        "where": where,
        "image": number,
        "kind": kind,
        "multiplicity": multiplicity,
        "caption": caption,
    }


def _clear() -> None:
    st.session_state[key("many")] = []
