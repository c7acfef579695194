"""A page of the app as a browser would ask for it, on results below a folder."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[1] / "dashboard" / "app.py"


def opened(page: str, root: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv("MAESTRO_ROOT", str(root))
    app = AppTest.from_file(APP, default_timeout=120).run()
    app.switch_page(f"views/{page}.py")
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()
