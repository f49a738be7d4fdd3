"""What runs in the browser besides Streamlit: two listeners, which every page brings along.

Streamlit keeps every change of a page's address as a step of the browser's history, and on the way
back through them the page writes the newest choices into the address again: Back would seem to do
nothing. So a change within a page takes the place of the entry before, and Back leads to the page
before, which stands there with its choices.

Plotly's buttons and sliders are shapes without a place in the order of the Tab key. So the buttons
of `views.widgets.player` press and drag them.
"""

from __future__ import annotations

import streamlit as st

_HIDDEN = "page_scripts"
_STYLE = f"""<style>
.st-key-{_HIDDEN}, [data-testid="stLayoutWrapper"]:has(> .st-key-{_HIDDEN}) {{display: none;}}
</style>"""
_SCRIPT = """<script>
(() => {
  if (window.mmhPageScripts) return;
  window.mmhPageScripts = true;

  const push = history.pushState.bind(history);
  history.pushState = (state, title, address) => {
    const within = new URL(address ?? "", location.href).pathname === location.pathname;
    if (within) history.replaceState(state, title, address);
    else push(state, title, address);
  };

  const mouse = (kind, x, y) =>
    new MouseEvent(kind, {bubbles: true, cancelable: true, view: window, clientX: x, clientY: y});
  const drag = (plot, by) => {
    const slider = plot.layout.sliders[0], ticks = plot.querySelectorAll(".slider-tick-rect");
    const to = Math.min(ticks.length - 1, Math.max(0, slider.active + by));
    const at = ticks[to].getScreenCTM();
    const rail = plot.querySelector(".slider-rail-touch-rect");
    rail.dispatchEvent(mouse("mousedown", at.e, at.f));
    rail.dispatchEvent(mouse("mouseup", 0, 0));
  };
  const label = ({layout: {sliders: [slider]}}) => slider.steps[slider.active].label;
  const steps = {earlier: -1, later: 1};
  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-playback] button");
    if (!button) return;
    const bar = button.closest("[data-playback]");
    const plot = document.querySelector(`.st-key-${bar.dataset.playback} .js-plotly-plot`);
    if (!plot) return;
    const action = button.dataset.action, state = bar.querySelector("[role=status]");
    const [play, pause] = plot.querySelectorAll(".updatemenu-button");
    (action === "play" ? play : pause).dispatchEvent(mouse("click"));
    if (action in steps) drag(plot, steps[action]);
    state.textContent = action === "play" ? "Playing" : label(plot);
  });
})();
</script>"""


def install() -> None:
    """Bring the listeners to the browser; they take no room and answer from the first page on."""
    with st.container(key=_HIDDEN):
        st.html(f"{_STYLE}{_SCRIPT}", unsafe_allow_javascript=True)
