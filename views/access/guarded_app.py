"""Serve the app behind a gate: `streamlit run` finds the object `app` in here and serves that."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware
from streamlit.starlette import App

from mmh_core.installation import app_folder
from views.access.gate import Gate
from views.start_options import start_options

_options = start_options()
if _options.users is None:
    raise ValueError("A gate needs a list of users: name it after `-- --users`.")

app = App(
    app_folder() / "app.py",
    middleware=[
        Middleware(
            Gate,
            users=_options.users,
            key=_options.data / "session.key",
            base=str(st.get_option("server.baseUrlPath")),
            hosts=st.get_option("server.allowedHosts"),
        )
    ],
)
