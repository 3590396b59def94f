"""`nbmlp train --hosts` on hosts that die: killed, stopped, cut off; the bits of one left alone.

Hosts are network namespaces of this machine, at a bridge, each with a folder of its own where
the others have theirs. The bridge is the launcher's interface and has the name of theirs.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.soak

SUBNET, COUNT = "198.18.79", 3
NAME = f"nbf{os.getpid() % 10**6}"
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
#: How mpiexec starts a process on a host, in the place of ssh.
SSH = f"""#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
k=${{1##*.}}; shift
exec ip netns exec {NAME}-$k sh -c "mount --bind FOLDER/host$k FOLDER/own; $*"
"""
TRAIN = [
    sys.executable, "-m", "nbmlp", "train", "--data", "digits", "--hidden", "20", "--shards", "6",
    "--epochs", "15", "--batch-size", "300", "--dropout", "0.2", "--optimizer", "adam",
    "--early-stopping", "1000", "--threads", "1", "--quiet",
]  # fmt: skip


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Network:
    """Hosts, and what is started on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.addresses = folder, [f"{SUBNET}.{k + 1}" for k in range(COUNT)]
        self.hosts = ",".join(self.addresses)
        for k in range(COUNT):
            (folder / f"host{k + 1}").mkdir()
        (folder / "own").mkdir()
        ssh = folder / "ssh"
        ssh.write_text(SSH.replace("FOLDER", str(folder)))
        ssh.chmod(0o755)

    def make(self) -> None:
        ip("link", "add", NAME, "type", "bridge")
        ip("address", "add", f"{SUBNET}.254/24", "dev", NAME)
        ip("link", "set", NAME, "up")
        for k, address in enumerate(self.addresses, 1):
            ip("netns", "add", f"{NAME}-{k}")
            ip("link", "add", f"{NAME}v{k}", "type", "veth", "peer", "name", NAME,
               "netns", f"{NAME}-{k}")  # fmt: skip
            ip("link", "set", f"{NAME}v{k}", "master", NAME, "up")
            ip("-n", f"{NAME}-{k}", "address", "add", f"{address}/24", "dev", NAME)
            for each in ("lo", NAME):
                ip("-n", f"{NAME}-{k}", "link", "set", each, "up")

    def remove(self) -> None:
        for k in range(1, COUNT + 1):
            found = subprocess.run(
                ["ip", "netns", "pids", f"{NAME}-{k}"], capture_output=True, text=True, check=False
            )
            for pid in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        numbers = range(1, COUNT + 1)
        made = [("netns", "delete", f"{NAME}-{k}") for k in numbers]
        # a namespace outlives its name as long as anything runs there
        made += [("link", "delete", f"{NAME}v{k}") for k in numbers]
        for words in [*made, ("link", "delete", NAME)]:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip(*words)

    def cut(self, rank: int) -> None:
        ip("link", "set", f"{NAME}v{rank + 1}", "down")

    def launcher(self) -> dict[str, str]:
        return {
            "HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": str(self.folder / "ssh"),
            "UCX_TLS": "tcp,self",  # else memory of all namespaces is shared
        }  # fmt: skip


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the command ip (iproute2)")
    made = Network(tmp_path)
    try:
        made.make()
    except subprocess.CalledProcessError as error:
        made.remove()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        made.remove()


class Job:
    """A command, its processes of MPI by rank, and what it says."""

    def __init__(self, folder: Path, *options: str, **more: str) -> None:
        pytest.importorskip("mpi4py", reason="MPI is not installed: pip install nbmlp[mpi]")
        if MPIEXEC is None:
            pytest.skip("there is no mpiexec beside this Python: pip install mpich")
        self._mark, self._said = f"NBMLP_SOAK={folder}", folder / "said"
        quiet = {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "NBMLP_SOAK": str(folder)}
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [*TRAIN, *options], env=os.environ | quiet | more, stdout=said, stderr=said
            )

    def ranks(self) -> dict[int, int]:
        found = {}
        for path in Path("/proc").iterdir():
            if not path.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                facts = (path / "environ").read_bytes().decode(errors="replace").split("\0")
                rank = [fact.removeprefix("PMI_RANK=") for fact in facts if "PMI_RANK=" in fact]
                if rank and self._mark in facts:
                    found[int(rank[0])] = int(path.name)
        return found

    def end(self) -> tuple[int, str]:
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
        until(lambda: not self.ranks())
        return self.process.returncode, self._said.read_text()


def wait_for_writings(path: Path, count: int) -> None:
    """Until a file has been written so many times again."""
    until(path.exists)
    for _ in range(count):
        seen = path.stat().st_mtime_ns
        until(lambda seen=seen: path.stat().st_mtime_ns != seen)


def weights(path: Path) -> Any:
    from nbmlp import MLP

    return MLP.load(path).get_flat().tolist()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("alone") / "m"
    subprocess.run([*TRAIN, "--out", str(out)], check=True)
    return weights(out)


def whole(folder: Path) -> None:
    """No file is half written: all that there is bears its digest."""
    from nbmlp.io import model_file

    names = {path.name for path in folder.iterdir()}
    assert names <= {"c", "m"}
    if "c" in names:
        model_file.load(folder / "c", "checkpoint")


@pytest.mark.parametrize("moment", range(10))
def test_kill_9_and_fewer_go_on_with_the_same_bits(tmp_path, alone, moment):
    chance = random.Random(moment)
    own = tmp_path / "own"
    own.mkdir()
    files = "--checkpoint", str(own / "c"), "--out", str(own / "m")
    job = Job(tmp_path, "--processes", "3", "--restarts", "1", *files)
    wait_for_writings(own / "c", chance.randint(0, 9))
    victim = chance.randrange(3)
    os.kill(job.ranks()[victim], signal.SIGKILL)
    code, said = job.end()
    assert code == 0, said
    assert f"process {victim} on localhost was killed (SIGKILL)." in said
    assert "restart 1 of 1, on localhost, localhost." in said
    assert weights(own / "m") == alone
    whole(own)


def started(network: Network, *options: str) -> Job:
    """On all hosts, each with a folder of its own, up to some checkpoints of both writers."""
    own = network.folder / "own"
    job = Job(
        network.folder, "--hosts", network.hosts, "--interface", NAME, "--deadline", "6",
        "--checkpoint", str(own / "c"), "--out", str(own / "m"), *options, **network.launcher(),
    )  # fmt: skip
    for writer in ("host1", "host2"):
        wait_for_writings(network.folder / writer / "c", 2)
    return job


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("how", ["cut", "stopped", "killed"])
def test_a_host_that_is_lost(network, alone, how, victim):
    """Process 0's, the second writer's and another one's."""
    job = started(network, "--restarts", "1")
    if how == "cut":
        network.cut(victim)
    else:
        number = signal.SIGSTOP if how == "stopped" else signal.SIGKILL
        os.kill(job.ranks()[victim], number)
    code, said = job.end()
    assert code == 0, said
    who = f"process {victim} on {network.addresses[victim]}"
    silent = " has given no sign of life for 6 seconds"
    assert who + (" was killed (SIGKILL)" if how == "killed" else silent) in said
    left = [host for k, host in enumerate(network.addresses) if k != victim]
    assert f"restart 1 of 1, on {', '.join(left)}." in said
    leader = network.folder / ("host2" if victim == 0 else "host1")
    assert weights(leader / "m") == alone
    for folder in network.folder.glob("host*"):
        whole(folder)


def test_the_smaller_side_does_not_go_on(network):
    """The launcher reaches one host of three; the others may be going on for somebody else."""
    job = started(network, "--restarts", "1")
    network.cut(1)
    network.cut(2)
    code, said = job.end()
    assert code == 1
    assert "no restart without the majority" in said
    assert not (network.folder / "host1" / "m").exists()


def test_without_restarts_a_cut_cable_ends_all_in_one_sentence(network):
    job = started(network)
    network.cut(2)
    code, said = job.end()
    assert code == 1
    assert said.count("nbmlp: ") == 1
    assert f"process 2 on {network.addresses[2]} has given no sign of life" in said


def test_a_wrong_interface_is_told_before_training(network):
    job = Job(
        network.folder, "--hosts", network.hosts, "--interface", "lo", **network.launcher()
    )  # fmt: skip
    code, said = job.end()
    assert code == 1
    assert said.count("nbmlp: ") == 1, said
    told = "could not be started", "did not start", "did not meet"
    assert any(words in said for words in told), said
