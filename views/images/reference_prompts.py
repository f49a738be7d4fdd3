"""Draw the LID of a run's images among the model's reference prompts."""

from __future__ import annotations

import streamlit as st

from mmh_core.plots import images
from mmh_core.studies.images.run import ImageRun
from views.images import phrases
from views.widgets import layout


def section(run: ImageRun) -> None:
    """Draw the histogram, or say why there is nothing to compare with."""
    layout.heading(
        "LID distribution of reference prompts",
        "Gray: images of prompts that are not memorized, generated with the same settings. "
        "Marks far left of them have a low LID; marks among them prove nothing.",
        help=f"{phrases.LID} {phrases.PERCENTILE}",
    )
    layout.chart(images.lid_histogram(run.images, run.normal), "im_histogram")
    if run.normal is None:
        st.info(
            "There are no reference prompts for these settings: percentiles hold only for the "
            "settings of their calibration. Take the model's recommended steps, guidance, "
            "scheduler and size, or compare the images with one another.",
            icon=":material/info:",
        )
    else:
        count = len(set(run.normal.prompts))
        st.caption(
            f"{len(run.normal.conditional)} images of {count} reference prompts at "
            f"{run.normal.sampling.words}."
        )
