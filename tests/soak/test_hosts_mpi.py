"""One training by several processes of MPI: one digest, also after one of them was killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_hosts import TRAININGS, fitted, told

from tests.soak.implementations import SHARING, mpiexec_of, python
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.soak
__all__ = ["python"]  # a fixture

TESTS = Path(__file__).parents[1]
STARTED: list[subprocess.Popen[str]] = []

#: Of each training the weights and the history, on one and on two threads.
DIGESTS = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from mpi4py import MPI
from test_hosts import TRAININGS, fitted, told
comm = MPI.COMM_WORLD
mine = {
    name: [told(fitted(comm, **changes, threads=n)) for n in (1, 2)]
    for name, changes in TRAININGS.items()
}
found = comm.gather(mine)
if comm.rank == 0:
    print(json.dumps(found))
"""

#: A training that leaves a checkpoint after every epoch, and weights at its end.
LONG = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from mpi4py import MPI
from test_hosts import SETTINGS, data
from nbmlp import MLP, Checkpoint
comm, folder = MPI.COMM_WORLD, Path(sys.argv[2])
(folder / f"{comm.rank}.pid").write_text(str(os.getpid()))
at = folder / "checkpoint"
model = MLP(**SETTINGS | {"epochs": 150, "optimizer": "adam", "dropout": 0.2})
resume = at if at.exists() else None
model.fit(*data(), callbacks=[Checkpoint(at, seconds=0.0)], resume=resume, comm=comm)
if comm.rank == 0:
    model.save(folder / "model")
"""


def start(
    tmp_path: Path, script: str, ranks: int, *arguments: str, python: str = sys.executable
) -> subprocess.Popen[str]:
    mpiexec = mpiexec_of(python)
    program = tmp_path / "script.py"
    program.write_text(script)
    folders = json.dumps([str(TESTS), str(TESTS.parent)])
    process = subprocess.Popen(
        [mpiexec, "-n", str(ranks), python, str(program), folders, *arguments],
        env=os.environ | SHARING, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """A job that has not ended when its test has is ended."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.communicate()
    STARTED.clear()


@pytest.fixture(scope="module")
def alone() -> Any:
    return json.loads(json.dumps({name: told(fitted(**c)) for name, c in TRAININGS.items()}))


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_one_digest(tmp_path, alone, ranks, python):
    process = start(tmp_path, DIGESTS, ranks, python=python)
    said, wrong = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, wrong
    for rank in json.loads(said):
        assert rank == {name: [one, one] for name, one in alone.items()}


def wait_for_writings(path: Path, count: int) -> None:
    """Until a file has been written so many times again."""
    until(path.exists)
    for _ in range(count):
        seen = path.stat().st_mtime_ns
        until(lambda seen=seen: path.stat().st_mtime_ns != seen)


def test_a_killed_process_ends_all_and_fewer_go_on_with_the_same_bits(tmp_path):
    from nbmlp import MLP

    chance, ends = random.Random(0), []
    for moment in range(5):
        folder = tmp_path / str(moment)
        folder.mkdir()
        if moment:  # the first one is left alone
            process = start(tmp_path, LONG, 3, str(folder))
            wait_for_writings(folder / "checkpoint", chance.randint(1, 30))
            victim = folder / f"{chance.randrange(3)}.pid"
            os.kill(int(victim.read_text()), signal.SIGKILL)
            process.communicate(timeout=PATIENCE)  # the job ends, whoever it was
            assert process.returncode != 0
            assert not (folder / "model").exists()
        process = start(tmp_path, LONG, 2, str(folder))
        _, wrong = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, wrong
        ends.append(MLP.load(folder / "model").get_flat().tolist())
    assert all(end == ends[0] for end in ends)
