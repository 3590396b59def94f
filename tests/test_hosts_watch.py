"""Signs of life between processes: who gives none for too long ends the training of all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_hosts import Comm, World, fitted, together

from nbmlp.train.hosts import Hosts, watch
from nbmlp.train.hosts.watch import MPISigns, Watch
from tests.waiting import PATIENCE, until

NAMES = ("a", "b", "c")
SECONDS = 3.0


class Wire:
    """Signs between watches in one thread; a process that is stopped or cut off is not in it."""

    def __init__(self, size: int = 3) -> None:
        self.inboxes: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        self.cut: set[int] = set()
        self.said: dict[int, tuple[str, list[int]]] = {}

    def watch(self, rank: int) -> Watch:
        size = len(self.inboxes)
        return Watch(rank, NAMES[:size], SECONDS, Signs(self, rank), self._lost(rank))

    def _lost(self, rank: int) -> Any:
        return lambda sentence, silent: self.said.setdefault(rank, (sentence, silent))


class Signs:
    def __init__(self, wire: Wire, rank: int) -> None:
        self.wire, self.rank, self.closed = wire, rank, False

    def send(self, sign: int) -> bool:
        wire = self.wire
        for rank, inbox in enumerate(wire.inboxes):
            if rank != self.rank and (rank in wire.cut) == (self.rank in wire.cut):
                inbox.append((self.rank, sign))
        return True

    def heard(self) -> list[tuple[int, int]]:
        found = self.wire.inboxes[self.rank][:]
        self.wire.inboxes[self.rank].clear()
        return found

    def close(self) -> None:
        self.closed = True


def turns(watches: list[Watch], seconds: float) -> None:
    for _ in range(round(seconds / 0.5)):
        for each in watches:
            each.turn(0.5)


def test_nobody_is_lost_who_gives_signs():
    wire = Wire()
    turns([wire.watch(k) for k in range(3)], 5 * SECONDS)
    assert not wire.said


def test_who_is_stopped_is_named_by_one_of_those_who_hear_each_other():
    wire = Wire()
    watches = [wire.watch(k) for k in range(3)]
    turns(watches, 1.0)
    turns([watches[0], watches[2]], SECONDS + 0.5)
    assert list(wire.said) == [0]
    assert wire.said[0] == (
        "process 1 on b has given no sign of life for 3 seconds: stopped, or cut off from the"
        " network; the training of all has ended.",
        [1],
    )


def test_if_the_first_is_stopped_the_next_one_tells_it():
    wire = Wire()
    watches = [wire.watch(k) for k in range(3)]
    turns(watches[1:], SECONDS)
    assert list(wire.said) == [1]
    assert wire.said[1][1] == [0]


def test_both_sides_of_a_cut_end_and_know_whom_they_hear():
    wire = Wire()
    watches = [wire.watch(k) for k in range(3)]
    wire.cut = {2}
    turns(watches, SECONDS / 2)
    assert [each.heard().tolist() for each in watches] == [
        [True, True, False], [True, True, False], [False, False, True],
    ]  # fmt: skip
    turns(watches, SECONDS / 2)
    assert {rank: silent for rank, (_, silent) in wire.said.items()} == {0: [2], 2: [0, 1]}
    assert "process 0 on a and process 1 on b have given" in wire.said[2][0]


def test_who_does_not_tell_it_ends_all_the_same_a_little_later():
    wire = Wire()
    watches = [wire.watch(k) for k in range(3)]
    turns(watches, 1.0)
    turns(watches[1:], SECONDS + 0.5)  # 1 tells that 0 is silent
    turns(watches[2:], SECONDS)  # and has ended
    assert wire.said[2][1] == [0]


def test_processes_that_are_done_wait_for_the_others_and_miss_nobody_who_was():
    wire = Wire(2)
    watches = [wire.watch(k) for k in range(2)]
    ends = [threading.Thread(target=each.close) for each in watches]
    for each in watches:
        each.start()
    ends[0].start()
    assert not watches[0].turn(0.0)
    ends[1].start()
    for end in ends:
        end.join(PATIENCE)
    assert not wire.said


def test_an_error_of_mpi_ends_the_process():
    said = []
    signs: Any = Signs(Wire(2), 0)
    signs.heard = lambda: 1 / 0
    failing = Watch(0, NAMES[:2], SECONDS, signs, lambda *what: said.append(what))
    failing.start()
    failing.close()
    assert said == [("MPI has failed (division by zero); the training of all has ended.", [])]


def test_where_threads_may_not_call_mpi_nobody_watches():
    with watch.watching(Comm(World(2), 0)) as found:
        assert found is None
    assert watch.heard_of() is None


@pytest.mark.parametrize("what", ["instruction set", "version of numba"])
def test_other_machines_are_refused_before_training(monkeypatch, what):
    def facts(rank: int) -> dict[str, str]:
        return {what: f"{what} {rank}"}

    def fit(comm: Comm) -> Any:
        monkeypatch.setattr(Hosts, "agree", lambda hosts, value=None, error=None: (
            [facts(0), facts(1)]
            if isinstance(value, dict) and what in value else agree(hosts, value, error)
        ))  # fmt: skip
        return fitted(comm)

    agree = Hosts.agree
    for error in together(2, fit):
        assert str(error) == f"process 1 has another {what} than process 0: {what} 1, not {what} 0."


# ---------------------------------------------------------------------------------------- with MPI

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent))

#: A training that has no end, of a script of one's own.
SCRIPT = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from mpi4py import MPI
from test_hosts import SETTINGS, data
from nbmlp import MLP
comm, folder = MPI.COMM_WORLD, Path(sys.argv[2])

def tell(run, record):
    (folder / "epoch").write_text(str(record.epoch))

(folder / f"{comm.rank}.pid").write_text(str(os.getpid()))
MLP(**SETTINGS | {"epochs": 10**6}).fit(*data(), callbacks=[tell], comm=comm)
"""


def test_a_process_that_was_stopped_ends_all_and_is_named(tmp_path):
    pytest.importorskip("mpi4py", reason="MPI is not installed: pip install nbmlp[mpi]")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec beside this Python: pip install mpich")
    program = tmp_path / "script.py"
    program.write_text(SCRIPT)
    folders = json.dumps([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    job = subprocess.Popen(
        [MPIEXEC, "-n", "2", sys.executable, str(program), folders, str(tmp_path)],
        env=os.environ | {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "NBMLP_DEADLINE": "3"},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        until((tmp_path / "epoch").exists)
        stopped = int((tmp_path / "1.pid").read_text())
        os.kill(stopped, signal.SIGSTOP)
        _, said = job.communicate(timeout=PATIENCE)
    finally:
        job.kill()
    assert job.returncode != 0
    sentences = [line for line in said.splitlines() if line.startswith("nbmlp: ")]
    assert len(sentences) == 1
    assert sentences[0].startswith("nbmlp: process 1 on ")
    assert "has given no sign of life for 3 seconds" in sentences[0]
    for name in ("0.pid", "1.pid"):
        until(lambda name=name: not Path(f"/proc/{(tmp_path / name).read_text()}").exists())


def test_who_waits_for_a_process_that_never_comes_is_ended():
    """MPI cannot start before all have; the second of these is another program."""
    pytest.importorskip("mpi4py", reason="MPI is not installed: pip install nbmlp[mpi]")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec beside this Python: pip install mpich")
    train = [sys.executable, "-m", "nbmlp", "train", "--data", "digits", "--deadline", "1"]
    sleep = [sys.executable, "-c", "import time; time.sleep(10**6)"]
    done = subprocess.run(
        [MPIEXEC, "-n", "1", *train, ":", "-n", "1", *sleep], capture_output=True, text=True,
        env=os.environ | {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"}, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("nbmlp: ") == 1
    assert "not all of 2 processes have met within 1 seconds: see whether" in done.stderr


class Sent:
    """A communicator of three, of which what is sent is noted."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        self.slow = True  # the way to process 2

    def Dup(self) -> Sent:
        return self

    def Get_rank(self) -> int:
        return 1

    def Get_size(self) -> int:
        return 3

    def Isend(self, data: Any, dest: int, tag: int) -> Any:
        self.sent.append((dest, tag))
        return SimpleNamespace(Test=lambda: dest == 0 or not self.slow)


def test_nothing_follows_the_last_sign():
    """Who has heard it leaves; what is sent to it later, nobody would receive."""
    comm = Sent()
    signs = MPISigns(comm)
    assert signs.send(1)
    assert [signs.send(2) for _ in range(2)] == [False] * 2
    comm.slow = False
    assert [signs.send(2) for _ in range(2)] == [True] * 2
    assert comm.sent == [(0, 1), (2, 1), (0, 2), (2, 2)]


def test_signs_go_by_a_communicator_of_their_own():
    """What mpi4py is asked for, by its names."""
    MPI = pytest.importorskip("mpi4py.MPI", reason="MPI is not installed: pip install nbmlp[mpi]")
    signs = MPISigns(MPI.COMM_SELF)
    assert signs.send(1)
    assert signs.heard() == []
    signs.close()
