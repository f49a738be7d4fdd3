"""Show what others published about Stable Diffusion 1.4, apart from what was measured here."""

from __future__ import annotations

import streamlit as st

from views.widgets import layout

#: Detector, AUC and TPR at 1 % FPR with one seed, as published.
FIGURES = (
    ("Guidance norm, 1 step", ".976", ".896", "Wen et al. 2024"),
    ("Guidance norm, 50 steps", ".983", ".948", "Wen et al. 2024"),
    ("Anisotropy", ".994", ".935", "Asthana & Belagiannis 2026, arXiv 2601.20642"),
    ("Sharpness", ".987", ".908", "Jeon et al. 2025, arXiv 2412.04140"),
    ("Stability", ".9995", "-", "Huang et al. 2026, arXiv 2605.22050"),
    ("Attention entropy", ".846", ".116", "Ren et al. 2024"),
    ("Guidance norm, four seeds", ".996", ".982", "as compared by later work"),
    ("Sharpness, four seeds", ".998", ".982", "as compared by later work"),
)


def published() -> None:
    """Draw the table; nothing in it was measured by this project."""
    with st.expander("Published figures on Stable Diffusion 1.4", icon=":material/menu_book:"):
        layout.heading(
            "Not measured here",
            "500 memorized and 500 reference prompts, as their authors report them. Evaluation "
            "protocols differ more than methods do, so these are for orientation and not for "
            "comparison with the figures above.",
        )
        st.dataframe(
            [
                {"Detector": name, "AUC": auc, "TPR at 1 % FPR": tpr, "Source": source}
                for name, auc, tpr, source in FIGURES
            ],
            hide_index=True,
            height="content",
        )
