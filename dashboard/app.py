"""The Streamlit app: `streamlit run dashboard/app.py`. It shows the project in MAESTRO_ROOT, else the current folder."""

import importlib
import threading
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent  # pictures lie beside the app: an icon by name would be fetched from the network
PAGES = {
    "": [("overview", "Overview", ":material/home:")],
    "Compare": [
        ("leaderboard", "Leaderboard", ":material/leaderboard:"),
        ("reconstructions", "Reconstructions", ":material/compare:"),
        ("embeddings", "Embeddings", ":material/bubble_chart:"),
        ("training", "Training", ":material/show_chart:"),
    ],
    "Understand": [
        ("search", "Search", ":material/tune:"),
        ("masks", "Masks", ":material/grid_on:"),
        ("data", "Data", ":material/dataset:"),
    ],
    "Use": [
        ("try_it", "Try it", ":material/draw:"),
        ("models", "Models", ":material/deployed_code:"),
    ],
}


@st.cache_resource(show_spinner=False)
def warm() -> None:
    """Import torch behind the visitor's back, so that the first reconstruction does not wait for it."""
    threading.Thread(target=importlib.import_module, args=("mae_core.model",), daemon=True).start()


st.set_page_config("MAEstro", HERE / "icon.svg", layout="wide", menu_items={"Get help": None, "Report a bug": None})
st.logo(HERE / "logo.svg", size="large")
pages = {
    section: [
        st.Page(f"views/{name}.py", title=title, icon=icon, url_path=name, default=name == "overview")
        for name, title, icon in rows
    ]
    for section, rows in PAGES.items()
}
warm()
st.navigation(pages).run()
