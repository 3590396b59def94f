"""The whole way of a person, through a browser and the real server: from a file to predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
from browser import browser
from server_live import Live, live

from nbmlp import MLP
from nbmlp.server.jobs.spec import Hyper, JobSpec
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = ServerSettings(data_dir=tmp_path_factory.mktemp("data"), port=0)
    with live(LocalService(settings), settings) as running:
        yield running


def is_bad(message: Any) -> bool:
    """An error that is not the answer 422 to a wrong file, which browsers report too."""
    return message.type == "error" and "status of 422" not in message.text


@pytest.fixture(scope="module")
def page(server: Live) -> Iterator[Any]:
    """Of somebody who has signed in by keys alone; nothing on it may break."""
    broken: list[str] = []
    with browser() as started:
        opened = started.new_context(base_url=server.url).new_page()
        opened.on("pageerror", lambda error: broken.append(str(error)))
        opened.on("console", lambda m: is_bad(m) and broken.append(m.text))
        opened.goto("/login")
        opened.keyboard.type(server.secret)
        opened.keyboard.press("Enter")
        opened.wait_for_selector("#upload")
        yield opened
    assert not broken, broken


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clouds of points with names, one value missing."""
    random = np.random.default_rng(0)
    lines = ["width,height,kind"]
    for i in range(600):
        kind = ("round", "long")[i % 2]
        width, height = random.normal((i % 2) * 3.0, 1.0, 2)
        lines.append(f"{width:.3f},{'' if i == 7 else f'{height:.3f}'},{kind}")
    path = tmp_path_factory.mktemp("tables") / "shapes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def press(page: Any, selector: str) -> None:
    """Go there and press Enter: no mouse."""
    page.wait_for_selector(selector)
    page.focus(selector)
    page.keyboard.press("Enter")


def train(page: Any, **fields: str) -> str:
    """Fill in the form and send it; the job's id."""
    press(page, "#train details summary")
    for name, value in fields.items():
        page.fill(f"#train [name$='{name}']", value)
    press(page, "#train [type=submit]")
    page.wait_for_selector("#job")
    return str(page.get_attribute("#job", "data-job"))


def test_from_a_file_to_predictions(page: Any, server: Live, table: Path, tmp_path: Path) -> None:
    page.goto("/")
    page.set_input_files("#file", table)
    press(page, "#upload [type=submit]")
    page.wait_for_selector("#train")
    data = page.url
    assert "600 rows, 3 columns" in page.inner_text("main").replace("\u202f", " ")
    assert "missing" in page.inner_text(".preview")
    assert page.input_value("[name=target]") == "kind"

    first = train(page, hidden="16", batch_size="4", epochs="50000", patience="", name="first")
    page.wait_for_selector("#loss canvas", timeout=60_000)
    before = page.get_attribute("#loss", "aria-label")
    page.wait_for_function(
        "before => document.querySelector('#loss').ariaLabel !== before", arg=before
    )

    page.goto(data)
    second = train(page, hidden="8, 8", batch_size="4", epochs="50000", patience="", name="second")
    press(page, "#do-cancel")
    press(page, "dialog [value=yes]")
    page.wait_for_selector("#status .state.cancelled")

    page.goto(f"/jobs/{first}")
    page.wait_for_selector("#loss canvas")
    press(page, "#do-stop")
    press(page, "dialog [value=yes]")
    page.wait_for_selector("#result .matrix", timeout=60_000)
    page.wait_for_selector("#status .state.succeeded")

    with page.expect_download() as download:
        press(page, "text=Download the model")
    file = tmp_path / "model.safetensors"
    download.value.save_as(file)
    page.fill(".predict [name=width]", "3")
    page.fill(".predict [name=height]", "3")
    press(page, ".predict button")
    page.wait_for_selector(".answer .result")
    rows = {"width": np.array([3.0]), "height": np.array([3.0])}
    assert page.inner_text(".answer .result") == str(MLP.load(file).predict(rows)[0]) == "long"

    model = server.service.list_models().items[0].id
    page.goto(f"/models/{model}")
    page.click("text=This model from a program")
    asked = json.loads(page.inner_text("#code-predict-curl").split("'")[1])
    answer = httpx.post(f"{server.url}/v2/models/{model}/infer", json=asked, headers=server.bearer)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"][0] in ("round", "long")

    page.goto("/jobs")
    for job in (first, second):
        page.focus(f"#compare-{job}")
        page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_selector("#loss canvas")
    differs = page.inner_text("table")
    assert "hidden" in differs
    assert "8, 8" in differs


def test_a_wrong_file(page: Any, tmp_path: Path) -> None:
    page.goto("/")
    path = tmp_path / "ragged.csv"
    path.write_text("a,b\n1,2\n3\n")
    page.set_input_files("#file", path)
    press(page, "#upload [type=submit]")
    page.wait_for_selector("#complaint:has-text('line 3')")


def test_pause_and_resume(page: Any, server: Live) -> None:
    dataset = server.service.list_datasets().items[0]
    spec = JobSpec(
        dataset_id=dataset.id, target="kind", model=Hyper(hidden=[16], batch_size=4, epochs=50_000)
    )
    job = server.service.submit(spec)
    page.goto(f"/jobs/{job.id}")
    page.wait_for_selector("#loss canvas", timeout=60_000)
    press(page, "#do-pause")
    press(page, "dialog [value=yes]")
    page.wait_for_selector("#status .state.paused")
    assert "after epoch" in page.inner_text("#status")
    press(page, "#do-resume")
    press(page, "dialog [value=yes]")
    page.wait_for_selector("#status .state.running", timeout=60_000)
    press(page, "#do-cancel")
    press(page, "dialog [value=yes]")
    page.wait_for_selector("#status .state.cancelled")
