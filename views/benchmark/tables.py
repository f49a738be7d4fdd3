"""The figures behind the pictures of a comparison, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from mmh_core.studies.detection.figures import RowFigures
from views.widgets import layout


def figures(run: BenchmarkRun, counted: Sequence[RowFigures]) -> None:
    """Show groups, both truths and doses as tables."""
    labels = {row.name: row.label for row in run.rows}
    with st.expander("Groups of prompts as a table", icon=":material/table_rows:"):
        shares = [f"{100 * rates.share:g} %" for rates in counted[0].realized]
        _table(
            [
                {
                    "Group": group.group,
                    "Detector": labels[row.name],
                    "Memorized": group.memorized,
                    "Reference": group.reference,
                    "AUC": group.area.words(),
                    "Against": group.against,
                    **{
                        f"Flagged, set at {share}": "; ".join(r.words() for r in pair if r.among)
                        for share, pair in zip(
                            shares, zip(group.true, group.false, strict=True), strict=True
                        )
                    },
                }
                for row in counted
                for group in row.groups
            ],
            height=360,
        )
    with st.expander("Truth by caption and by image", icon=":material/table_rows:"):
        if all(row.by_fact is None for row in counted):
            st.caption(
                "Not measured: this file does not say which images are copies. That takes a "
                "training set to search."
            )
        else:
            st.caption(
                "By image: does a score tell images that are copies of a training image from "
                "other images? Intervals are over prompts, whose images are alike."
            )
            areas = {row.name: row.all for row in run.rows}
            _table(
                [
                    {
                        "Detector": labels[row.name],
                        "AUC by caption": all_.area.words(),
                        "AUC by image": "-" if row.by_fact is None else row.by_fact.area.words(),
                        "AUC by image, memorized captions only": "-"
                        if row.within_memorized is None
                        else row.within_memorized.area.words(),
                    }
                    for row in counted
                    for all_ in (areas[row.name],)
                ]
            )
    if run.doses:
        with st.expander("Doses as a table", icon=":material/table_rows:"):
            _table(
                [
                    {
                        "Repeated as": curve.series,
                        "Copies k": level.copies,
                        "Prompts": level.prompts,
                        "Figure": curve.measure,
                        "Mean": level.response.words(),
                    }
                    for curve in run.doses
                    for level in curve.levels
                ],
                height=360,
            )


def networks(run: BenchmarkRun) -> None:
    """Show the spread over networks; nothing for a file of one."""
    if run.networks is None:
        return
    layout.heading(
        f"Spread over {len(run.networks.files)} networks",
        "The same prompts and seeds on each network; intervals are over networks. Pictures and "
        f"other tables are of the first, {layout.plain(run.networks.files[0])}.",
    )
    _table(
        [
            {
                "Detector": row.label,
                "AUC, mean": row.auc.words(),
                "Standard deviation": f"{row.spread:.3f}",
                "Lowest to highest": f"{row.lowest:.3f} to {row.highest:.3f}",
                "FPR, set at 1 %": row.false.words(),
                "TPR, set at 1 %": row.true.words(),
                "AUC by image, memorized captions only": row.within.words(),
            }
            for row in run.networks.rows
        ]
    )


def _table(
    rows: Sequence[dict[str, object]], height: int | Literal["content"] = "content"
) -> None:
    st.dataframe(rows, hide_index=True, height=height)
