"""A real Chromium opens every page: nothing breaks, nothing leaves the machine, and the URL carries the choice."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("", "leaderboard", "reconstructions", "embeddings", "training", "search", "masks", "data", "try_it", "models")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DRAWN = '[data-testid="stApp"][data-test-script-state="notRunning"]'

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator:
    started = []

    def start(root: Path) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.port", str(port)]
        env = {**os.environ, "MAESTRO_ROOT": str(root), "OMP_NUM_THREADS": "1"}
        log = (tmp_path / "server.log").open("wb")
        started.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT))
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                return address
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"the app did not start: {(tmp_path / 'server.log').read_text()[-2000:]}")

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("tree", ["many", "empty"])
def test_every_page_opens(tree, trees, chromium, serve, tmp_path):
    address = serve(trees[tree])
    page = chromium.new_page(viewport={"width": 1360, "height": 900})
    outside, broken = [], []
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else outside.append(r.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    for name in PAGES:
        page.goto(f"{address}/{name}")
        page.wait_for_selector("h1")
        page.wait_for_selector(DRAWN)
        if tree == "empty":  # a page that has not begun is not running either
            page.get_by_text("dvc repro").wait_for()
        page.screenshot(path=tmp_path / f"{tree}-{name or 'overview'}.png", full_page=True)
        assert page.locator('[data-testid="stException"]').count() == 0, name
        assert page.get_by_text("could not be drawn").count() == 0, name
        if tree == "empty":
            assert page.get_by_text("dvc repro").count() == 1, name
    page.close()
    assert not outside and not broken


def test_samples_of_every_kind_are_drawn(kinds, chromium, serve, tmp_path):
    address = serve(kinds)
    page = chromium.new_page(viewport={"width": 1360, "height": 1400})
    outside, broken = [], []
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else outside.append(r.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    for kind, seen in {
        "audio": "audio",
        "text": "mark[title]",
        "table": "canvas",
        "series": ".plotly .shapelayer path",
    }.items():
        page.goto(f"{address}/reconstructions?dataset={kind}")
        page.locator(seen).first.wait_for()
        page.wait_for_selector(DRAWN)
        assert page.locator('[data-testid="stException"]').count() == 0, kind
        page.screenshot(path=tmp_path / f"{kind}.png")
        if kind == "audio":  # a player that has understood its file knows how long it is
            page.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.duration > 0)")
        if kind == "text":
            assert page.locator("mark").first.evaluate("e => getComputedStyle(e).backgroundColor").startswith("rgba(")
    page.close()
    assert not outside and not broken


def test_a_choice_goes_to_the_url_and_comes_back_from_it(trees, chromium, serve):
    address = serve(trees["many"])
    page = chromium.new_page(viewport={"width": 1360, "height": 1200})
    page.goto(f"{address}/leaderboard")
    page.wait_for_selector(DRAWN)
    page.get_by_test_id("stSelectbox").filter(has_text="Task").get_by_role("combobox").click()
    page.get_by_role("option", name="few-label probe").click()
    page.wait_for_url("**task=few-label*")
    link = page.url
    page.goto(f"{address}/data")
    page.wait_for_selector("h1 >> text=Data")
    page.goto(link)
    page.wait_for_selector(DRAWN)
    chosen = page.get_by_test_id("stSelectbox").filter(has_text="Task").get_by_role("combobox")
    assert "few-label probe" in (chosen.input_value() or chosen.inner_text())
    page.close()


def test_the_app_listens_on_this_machine_alone_and_refuses_foreign_hosts(trees, serve):
    address = serve(trees["empty"])
    port = int(address.rpartition(":")[2])
    listening = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else ""
    if listening:
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }  # fmt: skip
    for host, answer in ((f"127.0.0.1:{port}", 101), ("evil.example", 403)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/_stcore/stream", headers={**upgrade, "Host": host})
        assert connection.getresponse().status == answer
        connection.close()
