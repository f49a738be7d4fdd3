"""The style sheet of all pages, and the share of the text color that quiet text has."""

from __future__ import annotations

#: Captions, labels and other quiet text, as a share of the text color: on every background of both
#: themes a contrast above 4.5 (WCAG 2.2 AA), which a test computes. Streamlit's own 0.6 has 3.9.
QUIET = 0.75
#: The color behind the page, for what lies above other things. Streamlit says by `color-scheme`
#: which theme is chosen, whatever the system prefers.
GROUND = "light-dark(#fcfdfd, #0d1417)"
#: The color behind the sidebar, for the same.
SIDEBAR_GROUND = "light-dark(#f0f4f6, #121b1f)"
#: Text on harm, readable on both grounds.
HARM = "light-dark(#c62828, #ff8a80)"

#: The same as a color, for text whose color Streamlit sets.
QUIET_TEXT = (
    f"light-dark(rgb(27 38 44 / {100 * QUIET:.0f}%), rgb(228 235 238 / {100 * QUIET:.0f}%))"
)

# Streamlit leaves six lines of air above every page, and keeps two charts side by side in windows
# that are too narrow for them.
STYLE = f"""<style>
[data-testid="stMainBlockContainer"] {{padding: 2.5rem 3rem 4rem; max-width: 84rem;}}
/* What a poll is about to replace must not fade at every poll. */
[class*="st-key-pair_live"] [data-stale="true"] {{opacity: 1 !important; transition: none;}}
/* The accent marks by line and fill; small text on dark would have a contrast of 4.1 in it. */
[data-testid="stApp"] :is([data-testid="stSliderThumbValue"],
  [data-testid="stTab"][aria-selected="true"], button[aria-checked="true"]) {{color: inherit;}}
[data-testid="stApp"] [data-testid="stCaptionContainer"] {{opacity: {QUIET};}}
[data-testid="stApp"] :is(input, textarea)::placeholder {{color: {QUIET_TEXT};}}
/* Headings of charts are as tall as text; the air around them comes from their containers, and
   Streamlit takes the lower padding back by a margin. */
[data-testid="stMain"] [data-testid="stHeading"] :is(h2, h3) {{padding: 0 0 1rem;}}
[data-testid="stMain"] [data-testid="stHorizontalBlock"] >
  [data-testid="stElementContainer"] [data-testid="stHeading"] h2 {{padding: 0;}}
/* The "?" follows the last word of a title, whose padding holds it: no line begins with it. */
:is(.st-key-page_title, .st-key-page_title :is(div, h1)) {{display: inline !important;}}
.st-key-page_title h1 {{padding-right: 2.2rem !important;}}
.st-key-page_title .mf-help {{margin-left: -1.6rem; vertical-align: .35rem;}}
/* The menu lies above the page's first line, of which it covers and takes no more than itself. */
[data-testid="stHeader"] {{background: transparent;}}
[data-testid="stHeader"], [data-testid="stHeader"] [data-testid="stToolbar"]
  {{pointer-events: none;}}
[data-testid="stHeader"] :is(a, button) {{pointer-events: auto;}}
[data-testid="stSidebarUserContent"] {{padding-bottom: 2rem;}}
/* The button of a form stays in sight while its fields are scrolled. */
[data-testid="stSidebar"] [data-testid="stLayoutWrapper"]:has(> [class*="_in_sight"])
  {{position: sticky; bottom: 0; z-index: 2; background: {SIDEBAR_GROUND}; padding: 0.5rem 0;}}
/* Whoever moves by keys sees where they are; a click leaves no frame around the whole page. */
[data-testid="stSidebarNavLink"]:focus-visible {{outline: 2px solid currentColor;
  outline-offset: -2px;}}
[data-testid="stMain"]:focus:not(:focus-visible) {{outline: none; box-shadow: none;}}
/* A key figure in a narrow column wraps; cut, it would say something else. */
[data-testid="stMetric"] :is(p, [data-testid="stMetricValue"], [data-testid="stMetricValue"] *,
  [data-testid="stMetricDelta"], [data-testid="stMetricDelta"] *)
  {{white-space: normal; overflow: visible; text-overflow: clip; overflow-wrap: anywhere;}}
/* Holds no more than the promise of a chart, see views.widgets.layout. */
.st-key-chart_library {{position: absolute; visibility: hidden; height: 0; overflow: hidden;}}
/* The bar of the sidebar's button lies above the page where that is closed. */
@media (max-width: 768px) {{
  [data-testid="stMainBlockContainer"] {{padding-top: 4.5rem !important;}}}}
@media (max-width: 1100px) {{
  [data-testid="stMainBlockContainer"] {{padding: 2.5rem 1.25rem 3rem;}}
  [class*="st-key-pair"] [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"])
    {{flex-wrap: wrap;}}
  [class*="st-key-pair"] [data-testid="stColumn"] {{min-width: 100%;}}
}}
/* Plotly paints a button that is pointed at white, whatever the theme, and writes all labels of a
   slider below it, the chosen one above it as well. */
[data-testid="stPlotlyChart"] .updatemenu-item-rect {{fill: #12788a !important;}}
[data-testid="stPlotlyChart"] .updatemenu-button:hover .updatemenu-item-rect
  {{fill: #0d6474 !important;}}
[data-testid="stPlotlyChart"] .slider-labels {{display: none;}}
[data-testid="stPlotlyChart"] .slider-group > .slider-label {{fill: {QUIET_TEXT} !important;}}
/* On paper: the finding and its figures, without what can only be clicked. */
@media print {{
  :is([data-testid="stSidebar"], [data-testid="stHeader"], [data-testid="stButton"],
    [data-testid="stDownloadButton"], [data-testid="stFileUploader"], [data-testid="stToast"],
    .mf-help) {{display: none !important;}}
  [data-testid="stMainBlockContainer"] {{padding: 0; max-width: none;}}
  :is(figure, img, table, [data-testid="stMetric"], [data-testid="stPlotlyChart"])
    {{break-inside: avoid;}}
  :is(h1, h2, h3) {{break-after: avoid;}}
}}
</style>"""
