"""The notebooks in a real browser: sliders change their picture, and no picture is broken. `make test-browser`.

JupyterLab runs on 127.0.0.1 with settings folders of its own; Chromium is the system's, driven by playwright.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from support.notebooks import ROOT

pytestmark = pytest.mark.browser
#: milliseconds that a cell or a page may take on a busy machine
PATIENCE_MS = 600_000

BEGIN = """
import numpy as np
from alos2tut import load_segmenter, map_scene, plotting
from alos2tut.tutorial import session, widgets
plotting.use_style()
tutorial = session.Tutorial()
product, window = tutorial.opened, (1600, 1600, 512, 512)
"""
PATCHES = """
dataset = tutorial.dataset
split = dataset.split("val")
patches = np.stack([split.db(i)[0] for i in range(4)])
"""
MAP = """
from alos2tut.tutorial.map_view import MapView, places
settings = tutorial.config("map", probability=True)
path = map_scene(product, "bundled", tutorial.map_target("bundled", settings), settings)
view = MapView.open(path, product, tutorial.label_paths, tutorial.dataset.legend)
"""
#: the traceback that a cell or a widget that failed shows
FAILED = "[data-mime-type='application/vnd.jupyter.stderr']:has(.ansi-red-fg)"
#: by widget: what it needs, and the call
WIDGETS = {
    "looks": "widgets.explore_looks(product, window)",
    "filters": "widgets.explore_filters(product, window, 1.0)",
    "patches": PATCHES + "widgets.browse_patches(dataset)",
    "masks": PATCHES + "widgets.explore_masks(patches, 'sigma0')",
    "weights": PATCHES + "widgets.explore_weights(patches, 'sigma0')",
    "threshold": f"""{PATCHES}
from alos2tut.evaluation.report import class_probabilities
indices = [0, 1, 2]
widgets.explore_threshold(class_probabilities(load_segmenter('bundled'), split, indices), dataset, 'val', indices)
""",
    "swipe": MAP + "widgets.swipe(view, places(view.mapped_labels, view.legend, 200))",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def jupyterlab(root: Path, settings: Path) -> Iterator[str]:
    """A server whose root is a folder, as `make lab` starts it; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(settings / name) for name in ("CONFIG", "RUNTIME", "DATA")}
    environment = os.environ | folders | {"IPYTHONDIR": str(settings / "ipython"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={root}"]
    command += [
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(settings / "log", "wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (settings / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def opened(browser: Any, address: str) -> tuple[Any, list[str]]:
    """A notebook's page, and the list to which what goes wrong in it is added."""
    page, wrong = browser.new_page(viewport={"width": 1400, "height": 1000}), []
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(address)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    return page, wrong


@pytest.fixture(scope="module")
def sliders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of small notebooks, one for each widget, on the scene of the profile `quick`."""
    root = tmp_path_factory.mktemp("notebooks")
    for name, code in WIDGETS.items():
        cells = [nbformat.v4.new_code_cell(BEGIN.strip()), nbformat.v4.new_code_cell(code.strip())]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / f"{name}.ipynb")
    with jupyterlab(root, tmp_path_factory.mktemp("settings")) as address:
        yield address


#: tells when another picture is there, and whether there was none, or a broken one, in between
WATCH = """image => {
    window.blanks = 0;
    window.before = image.src;
    window.began = performance.now();
    window.took = null;
    window.watch = setInterval(() => {
        const now = document.querySelector('img.jupyter-widgets');
        if (!now || !now.src || (now.complete && !now.naturalWidth)) window.blanks += 1;
        else if (now.src !== window.before && now.complete) {
            window.took = (performance.now() - window.began) / 1000;
            clearInterval(window.watch);
        }
    }, 10);
}"""


def run_all(page: Any) -> None:
    """Run a notebook's cells; the page says "idle" before there is a kernel, and cells sent then never run."""
    page.wait_for_function("() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    ran = page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
    assert ran, page.locator(FAILED).all_inner_texts()


@pytest.mark.parametrize("name", WIDGETS)
def test_a_slider_changes_its_picture(browser, sliders, name):
    page, wrong = opened(browser, f"{sliders}/lab/tree/{name}.ipynb?reset")
    run_all(page)
    picture, handle = page.locator("img.jupyter-widgets"), page.locator(".jp-OutputArea .noUi-handle").first
    seconds = []
    for turn in range(8):
        page.wait_for_timeout(500)
        picture.evaluate(WATCH)
        handle.press("ArrowRight" if turn % 4 < 2 else "ArrowLeft")
        page.wait_for_function("failed => window.took || document.querySelector(failed)", arg=FAILED, timeout=60_000)
        assert page.locator(FAILED).all_inner_texts() == []
        assert page.evaluate("window.blanks") == 0
        seconds.append(page.evaluate("window.took"))
    told = ", ".join(f"{second:.2f}" for second in sorted(seconds))
    print(f"{name}: redrawn in {told} s")
    assert wrong == []
    page.close()


def test_the_pictures_of_notebooks_show_in_jupyterlab(browser, tmp_path):
    """As `make lab` serves them, from the repository's root."""
    with jupyterlab(ROOT, tmp_path) as address:
        for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
            page, wrong = opened(browser, f"{address}/lab/tree/notebooks/{path.name}?reset")
            teaser = page.locator(".jp-RenderedMarkdown img").first
            teaser.wait_for()
            page.wait_for_function("image => image.complete", arg=teaser.element_handle())
            assert teaser.evaluate("image => image.naturalWidth") > 0, path.name
            assert wrong == [], path.name
            page.close()
