"""The values behind the charts of a comparison, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

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
from mmh_core.studies.detection.findings import is_synthetic
from views.widgets import layout

#: Rows beyond which a table scrolls, and its pixels then.
_MOST, _TALL = 9, 360


def figures(run: BenchmarkRun, counted: Sequence[RowFigures]) -> None:
    """Show rates, curves, groups, both truths, doses and reliability as tables."""
    for label, table in (
        ("Thresholds from the calibration half as a table", rate_table(run, counted)),
        ("ROC curves of every group as a table", roc_table(run)),
        ("Groups of prompts as a table", group_table(run, counted)),
        ("Truth by caption and by image", fact_table(run, counted)),
        ("Occurrences in the training set (doses) as a table", dose_table(run)),
        ("Reliability of the cause as a table", reliability_table(run.cause)),
    ):
        with st.expander(label, icon=":material/table_rows:"):
            _show(table)


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
    """Show published values, beside those of the run where its model is a real checkpoint."""
    with st.expander("Published values on Stable Diffusion 1.4", icon=":material/menu_book:"):
        _show(published_table(None if is_synthetic(run) else run))


def _show(table: FigureTable) -> None:
    """Show a table with its note, which stands alone where there is no row."""
    if table.rows:
        headed = [{_head(head): cell for head, cell in row.items()} for row in table.records()]
        height: int | Literal["content"] = _TALL if len(table.rows) > _MOST else "content"
        st.dataframe(headed, hide_index=True, height=height)
    st.caption(layout.plain(table.note))


def _head(text: str) -> str:
    """Return a head of a table with a capital, as all heads of tables on pages have one."""
    return text[:1].upper() + text[1:]
