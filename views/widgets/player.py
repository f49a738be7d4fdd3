"""A figure that plays, with buttons that keys reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from views.style import GROUND
from views.widgets import layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ACTIONS = {"play": "Play", "pause": "Pause", "earlier": "Step back", "later": "Step on"}
# In sight while the focus is within, on the figure's own buttons, which do the same by mouse.
_STYLE = f"""<style>
.mf-keys {{position: absolute; z-index: 5; top: 0; left: 0; display: flex; flex-wrap: wrap;
  gap: .4rem; align-items: center; padding: .3rem .5rem .9rem 0; background: {GROUND};}}
.mf-keys:not(:focus-within) {{width: 1px; height: 1px; padding: 0; overflow: hidden;
  clip-path: inset(50%);}}
.mf-keys button {{border: 1px solid #12788a; border-radius: .25rem; background: #12788a;
  color: #fff; font: inherit; font-size: .9rem; padding: .2rem .7rem;}}
.mf-keys button:focus-visible {{outline: 2px solid currentColor; outline-offset: 2px;
  outline-color: light-dark(#1b262c, #e4ebee);}}
.mf-keys [role="status"] {{font-size: .9rem;}}
</style>"""


def show(figure: go.Figure, key: str) -> None:
    """Show a figure of `mmh_core.plots.playback`, with its buttons for keys and screen readers.

    The figure's own are shapes that no key reaches; `views.page_scripts` answers these.
    """
    buttons = "".join(
        f'<button type="button" data-action="{action}">{label}</button>'
        for action, label in _ACTIONS.items()
    )
    with st.container(gap=None):
        st.html(
            f'{_STYLE}<div class="mf-keys" role="group" aria-label="Playback" '
            f'data-playback="{key}">{buttons}<span role="status"></span></div>'
        )
        layout.chart(figure, key)
