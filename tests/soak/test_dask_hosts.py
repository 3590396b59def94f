"""Two hosts of a Dask cluster, network namespaces of this machine: one is lost in a search."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

pytest.importorskip("distributed", reason='needs distributed: "nbmlp[dask]"')
pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
#: Of the two hosts, in a range for such purposes.
ADDRESSES = ("198.18.77.1", "198.18.77.2")
#: A host that has gone silent is given up after so long.
TIMEOUT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}
Start = Callable[..., "subprocess.Popen[str]"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """Namespaces with an interface each, joined by a cable."""

    def __init__(self) -> None:
        self.names = [f"nbmlp-{os.getpid()}-{k}" for k in (0, 1)]
        self.interfaces = [f"nb{os.getpid() % 10**6}v{k}" for k in (0, 1)]

    def make(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        near, far = self.interfaces
        ip("link", "add", near, "netns", self.names[0], "type", "veth", "peer", "name", far,
           "netns", self.names[1])  # fmt: skip
        for name, interface, address in zip(self.names, self.interfaces, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", interface)
            for each in ("lo", interface):
                ip("-n", name, "link", "set", each, "up")

    def remove(self) -> None:
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the command ip (iproute2)")
    try:
        made.make()
        yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    finally:
        made.remove()


@pytest.fixture
def start(hosts: Hosts, tmp_path: Path) -> Iterator[Start]:
    """Starts a module on one of the hosts, with a log of its own; all end with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(host: int, module: str, *words: str) -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", hosts.names[host], sys.executable, "-m", module, *words]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with (tmp_path / f"{len(running)}.log").open("w") as log:
            running.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=os.environ | TIMEOUT | {"PYTHONPATH": path}, text=True,
                    stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                )
            )  # fmt: skip
        return running[-1]

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("lost", ["nothing", "killed", "cable cut"])
def test_scores_and_members_of_two_hosts(
    lost: str, hosts: Hosts, start: Start, tmp_path: Path
) -> None:
    near, far = hosts.interfaces
    common = ("--nthreads", "1", "--nworkers", "1", "--no-dashboard")
    scheduler = f"tcp://{ADDRESSES[0]}:8786"
    start(0, "distributed.cli.dask_scheduler", "--interface", near, "--port", "8786",
          "--no-dashboard")  # fmt: skip
    start(0, "distributed.cli.dask_worker", scheduler, "--interface", near, *common)
    other = start(1, "distributed.cli.dask_worker", scheduler, "--interface", far, *common)
    command = {
        "nothing": [],
        "killed": ["kill", "-KILL", "--", f"-{other.pid}"],
        "cable cut": ["ip", "-n", hosts.names[1], "link", "set", far, "down"],
    }[lost]
    program = start(0, "tests.soak.dask_hosts", scheduler, str(tmp_path), *command)
    out, _ = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, (tmp_path / "3.log").read_text()[-3000:]
    assert json.loads(out.splitlines()[-1]) == {
        "members": True, "scores": True, "hosts": 2, "left": 2 if lost == "nothing" else 1,
    }  # fmt: skip
