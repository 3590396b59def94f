"""The API against its own description: schemathesis, all checks, with and without a token.

The service is the real one, with processes and a database; the run uploads its own files, trains on
them, follows the jobs and asks the models. `contract_hooks` adds what a document cannot say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_live import Live, live

from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings

pytestmark = pytest.mark.soak

EXAMPLES = 40
#: The run must have come so far: else it would have shown nothing.
WORKED = (
    "upload_dataset 201", "submit_job 201", "get_job 200", "stream_job_events 200",
    "cancel_job 200", "model_infer 200", "model_version_infer 200", "download_model 200",
)  # fmt: skip
ROOT = Path(__file__).parents[2]
#: What breaks a schema by its length alone may be too long for the route.
CONFIG = """
max-stream-events = 1

[checks.negative_data_rejection]
expected-statuses = [
  "400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx",
]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("contract")
    settings = ServerSettings(
        data_dir=folder / "data", port=0, rate=1e6, burst=10**6, uploads=64, max_streams=10_000,
        max_queued=100_000, cores=1, job_memory_mb=1024, job_wall_seconds=20, diagnosis_seconds=0,
    )  # fmt: skip
    with live(LocalService(settings), settings) as running:
        yield running


def run(server: Live, folder: Path, token: str) -> dict[str, int]:
    """How often each operation answered with each status; fails when a check does."""
    document, report = folder / "openapi.json", folder / "answers.json"
    with server.client() as client:
        document.write_text(client.get("/openapi.json").text)
    (folder / "schemathesis.toml").write_text(CONFIG)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", server.url,
        "--checks", "all", "--max-examples", str(EXAMPLES), "--request-timeout", "20",
        "--workers", "1", "--seed", "1", "--continue-on-failure", "--no-color",
    ]  # fmt: skip
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.soak.contract_hooks",
        "CONTRACT_TOKEN": token, "CONTRACT_URL": server.url, "CONTRACT_REPORT": str(report),
    }  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout[-30000:] + done.stderr[-2000:]
    return json.loads(report.read_text())


def test_with_a_token(server: Live, tmp_path: Path) -> None:
    answers = run(server, tmp_path, server.secret)
    for operation in WORKED:
        assert answers[operation] >= 10, answers


def test_without_a_token(server: Live, tmp_path: Path) -> None:
    answers = run(server, tmp_path, "")
    told = {answer for answer in answers if not answer.endswith(" 401")}
    assert told == {f"server_{w} {s}" for w in ("live", "ready") for s in (200, 405)}, answers
