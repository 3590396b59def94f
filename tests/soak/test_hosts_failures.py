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

from nbmlp.io import archive
from tests.soak.implementations import SHARING, mpiexec_of, python
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.soak
__all__ = ["python"]  # a fixture

SUBNET, COUNT = "198.18.79", 3
ROOT = Path(__file__).parents[2]
RANKS = ("PMI_RANK=", "OMPI_COMM_WORLD_RANK=")
NAME = f"nbf{os.getpid() % 10**6}"
#: How mpiexec starts a process on a host, in the place of ssh.
SSH = f"""#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
k=${{1##*.}}; shift
exec ip netns exec {NAME}-$k unshare -u sh -c \\
  "hostname {NAME}-$k; mount --bind FOLDER/host$k FOLDER/own; $*"
"""
TRAIN = ["-m", "nbmlp", "train", "--data", "digits", "--threads", "1", "--quiet"]
NET = [
    "--hidden", "20", "--shards", "6", "--epochs", "15", "--batch-size", "300", "--dropout", "0.2",
    "--optimizer", "adam", "--early-stopping", "1000",
]  # fmt: skip
ENSEMBLE = ["--preset", "default", "--members", "6", "--epochs", "10"]
#: Nets of an ensemble meet, and are written, as often as they can.
OFTEN = """
from nbmlp.tabular import race, team
race._BETWEEN, team._STRETCH = 0.0, 0.1
"""


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
            "PRTE_MCA_plm_ssh_agent": str(self.folder / "ssh"),
            # else memory of all namespaces is shared
            "UCX_TLS": "tcp,self", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self",
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

    def __init__(self, python: str, folder: Path, *options: str, **more: str) -> None:
        mpiexec_of(python)
        self._mark, self._said = f"NBMLP_SOAK={folder}", folder / "said"
        (folder / "sitecustomize.py").write_text(OFTEN)
        path = os.pathsep.join([str(folder), str(ROOT)])
        env = os.environ | SHARING | {"NBMLP_SOAK": str(folder), "PYTHONPATH": path} | more
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [python, *TRAIN, *options], env=env, stdout=said, stderr=said
            )

    def ranks(self) -> dict[int, int]:
        found = {}
        for path in Path("/proc").iterdir():
            if not path.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                facts = (path / "environ").read_bytes().decode(errors="replace").split("\0")
                rank = [fact.partition("=")[2] for fact in facts if fact.startswith(RANKS)]
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
    import nbmlp

    model = nbmlp.load(path)
    if isinstance(model, nbmlp.MLP):
        return model.get_flat().tolist()
    return [(kept.weight, kept.state.get_flat().tolist()) for kept in model.model_.kept]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What one process makes of these settings; made once."""
    made: dict[str, Any] = {}

    def of(settings: list[str]) -> Any:
        if (key := " ".join(settings)) not in made:
            out = tmp_path_factory.mktemp("alone") / "m"
            subprocess.run([sys.executable, *TRAIN, *settings, "--out", str(out)], check=True)
            made[key] = weights(out)
        return made[key]

    return of


def whole(folder: Path) -> None:
    """No file is half written: all that there is bears its digest.

    What a process was writing when it was killed is left under a name that nobody looks for.
    """
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".tmp-")}
    assert names <= {"c", "m"}
    if "c" in names:
        archive.read(folder / "c", kind=archive.stored_kind(folder / "c"))


@pytest.mark.parametrize(
    ("settings", "moment"),
    [*((NET, k) for k in range(10)), *((ENSEMBLE, k) for k in range(5))],
    ids=[*(f"net-{k}" for k in range(10)), *(f"ensemble-{k}" for k in range(5))],
)
def test_kill_9_and_fewer_go_on_with_the_same_bits(tmp_path, alone, python, settings, moment):
    chance = random.Random(moment)
    own = tmp_path / "own"
    own.mkdir()
    files = "--checkpoint", str(own / "c"), "--out", str(own / "m")
    job = Job(python, tmp_path, *settings, "--processes", "3", "--restarts", "1", *files)
    wait_for_writings(own / "c", chance.randint(0, 9))
    victim = chance.randrange(3)
    os.kill(job.ranks()[victim], signal.SIGKILL)
    code, said = job.end()
    assert code == 0, said
    assert f"process {victim} on localhost was killed (SIGKILL)." in said
    assert "restart 1 of 1, on localhost, localhost." in said
    assert weights(own / "m") == alone(settings)
    whole(own)


def started(network: Network, python: str, settings: list[str], *options: str) -> Job:
    """On all hosts, each with a folder of its own, up to some checkpoints of both writers."""
    own = network.folder / "own"
    job = Job(
        python, network.folder, *settings, "--hosts", network.hosts, "--interface", NAME,
        "--deadline", "6", "--checkpoint", str(own / "c"), "--out", str(own / "m"), *options,
        **network.launcher(),
    )  # fmt: skip
    for writer in ("host1", "host2"):
        wait_for_writings(network.folder / writer / "c", 2)
    return job


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize(("how", "settings"), [
    ("cut", NET), ("stopped", NET), ("killed", NET), ("killed", ENSEMBLE),
], ids=["cut", "stopped", "killed", "ensemble"])  # fmt: skip
def test_a_host_that_is_lost(network, alone, python, how, settings, victim):
    """Process 0's, the second writer's and another one's."""
    job = started(network, python, settings, "--restarts", "1")
    if how == "cut":
        network.cut(victim)
    else:
        number = signal.SIGSTOP if how == "stopped" else signal.SIGKILL
        os.kill(job.ranks()[victim], number)
    code, said = job.end()
    assert code == 0, said
    who = f"process {victim} on {network.addresses[victim]}"
    manners = [" has given no sign of life for 6 seconds"]
    if how == "killed":  # Open MPI's mpiexec may tell of those alone who have missed it
        manners = [" was killed (SIGKILL).", " has ended without a word."]
    assert any(who + manner in said for manner in manners), said
    assert "was not matched" not in said, said  # UCX, of signs of life that nobody has received
    left = [host for k, host in enumerate(network.addresses) if k != victim]
    assert f"restart 1 of 1, on {', '.join(left)}." in said
    leader = network.folder / ("host2" if victim == 0 else "host1")
    assert weights(leader / "m") == alone(settings)
    for folder in network.folder.glob("host*"):
        whole(folder)


def test_the_smaller_side_does_not_go_on(network, python):
    """The launcher reaches one host of three; the others may be going on for somebody else."""
    job = started(network, python, NET, "--restarts", "1")
    network.cut(1)
    network.cut(2)
    code, said = job.end()
    assert code == 1
    assert "no restart without the majority" in said
    assert not (network.folder / "host1" / "m").exists()


def test_without_restarts_a_cut_cable_ends_all_in_one_sentence(network, python):
    job = started(network, python, NET)
    network.cut(2)
    code, said = job.end()
    assert code == 1
    assert said.count("nbmlp: ") == 1
    assert f"process 2 on {network.addresses[2]} has given no sign of life" in said


def test_a_wrong_interface_is_told_before_training(network, python):
    job = Job(
        python, network.folder, *NET, "--hosts", network.hosts, "--interface", "lo",
        **network.launcher(),
    )  # fmt: skip
    code, said = job.end()
    assert code == 1
    assert said.count("nbmlp: ") == 1, said
    told = "could not be started", "did not start", "did not meet"
    assert any(words in said for words in told), said
