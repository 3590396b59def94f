"""The way of a person through a browser and the real server, with the keyboard alone."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from browser import assert_accessible, browser, window
from server_live import Live, live
from waiting import PATIENCE, until

from nbmlp import MLP
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import Dataset, Job, JobState, NotFoundError
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Two jobs of one core each run side by side."""
    folder = tmp_path_factory.mktemp("data")
    settings = ServerSettings(
        data_dir=folder, port=0, cores=2, threads_per_job=1, checkpoint_seconds=1.0
    )
    with live(LocalService(settings), settings) as running:
        yield running


def is_bad(message: Any) -> bool:
    """An error that is not the answer 422 to a wrong file, which browsers report too."""
    return message.type == "error" and "status of 422" not in message.text


@pytest.fixture(scope="module")
def page(server: Live) -> Iterator[Any]:
    """Of somebody with a phone who has signed in by keys alone; nothing on it may break."""
    broken: list[str] = []
    with browser() as started:
        context = window(
            started,
            base_url=server.url,
            color_scheme="dark",
            viewport={"width": 400, "height": 800},
        )
        opened = context.new_page()
        opened.on("pageerror", lambda error: broken.append(str(error)))
        opened.on("console", lambda m: is_bad(m) and broken.append(m.text))
        # Asked for in time: else the browser may open a window of its own for the first file.
        opened.on("filechooser", lambda chooser: None)
        opened.goto("/login")
        opened.wait_for_selector("#token:focus")  # the browser may focus it after the page's load
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
    path = tmp_path_factory.mktemp("tables") / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def dataset(server: Live, table: Path) -> Dataset:
    """The same table on the server."""
    with server.client() as client:
        answer = client.put("/v1/datasets/table.csv", content=table.read_bytes())
    return server.service.get_dataset(answer.json()["id"])


def reach(page: Any, selector: str) -> None:
    """Go there by Tab alone."""
    page.wait_for_selector(selector)
    pressed = 0
    while not page.locator(selector).first.evaluate("e => e === document.activeElement"):
        # Parts of the page are renewed meanwhile, which may begin from the start again.
        assert pressed < 1000, f"{selector} cannot be reached by Tab"
        page.keyboard.press("Tab")
        pressed += 1


def press(page: Any, selector: str) -> None:
    reach(page, selector)
    page.keyboard.press("Enter")


def confirm(page: Any, selector: str) -> None:
    press(page, selector)
    press(page, "dialog [value=yes]")


def fill(page: Any, form: str, **fields: str) -> None:
    for name, value in fields.items():
        reach(page, f"{form} [name$='{name}']")
        page.keyboard.press("Control+A")
        page.keyboard.press("Delete")
        page.keyboard.type(value)


def train(page: Any, **fields: str) -> str:
    """Fill in the form and send it; the job's id."""
    fill(page, "#train", **fields)
    press(page, "#train [type=submit]")
    page.wait_for_selector("#job")
    return str(page.get_attribute("#job", "data-job"))


def wait_for_growth(page: Any) -> None:
    """The curve gains epochs while one looks."""
    page.wait_for_selector("#loss canvas")
    page.wait_for_function(
        "before => document.querySelector('#loss').ariaLabel !== before",
        arg=page.get_attribute("#loss", "aria-label"),
    )


#: An hour's work, however fast the machine: it ends because somebody ends it.
LONG = {"batch_size": "1", "epochs": "100000", "patience": ""}


def test_from_a_file_to_predictions(page: Any, server: Live, table: Path, tmp_path: Path) -> None:
    reach(page, "#file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(table)
    press(page, "#upload [type=submit]")
    page.wait_for_selector("#train")
    data = page.url
    assert "600 rows, 3 columns" in page.inner_text("main").replace("\u202f", " ")
    cells = page.locator(".preview tr").nth(8).locator("td").all_inner_texts()
    assert [cells[1], cells[2]] == ["missing", "long"]
    assert page.input_value("[name=target]") == "kind"

    first = train(page, hidden="100, 100", name="first", **LONG)
    wait_for_growth(page)
    assert data.endswith(str(page.get_attribute("#job a:has-text('table.csv')", "href")))
    press(page, "text=Train again, changed")
    page.wait_for_url(f"{data}?like={first}")
    second = train(page, hidden="100, 60", name="second")
    assert server.service.get_job(second).spec.model.epochs == int(LONG["epochs"])
    wait_for_growth(page)
    confirm(page, "#do-cancel")
    page.wait_for_selector("#status .state.cancelled")

    press(page, "nav >> text=Jobs")
    press(page, f"#open-{first}")
    wait_for_growth(page)
    confirm(page, "#do-stop")
    page.wait_for_selector("#result .matrix")
    page.wait_for_selector("#status .state.succeeded")
    assert_accessible(page, "what a job has become")

    with page.expect_download() as download:
        press(page, "text=Download the model")
    file = tmp_path / "model.safetensors"
    download.value.save_as(file)
    fill(page, ".predict", width="3", height="3")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer .result")
    rows = {"width": np.array([3.0]), "height": np.array([3.0])}
    assert page.inner_text(".answer .result") == str(MLP.load(file).predict(rows)[0]) == "long"

    press(page, "nav >> text=Jobs")
    for job in (second, first):
        reach(page, f"#compare-{job}")
        page.keyboard.press("Space")
    press(page, "#compare")
    page.wait_for_selector("#loss canvas")
    assert page.locator(".legend").first.locator("li").count() == 2
    differs = page.locator("tr:has-text('hidden')").inner_text()
    assert sorted(differs.split("\t")[1:]) == ["100, 100", "100, 60"]
    # Every page, in all its looks, is looked at over jobs that are made up: test_server_page.py.
    assert_accessible(page, "what two jobs have become")


def test_dropped(page: Any, table: Path) -> None:
    page.goto("/")
    page.evaluate(
        """text => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([text], "dropped.csv"));
          document.getElementById("upload").dispatchEvent(new DragEvent("drop", { dataTransfer }));
        }""",
        table.read_text().replace("width", "length"),
    )
    page.wait_for_selector("h1:has-text('dropped.csv')")


def test_a_wrong_file(page: Any, tmp_path: Path) -> None:
    page.goto("/")
    path = tmp_path / "ragged.csv"
    path.write_text("a,b\n1,2\n3\n")
    page.set_input_files("#file", path)
    press(page, "#upload [type=submit]")
    page.wait_for_selector("#file-error:has-text('line 3')")


def submit(server: Live, dataset: Dataset, **values: Any) -> Job:
    """A job that lasts until somebody ends it."""
    model = {"hidden": [100, 100], "batch_size": 1, "epochs": 100_000} | values.pop("model", {})
    spec = {"dataset_id": dataset.id, "target": "kind", "model": model, **values}
    return server.service.submit(JobSpec.model_validate(spec))


def test_pause_and_resume(page: Any, server: Live, dataset: Dataset) -> None:
    page.goto(f"/jobs/{submit(server, dataset).id}")
    page.wait_for_selector("#loss canvas")
    confirm(page, "#do-pause")
    page.wait_for_selector("#status .state.paused")
    assert "after epoch" in page.inner_text("#status")
    confirm(page, "#do-resume")
    page.wait_for_selector("#status .state.running")
    confirm(page, "#do-cancel")
    page.wait_for_selector("#status .state.cancelled")


def test_a_killed_job_says_so_and_goes_on(page: Any, server: Live, dataset: Dataset) -> None:
    """One that is more important takes its cores meanwhile."""
    killed = submit(server, dataset, threads=2)
    page.goto(f"/jobs/{killed.id}")
    page.wait_for_selector("#loss canvas")
    other = submit(server, dataset, threads=2, priority=1)
    until(lambda: server.service.checkpoints(killed.id))
    os.kill(server.service._jobs.row(killed.id)["pid"], signal.SIGKILL)
    page.wait_for_selector("#status .state.interrupted")
    page.wait_for_selector("#status:has-text('resuming from epoch')")
    server.service.cancel(other.id)
    page.wait_for_selector("#status .state.running")
    page.wait_for_selector("#status .facts:has-text('Attempts')")
    server.service.cancel(killed.id)
    page.wait_for_selector("#status .state.cancelled")


def test_a_job_without_memory_says_so(page: Any, server: Live, dataset: Dataset) -> None:
    job = submit(
        server, dataset, limits={"memory_mb": 256}, diagnose=False,
        model={"hidden": [16384, 16384], "batch_size": None},
    )  # fmt: skip
    page.goto(f"/jobs/{job.id}")
    page.wait_for_selector("#status .state.failed")
    assert "out of memory" in page.inner_text("#status .title")
    assert "256 MB" in page.inner_text("#status .notice")


def test_a_diverging_job_says_why(page: Any, server: Live, dataset: Dataset) -> None:
    """Its page is open meanwhile."""
    model = {"optimizer": "sgd", "learning_rate": 1e5, "batch_size": 32, "epochs": 5}
    job = submit(server, dataset, target="width", model=model)
    page.goto(f"/jobs/{job.id}")
    page.wait_for_selector("#status .state.failed")
    assert "NaN or infinity" in page.inner_text("#status .title")
    said = page.inner_text("#status section:has(#diagnosis)")
    assert "learning rate too high" in said
    assert "cure:" in said


class Examples:
    """Those of the page that is open, run as they stand in a folder, by somebody with a token."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.folder = folder
        found = "all => all.map(e => [e.id, e.textContent])"
        self.texts = dict(page.locator("pre[id^=code-]").evaluate_all(found))

    def curl(self, name: str) -> str:
        shell = self.texts[f"code-{name}-curl"].replace("curl ", "curl -sS --fail-with-body ", 1)
        ran = subprocess.run(
            shell, shell=True, cwd=self.folder, capture_output=True, timeout=PATIENCE
        )
        assert ran.returncode == 0, (ran.stderr, ran.stdout)
        return ran.stdout.decode()

    def python(self, name: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.chdir(self.folder):
            names: dict[str, Any] = {}
            exec(self.texts[f"code-{name}-python"], names)
            names["client"].close()
        return said.getvalue()


class TestExamples:
    @pytest.fixture(autouse=True)
    def token(self, server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NBMLP_TOKEN", server.secret)

    @pytest.fixture
    def opened(self, page: Any, tmp_path: Path) -> Callable[[str], Examples]:
        def opened(path: str) -> Examples:
            page.goto(path)
            return Examples(page, tmp_path)

        return opened

    def test_from_a_file_to_its_end(
        self, opened: Callable[[str], Examples], page: Any, server: Live, table: Path,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        service = server.service
        (tmp_path / "table.csv").write_text(table.read_text().replace("width", "depth"))
        upload = opened("/")
        assert '"rows":600' in upload.curl("upload")
        assert "'rows': 600" in upload.python("upload")
        data = service.list_datasets().items[0]

        page.goto(f"/datasets/{data.id}")
        page.fill("[name='model.epochs']", "3")
        page.fill("[name='model.hidden']", "4")
        form = Examples(page, tmp_path)
        form.curl("train")
        assert "'state': 'succeeded'" in form.python("train")
        newest, older = service.list_jobs().items[:2]
        assert newest.spec == older.spec
        assert newest.spec.model.hidden == [4]
        until(lambda: service.get_job(older.id).model_id)

        job = opened(f"/jobs/{newest.id}")
        assert "event: epochs" in job.curl("watch")
        assert "'kind': 'epochs'" in job.python("watch")
        assert job.curl("values").count('"epoch":') == job.python("values").count("'epoch':") == 3
        compared = opened(f"/compare?job={newest.id}&job={older.id}")
        name = f"values-{older.id}"
        assert compared.curl(name).count('"epoch":') == compared.python(name).count("'epoch':") == 3

        model = opened(f"/models/{newest.model_id}")
        assert any(kind in model.curl("predict") for kind in ("round", "long"))
        assert model.python("predict").strip() in ("['round']", "['long']")
        model.curl("download")
        downloaded = (tmp_path / "model.safetensors").read_bytes()
        assert "MLP" in model.python("download")
        assert downloaded == (tmp_path / "model.safetensors").read_bytes()
        model.curl("delete")
        opened(f"/models/{service.get_job(older.id).model_id}").python("delete")
        assert not {newest.id, older.id} & {m.job_id for m in service.list_models().items}
        opened(f"/datasets/{data.id}").curl("delete")
        with pytest.raises(NotFoundError):
            service.get_dataset(data.id)
        upload.python("upload")
        again = service.list_datasets().items[0]
        opened(f"/datasets/{again.id}").python("delete")
        with pytest.raises(NotFoundError):
            service.get_dataset(again.id)

    def test_steering(
        self, opened: Callable[[str], Examples], server: Live, dataset: Dataset
    ) -> None:
        service = server.service
        job, other = submit(server, dataset).id, submit(server, dataset).id
        steer = opened(f"/jobs/{job}")

        def reaches(state: JobState, which: str = job) -> bool:
            return bool(until(lambda: service.get_job(which).state == state))

        assert reaches(JobState.RUNNING)
        steer.curl("pause")
        assert reaches(JobState.PAUSED)
        steer.python("resume")
        assert reaches(JobState.RUNNING)
        steer.curl("stop")
        assert reaches(JobState.SUCCEEDED)
        opened(f"/jobs/{other}").python("cancel")
        assert reaches(JobState.CANCELLED, other)
