"""The values behind the charts of a comparison, as tables."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mmh_core.counting import plural
from mmh_core.report.detection_tables import (
    fact_table,
    group_table,
    published_table,
    rate_table,
    roc_table,
)
from mmh_core.report.figure_table import FigureTable
from mmh_core.report.response_tables import dose_table, network_table, reliability_table
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from mmh_core.studies.detection.figures import RowFigures
from mmh_core.studies.detection.findings import is_invented
from views.widgets import layout

#: Pixels of a table that is longer than the page is worth.
_TALL = 360


def figures(run: BenchmarkRun, counted: Sequence[RowFigures]) -> None:
    """Show rates, curves, groups, both truths, doses and reliability as tables."""
    for label, table, tall in (
        ("Thresholds set beforehand as a table", rate_table(run, counted), True),
        ("ROC curves of every group as a table", roc_table(run), True),
        ("Groups of prompts as a table", group_table(run, counted), True),
        ("Truth by caption and by image", fact_table(run, counted), False),
        ("Doses as a table", dose_table(run), True),
        ("Reliability of the cause as a table", reliability_table(run.cause), False),
    ):
        with st.expander(label, icon=":material/table_rows:"):
            _show(table, tall=tall)


def networks(run: BenchmarkRun) -> None:
    """Show the spread over networks; nothing for a file of one."""
    if run.networks is None:
        return
    layout.heading(
        f"Spread over {plural(len(run.networks.files), 'network')}",
        "The same prompts and seeds on each network; intervals are over networks. Charts and "
        f"other tables are of the first, {layout.plain(run.networks.files[0])}.",
    )
    _show(network_table(run.networks))


def published(run: BenchmarkRun) -> None:
    """Show published values, beside those of the run where its model is no made world."""
    with st.expander("Published values on Stable Diffusion 1.4", icon=":material/menu_book:"):
        _show(published_table(None if is_invented(run) else run))


def _show(table: FigureTable, *, tall: bool = False) -> None:
    """Show a table with its note, which stands alone where there is no row."""
    if table.rows:
        headed = [{_head(head): cell for head, cell in row.items()} for row in table.records()]
        st.dataframe(headed, hide_index=True, height=_TALL if tall else "content")
    st.caption(layout.plain(table.note))


def _head(text: str) -> str:
    """Return a head of a table with a capital, as all heads of tables on pages have one."""
    return text[:1].upper() + text[1:]
