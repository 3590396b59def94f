"""The API against its own description: schemathesis, all checks, with and without a token."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from server_fake import FakeService, new_id
from server_live import Live, live

from nbmlp import MLP
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import Job, JobState
from nbmlp.server.settings import ServerSettings

pytestmark = pytest.mark.soak

EXAMPLES = 40
#: A file is described as any bytes and the names of functions as text: what they say is found out
#: later, so that a request may keep to the description and still be refused.
CONFIG = """
[[operations]]
include-operation-id = ["upload_dataset", "submit_job", "model_infer", "model_version_infer"]
checks.positive_data_acceptance.enabled = false
"""


class Hasty(FakeService):
    """Its jobs end at once, so that streams of events do."""

    def submit(self, spec: JobSpec, key: str | None = None) -> Job:
        self.get_dataset(spec.dataset_id)
        job = super().submit(spec, key)
        self.jobs[job.id] = replace(job, model_id=next(iter(self.models), new_id()))
        return self.enter(job.id, JobState.SUCCEEDED)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("contract")
    settings = ServerSettings(data_dir=folder, port=0, rate=1e6, burst=10**6, uploads=64)
    service = Hasty(folder)
    X = np.eye(4, dtype=np.float32)
    mlp = MLP(2, epochs=1, task="regression", threads=1).fit(X, X.sum(axis=1))
    service.add_model(mlp, [(f"x{j}", "number") for j in range(4)])
    with live(service, settings) as running:
        yield running


def run(server: Live, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    document = folder / "openapi.json"
    with server.client() as client:
        document.write_text(client.get("/openapi.json").text)
    (folder / "schemathesis.toml").write_text(CONFIG)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", server.url,
        "--max-examples", str(EXAMPLES), "--request-timeout", "20", "--workers", "2", "--seed", "1",
        "--no-color", *options,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.fixture(autouse=True)
def _installed() -> None:
    if shutil.which("schemathesis") is None:
        pytest.skip("needs schemathesis")


def test_with_a_token(server: Live, tmp_path: Path) -> None:
    done = run(server, tmp_path, "--header", f"Authorization: Bearer {server.secret}")
    assert done.returncode == 0, done.stdout[-8000:]


def test_without_a_token(server: Live, tmp_path: Path) -> None:
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    done = run(server, tmp_path, "--checks", f"{checks},response_schema_conformance")
    assert done.returncode == 0, done.stdout[-8000:]
