"""The published benchmark pages in a real browser that is cut off from the network."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser

from bench import dashboard
from bench.suites.training import Throughput
from tests.waiting import PATIENCE

NAME = "training.Throughput.track_samples_per_second"
NETS, BATCHES = Throughput.params
#: Samples per second as a run would have stored them, the batch sizes of one net after the other.
RATES = [1000.0 * (i + 1) * batch**0.5 for i in range(len(NETS)) for batch in BATCHES]


def command(folder: Path, *words: str) -> str:
    """Run it in `folder`; what it printed."""
    user = {
        f"GIT_{role}_{part}": "t" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "HOME": str(folder), **user},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.strip()


def store(folder: Path, content: Any) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text(json.dumps(content))


def store_results(folder: Path, commit: str) -> None:
    """A result of one commit on one machine, in the files of asv (version 2 of its format)."""
    machine = {"machine": "box", "arch": "x86_64", "cpu": "any", "num_cpu": "2", "os": "Linux",
               "ram": "1"}  # fmt: skip
    params = [[repr(value) for value in values] for values in Throughput.params]
    known = {"name": NAME, "param_names": Throughput.param_names, "params": params, "code": "",
             "type": "track", "unit": "samples/s", "version": "1", "timeout": 60}  # fmt: skip
    store(folder / "benchmarks.json", {NAME: known, "version": 2})
    store(folder / "box" / "machine.json", {**machine, "version": 1})
    run = {
        "commit_hash": commit, "env_name": "virtualenv-py3.11", "date": 1_700_000_000_000,
        "params": {**machine, "python": "3.11"}, "python": "3.11", "requirements": {},
        "env_vars": {}, "result_columns": ["result", "params", "version"],
        "results": {NAME: [RATES, params, "1"]}, "durations": {}, "version": 2,
    }  # fmt: skip
    store(folder / "box" / f"{commit[:8]}-virtualenv-py3.11.json", run)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of a commit, published by asv and made independent of the network."""
    pytest.importorskip("asv")
    if shutil.which("git") is None:
        pytest.skip("asv publishes figures of commits: no git here")
    folder = tmp_path_factory.mktemp("asv")
    settings = {
        "version": 1, "project": "nbmlp", "repo": ".", "branches": ["HEAD"],
        "benchmark_dir": "suites", "results_dir": "results", "html_dir": "site",
    }  # fmt: skip
    (folder / "asv.conf.json").write_text(json.dumps(settings))
    command(folder, "git", "init", "--quiet")
    command(folder, "git", "commit", "--quiet", "--allow-empty", "-m", "measured")
    store_results(folder / "results", command(folder, "git", "rev-parse", "HEAD"))
    command(folder, sys.executable, "-m", "asv", "publish")
    try:
        dashboard.vendor(folder / "site")
    except dashboard.DashboardError as error:
        if "cannot be fetched" in str(error):
            pytest.skip(str(error))
        raise
    return folder / "site"


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where this machine, and no other, serves the site."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page() -> Iterator[Any]:
    """An empty page of a browser that can resolve no name."""
    with browser() as started:
        yield started.new_page()


def test_throughput_is_drawn_against_batch_size(page: Any, address: str) -> None:
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda answer: answer.ok or broken.append(answer.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(address + dashboard.VIEW)
    page.wait_for_function("$('#main-graph').data('plot')?.getData().length")

    series = page.evaluate("$('#main-graph').data('plot').getData().map(s => [s.label, s.data])")
    drawn = {label.rpartition("net-")[2]: data for label, data in series}
    assert list(drawn) == NETS
    for i, net in enumerate(NETS):
        rates = RATES[i * len(BATCHES) : (i + 1) * len(BATCHES)]
        assert drawn[net] == [[x, pytest.approx(y)] for x, y in zip(BATCHES, rates, strict=True)]

    assert page.inner_text("#title") == NAME
    assert page.inner_text(".flot-x-axis").split() == [str(batch) for batch in BATCHES]
    ticks = page.locator(".flot-x-axis .flot-tick-label")
    one, twenty, most = (ticks.nth(i).bounding_box()["x"] for i in (0, 2, 7))
    assert twenty - one > 0.2 * (most - one), "the axis of batch sizes is not logarithmic"

    assert len(asked) > 10
    assert all(url.startswith(address) for url in asked), asked
    assert not broken


class TestVendor:
    def test_without_a_site(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert dashboard.main([str(tmp_path)]) == 1
        assert "run asv publish first" in capsys.readouterr().err

    def test_another_archive_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "index.html").write_text("")
        archive = tmp_path / "a.tgz"
        archive.write_bytes(b"something else")
        monkeypatch.setattr(dashboard.Library, "url", archive.as_uri())
        with pytest.raises(dashboard.DashboardError, match="is not what it was"):
            dashboard.vendor(tmp_path)
