"""Training sets of one's own: made into an index from a zip or a folder, listed, removed."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mmh_core.counting import plural
from mmh_core.formats.tables import SUFFIXES
from mmh_core.formats.times import local_minute
from mmh_core.records import MMHError
from mmh_core.retrieval.image_content import NAMED
from mmh_core.retrieval.kept_indexes import LONGEST_NAME, IndexRequest, KeptIndex
from views import own_indexes, session
from views.access.server_files import checked_path, server_files
from views.images import state
from views.images.state import key
from views.widgets import job_panel, layout

SENTENCE = (
    "Training images of your own become an index, as by the command `index`: generated and "
    "audited images are then compared with them, and a verdict can say copy."
)
#: The largest zip that is uploaded; a larger set is named as a folder.
MOST_MEGABYTES = 500
_SOURCES = {"zip": "Upload a zip", "folder": "Folder on the server"}
#: The job that this window started, whose index it searches as soon as that is made.
_STARTED, _REFUSED = "im_set_started", "im_set_refused"


def section() -> None:
    """Show what is kept, the job that makes an index, and the form of another."""
    _kept()
    job = st.session_state[key("made")]
    if job is not None:
        _job(str(job))
    if job is None or not _is_active(str(job)):
        _form()


def _kept() -> None:
    """Show each kept index with its images, what was left out, and the buttons for it."""
    refused = st.session_state.pop(_REFUSED, None)
    if refused is not None:
        st.error(layout.plain(refused), icon=":material/error:")
    entries = own_indexes.kept()
    if not entries:
        st.caption("No training set is kept here yet.")
    for entry in entries:
        with st.container(border=True, gap="small", key=f"im_set_{entry.id}"):
            _entry(entry)


def _entry(entry: KeptIndex) -> None:
    made = local_minute(entry.about.created)
    st.text(entry.about.name)
    images = plural(entry.about.count, "image")
    about = f"{images}, descriptor {entry.about.embedder}, made {made}."
    st.caption(layout.plain(" ".join((about, *entry.about.sentences))))
    in_use = st.session_state.get(key("index")) == entry.id
    with st.container(horizontal=True, gap="small"):
        st.button(
            "In use" if in_use else "Use it",
            key=f"im_set_use_{entry.id}",
            icon=":material/check:" if in_use else ":material/manage_search:",
            disabled=in_use,
            on_click=state.use_index,
            args=(entry.id,),
        )
        with st.popover("Remove", icon=":material/delete:"):
            st.caption("Its index and the images that were uploaded for it are deleted.")
            st.button(
                "Delete it",
                key=f"im_set_remove_{entry.id}",
                type="primary",
                on_click=_remove,
                args=(entry.id,),
            )


def _remove(id: str) -> None:
    try:
        own_indexes.remove(id)
    except MMHError as error:
        st.session_state[_REFUSED] = str(error)
        return
    if st.session_state.get(key("index")) == id:
        state.use_index(None)


def _is_active(job: str) -> bool:
    try:
        return own_indexes.job(job).record.is_active
    except MMHError:
        return False


def _job(job: str) -> None:
    """Show the progress of the index that is made, or how it ended."""
    try:
        view = own_indexes.job(job)
    except MMHError as error:
        st.error(layout.plain(str(error)), icon=":material/error:")
        return
    if view.record.is_active:
        job_panel.live(
            lambda: own_indexes.job(job),
            "Stop here; nothing of it is kept",
            "im_set_cancel",
            starting="opening the descriptor",
        )
    elif view.record.error is not None:
        st.error(layout.plain(view.record.error), icon=":material/error:")
    elif view.record.state != "done":
        st.info("This index was stopped; nothing of it is kept.", icon=":material/stop_circle:")
    elif view.run is not None and view.run.kept is not None:
        if st.session_state.pop(_STARTED, None) == job:
            state.use_index_next(view.run.kept.id)
            st.rerun()
        made = view.run.kept.about
        st.success(
            layout.plain(f"{made.name}: {plural(made.count, 'image')} indexed, kept above."),
            icon=":material/check:",
        )


def _form() -> None:
    """Show the form of a new index, and submit it when the button is pressed."""
    layout.heading(
        "Add a training set",
        "Captions count where they lie beside the images (metadata.csv or .jsonl, or a.txt of "
        "a.png), or from a table with the columns file_name and text.",
    )
    files = server_files()
    source = st.segmented_control(
        "Images from",
        list(_SOURCES),
        default="zip",
        required=True,
        key="im_set_source",
        format_func=_SOURCES.__getitem__,
    )
    zipped, path = None, ""
    if source == "zip":
        zipped = st.file_uploader(
            "Zip of training images",
            type=["zip"],
            key="im_set_zip",
            max_upload_size=MOST_MEGABYTES,
            help=f"{NAMED}, in folders or not. The images are kept in this app's data folder "
            "until you remove the set.",
        )
    else:
        path = _path("Folder of training images", "im_set_folder", files.sentence(), files.allowed)
    captions = st.file_uploader(
        "Table of captions (optional)",
        type=[suffix[1:] for suffix in SUFFIXES],
        key="im_set_captions",
    )
    name = st.text_input("Name", key="im_set_name", max_chars=LONGEST_NAME)
    family, weights = _descriptor()
    given = zipped is not None or bool(path.strip())
    if not st.button(
        "Make the index", key="im_set_make", type="primary", icon=":material/add:",
        disabled=not given,
    ):  # fmt: skip
        return
    with session.errors_as_messages():
        images = checked_path(path) if zipped is None else zipped.getvalue()
        default = path.strip().rstrip("/").split("/")[-1] if zipped is None else zipped.name
        job = own_indexes.submit(
            IndexRequest(
                name.strip() or Path(default).stem[:LONGEST_NAME],
                images,
                own_indexes.embedder_name(family, weights),
                None if captions is None else (captions.name, captions.getvalue()),
            )
        )
        st.session_state[_STARTED] = st.session_state[key("made")] = job
        st.rerun()


def _path(label: str, name: str, sentence: str, allowed: bool) -> str:
    """Show the field of a path on the server, and where it has to lead."""
    path = st.text_input(label, key=name, disabled=not allowed, max_chars=4_096)
    if sentence:
        st.caption(layout.plain(sentence))
    return path


def _descriptor() -> tuple[str, str]:
    """Show the choice of the descriptor; return its family and where its weights lie."""
    files, labels = server_files(), dict(own_indexes.SHIPPED)
    if files.allowed:
        labels |= own_indexes.OF_WEIGHTS
    family = st.selectbox(
        "Descriptor",
        list(labels),
        key="im_set_descriptor",
        format_func=labels.__getitem__,
        help="What images are compared by. Equal pixels are a copy with any of them; only the "
        "model's own training set has a calibrated copy threshold.",
    )
    if family in own_indexes.SHIPPED:
        return family, ""
    sentence = f"A file of SSCD, or a folder with its weights. {files.sentence()}"
    return family, _path("Weights of the descriptor", "im_set_weights", sentence, True)
