"""``nbmlp serve``: its options, its errors, its start and its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from server_jobs import add_table, finished, running, spec_for

from nbmlp import MLP
from nbmlp.cli import run
from nbmlp.data import Table
from nbmlp.server.settings import ServerSettings
from tests.waiting import PATIENCE


def test_help_explains_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["serve", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, field in ServerSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"NBMLP_{name.upper()}" in text
        assert field.description
        assert field.description.split(":")[0].split()[0] in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "70000"], "--port (or NBMLP_PORT)"),
        (["--nonsense"], "--nonsense"),
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--log-level", "loud"], "--log-level"),
    ],
)
def test_wrong_options(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "--data-dir", str(tmp_path), *options]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_without_its_packages() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from nbmlp.cli import run; sys.exit(run(['serve']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == 'nbmlp: nbmlp serve needs fastapi: pip install "nbmlp[server]".'


def test_start_and_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nbmlp", "serve", "--port", "0"]
    chosen = {"NBMLP_DATA_DIR": str(tmp_path / "data"), "NBMLP_LOG_LEVEL": "error"}
    environment = {**os.environ, **chosen}
    secrets = []
    for _ in range(2):
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        url = server.stdout.readline().split()[-1]
        if not secrets:
            secrets.append(server.stdout.readline().split()[-1])
        answer = None
        while answer is None:
            try:
                bearer = {"Authorization": f"Bearer {secrets[0]}"}
                answer = httpx.get(f"{url}/v1/jobs", headers=bearer)
            except httpx.TransportError:
                continue
        assert answer.json() == {"data": [], "has_more": False}
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=PATIENCE)
        assert rest == ""
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secrets[0].encode() not in stored


def test_models_of_the_server_are_the_command_lines_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of columns and target, and the plan of the table, go with the file."""
    with running(tmp_path / "data") as service:
        dataset = add_table(service)
        job = finished(service, service.submit(spec_for(dataset)).id)
        model = tmp_path / "houses.safetensors"
        shutil.copy(service.model_path(job.model_id), model)
    rows = tmp_path / "rows.csv"
    rows.write_text("town,size,price\nBonn,100,\nUlm,,\n", encoding="utf-8")
    assert run(["info", str(model)]) == 0
    told = capsys.readouterr().out
    assert "price" in told
    assert f"data set {dataset} of a server" in told
    assert str(tmp_path / "data") not in told
    assert run(["predict", str(model), "--data", str(rows)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0] == "price"
    net = MLP.load(model)
    raw = Table({"size": [100.0, np.nan], "town": np.array(["Bonn", "Ulm"], object)})
    np.testing.assert_allclose([float(v) for v in lines[1:]], net.predict(raw), rtol=1e-6)


def test_what_is_loaded_is_not_searched_for_garbage(tmp_path: Path) -> None:
    """It would take 0.2 s each time, in which nobody is answered."""
    code = (
        "import gc, sys; from nbmlp.server.http import run; from nbmlp.__main__ import main\n"
        "run.Listener.run = lambda *_, **__: print(gc.get_freeze_count(), len(gc.get_objects()))\n"
        f"sys.argv[1:] = ['serve', '--port', '0', '--data-dir', {str(tmp_path / 'data')!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    kept, searched = map(int, done.stdout.splitlines()[-1].split())
    assert kept > 20 * searched, done.stderr
