"""Start the app: page config and navigation, nothing else."""

from pathlib import Path

import streamlit as st

st.set_page_config(
    page_title="Manifold memorization",
    # A file of our own: the browser would fetch a named icon from the internet.
    page_icon=str(Path(__file__).parent / "assets" / "icon.svg"),
    layout="wide",
    initial_sidebar_state="expanded",
)
MANIFOLDS = "pages/manifolds.py"
st.navigation(
    [
        # The default page has no path of its own, so the page is listed a second time for "/".
        st.Page(
            MANIFOLDS,
            title="Synthetic manifolds",
            url_path="start",
            default=True,
            visibility="hidden",
        ),
        st.Page(
            MANIFOLDS,
            title="Synthetic manifolds",
            icon=":material/scatter_plot:",
            url_path="manifolds",
        ),
        st.Page(
            "pages/images.py",
            title="Images",
            icon=":material/image:",
            url_path="images",
        ),
        st.Page(
            "pages/mitigation.py",
            title="Mitigation",
            icon=":material/healing:",
            url_path="mitigation",
        ),
        st.Page(
            "pages/review.py",
            title="Review",
            icon=":material/fact_check:",
            url_path="review",
        ),
        st.Page(
            "pages/benchmark.py",
            title="Benchmark",
            icon=":material/leaderboard:",
            url_path="benchmark",
        ),
    ]
).run()
