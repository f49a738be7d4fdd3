"""A button that downloads a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

#: What a file is, by its ending: type and icon.
_KINDS = {
    ".csv": ("text/csv", "download"),
    ".html": ("text/html", "description"),
    ".json": ("application/json", "download"),
    ".parquet": ("application/vnd.apache.parquet", "download"),
    ".png": ("image/png", "download"),
    ".safetensors": ("application/octet-stream", "download"),
    ".zip": ("application/zip", "folder_zip"),
}


def offer(
    label: str,
    file: str,
    data: bytes | Callable[[], bytes],
    key: str,
    *,
    help: str | None = None,
) -> None:
    """Show a button that saves `data` as `file`; a function is called when it is pressed.

    A click does not run the page again. ValueError for an ending that is not known.
    """
    ending = Path(file).suffix
    if ending not in _KINDS:
        raise ValueError(f"Unknown kind of file {file!r}; the endings are {list(_KINDS)}.")
    mime, icon = _KINDS[ending]
    st.download_button(
        label,
        data,
        file_name=file,
        mime=mime,
        icon=f":material/{icon}:",
        key=key,
        on_click="ignore",
        help=help,
    )
