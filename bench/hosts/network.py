"""Hosts made of this machine: network namespaces at a bridge, with a core and a rate each."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Failed", "Network", "alone", "missing"]

ROOT = Path(__file__).resolve().parents[2]
#: In a range for such purposes; the last number is the host's, the bridge has the last one.
SUBNET = "198.18.78"
#: UCX would find that namespaces share memory, and no byte would pass the network.
MPI = {"UCX_TLS": "tcp,self"}
#: How `mpiexec` starts a process on a host, in the place of ssh.
LAUNCHER = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec PREFIX-${host##*.} taskset -c $((${host##*.} - 1)) sh -c "$*"
"""


class Failed(Exception):
    """A host or a command on the hosts has failed; the message says how."""


def missing(hosts: int) -> str:
    """What is not there that hosts take, in a sentence; empty if nothing is."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root."
    for command, package in (("ip", "iproute2"), ("tc", "iproute2"), ("taskset", "util-linux")):
        if shutil.which(command) is None:
            return f"the command {command} is missing ({package})."
    if _mpiexec() is None:
        return 'there is no mpiexec beside this Python: pip install "nbmlp[mpi]".'
    if len(os.sched_getaffinity(0)) < hosts:
        return f"{hosts} hosts need a core each."
    return ""


def _mpiexec() -> str | None:
    return shutil.which("mpiexec", path=str(Path(sys.executable).parent))


def _run(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise Failed(f"{' '.join(words)}: {error.stderr.strip()}") from None


class Network:
    """Namespaces joined by a bridge, while it is entered.

    Parameters
    ----------
    hosts : int
        How many; each has the core of its number.
    rate : int
        Mb/s that each may send; 0 for no limit.
    """

    def __init__(self, hosts: int, rate: int) -> None:
        self.hosts, self.rate = hosts, rate
        self._prefix = f"nbh{os.getpid() % 10**6}"
        self._bridge, self._folder = f"{self._prefix}-br", ""

    def __enter__(self) -> Network:
        self._folder = tempfile.mkdtemp()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._remove()

    @property
    def _names(self) -> list[str]:
        return [f"{self._prefix}-{k + 1}" for k in range(self.hosts)]

    def _make(self) -> None:
        launcher = Path(self._folder) / "launch"
        launcher.write_text(LAUNCHER.replace("PREFIX", self._prefix))
        launcher.chmod(0o755)
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "address", "add", f"{SUBNET}.254/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        for k, name in enumerate(self._names):
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0",
                 "netns", name)  # fmt: skip
            _run("ip", "link", "set", f"{name}v", "master", self._bridge, "up")
            inside = "ip", "-n", name
            _run(*inside, "address", "add", f"{SUBNET}.{k + 1}/24", "dev", "eth0")
            for each in ("lo", "eth0"):
                _run(*inside, "link", "set", each, "up")
            if self.rate:
                _run("tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate",
                     f"{self.rate}mbit", "burst", "128kb", "latency", "50ms")  # fmt: skip

    def _remove(self) -> None:
        """All that was made, and what still runs there."""
        for name in self._names:
            found = subprocess.run(
                ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
            )
            for pid in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for words in [("netns", "delete", name) for name in self._names] + [
            ("link", "delete", self._bridge)
        ]:
            with contextlib.suppress(Failed):
                _run("ip", *words)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, module: str, *words: str, timeout: float = 3600.0) -> Any:
        """What a module prints on the first host, which is JSON, started on all of them by MPI.

        Raises
        ------
        Failed
        """
        addresses = ",".join(f"{SUBNET}.{k + 1}" for k in range(self.hosts))
        command = [
            str(_mpiexec()), "-iface", self._bridge, "-launcher", "ssh", "-launcher-exec",
            f"{self._folder}/launch", "-hosts", addresses, "-ppn", "1", "-n", str(self.hosts),
            sys.executable, "-m", module, *words,
        ]  # fmt: skip
        return _answer(command, MPI, timeout)


def alone(module: str, *words: str, timeout: float = 3600.0) -> Any:
    """What a module prints in one process, on the core of the first host."""
    return _answer(["taskset", "-c", "0", sys.executable, "-m", module, *words], {}, timeout)


def _answer(command: list[str], more: dict[str, str], timeout: float) -> Any:
    """What a command prints, an object of JSON in a line; it ends with this one."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | more | {"PYTHONPATH": path}
    with _ended(command, environment) as process:
        try:
            out, wrong = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {timeout:.0f} s: {' '.join(command)}") from None
    if process.returncode:
        raise Failed(f"{' '.join(command)}: {wrong.strip()[-2000:]}")
    lines = [line for line in out.splitlines() if line.startswith("{")]  # MPI may warn there
    if not lines:
        raise Failed(f"{' '.join(command)}: no result in {out[-2000:]!r}.")
    return json.loads(lines[-1])


@contextmanager
def _ended(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()  # mpiexec may wait for ever for what it has started
            process.communicate()
