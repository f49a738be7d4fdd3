"""Start the app's server and load its heavy libraries beside it, before a browser asks for them.

Run as `python serve.py run app.py [options of streamlit]`, which is `streamlit run app.py` but for
one thread: torch takes a second or two to import, about as long as a browser takes to start.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import threading
import time

#: What the first page needs. Libraries only: the app's own modules are imported by its pages.
LIBRARIES = ("torch", "plotly.graph_objects", "safetensors.torch")
_PATIENCE = 60.0


def load_beside() -> threading.Thread:
    """Start the thread that imports `LIBRARIES` once Streamlit itself is loaded.

    Not a daemon: the interpreter must not end in the middle of an import of torch.
    """
    thread = threading.Thread(target=_load, name="load libraries")
    thread.start()
    return thread


def _load() -> None:
    given_up = time.monotonic() + _PATIENCE
    # Two threads in one library's imports would wait for one another.
    while not _server_made():
        if time.monotonic() > given_up or not threading.main_thread().is_alive():
            return
        time.sleep(0.02)
    for name in LIBRARIES:
        importlib.import_module(name)


def _server_made() -> bool:
    runtime = sys.modules.get("streamlit.runtime")
    exists = getattr(runtime, "exists", None)
    return exists is not None and bool(exists())


if __name__ == "__main__":
    load_beside()
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
