"""Start the app: page config, who may use it, and navigation, nothing else."""

import streamlit as st

from mmh_core.installation import assets
from views import drawing
from views.about import about
from views.access import person
from views.access.addresses import ask_nobody

# By the launcher already, but not by `streamlit run app.py`.
ask_nobody()
NAME = "Manifold memorization"
st.set_page_config(
    page_title=NAME,
    # A file of our own: the browser would fetch a named icon from the internet.
    page_icon=str(assets() / "icon.svg"),
    layout="wide",
    initial_sidebar_state="auto",
    menu_items={"Get help": None, "Report a bug": None, "About": about()},
)
person.check()
page = st.navigation(
    [
        st.Page(
            "pages/overview.py",
            title="Overview",
            icon=":material/home:",
            default=True,
        ),
        st.Page(
            "pages/manifolds.py",
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
        st.Page(
            "pages/glossary.py",
            title="Glossary",
            icon=":material/help:",
            url_path="glossary",
        ),
    ]
)
# The first words tell the tabs of a browser apart.
st.set_page_config(page_title=f"{page.title} · {NAME}")
page.run()
drawing.show()
