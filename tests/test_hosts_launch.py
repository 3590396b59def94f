"""What `nbmlp train --hosts` starts, what it understands of the end, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nbmlp.cli import launcher, run
from nbmlp.cli.machines import Machines
from nbmlp.cli.mpiexec import Mpiexec, find
from nbmlp.cli.mpijob import Job
from nbmlp.cli.reports import Reader, report
from nbmlp.errors import SpecError
from nbmlp.train.hosts.fence import has_majority
from tests.waiting import PATIENCE

MPICH, OPEN_MPI = Mpiexec("/m", False), Mpiexec("/m", True)


# ---------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("hosts", [
    "-x", "a,-oProxyCommand=x", "me@a", "a;b", "a b", "a,", "a:22", "$(id)", "a\nb", "a/b", "", "ä",
    "a-", ".a",
])  # fmt: skip
def test_hosts_are_names_alone(hosts):
    with pytest.raises(SpecError, match="is no name of a host: write names or addresses alone"):
        Machines(hosts=hosts)


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"hosts": "a,a"}, "--hosts names a twice"),
    ({"hosts": "a", "processes": 2}, "give one of them"),
    ({"processes": 0}, "processes=0 must be a whole number"),
    ({"processes": 2, "interface": "eth0"}, "--interface goes with --hosts"),
    ({"hosts": "a", "interface": "-x"}, "is no name of an interface"),
    ({"hosts": "a", "interface": "eth0 -x"}, "is no name of an interface"),
    ({"hosts": "a", "restarts": -1}, "restarts=-1"),
    ({"hosts": "a", "deadline": -1}, "deadline=-1"),
    ({"restarts": 1}, "--restarts goes with --hosts or --processes"),
    ({"dry_run": True}, "--dry-run goes with"),
])  # fmt: skip
def test_what_is_refused(settings, sentence):
    with pytest.raises(SpecError) as refused:
        Machines(**settings)
    assert sentence in str(refused.value)


def test_names_may_be_read_from_a_file_or_the_command_line():
    assert Machines(hosts="a, b.c-d.org,10.0.0.1").names == ("a", "b.c-d.org", "10.0.0.1")
    assert Machines(hosts=("a", "b")).names == ("a", "b")
    assert Machines(processes=2).names == ("localhost", "localhost")
    assert not Machines(deadline=5).several


def test_a_command_that_cannot_be_is_refused_before_anything_starts(capsys, monkeypatch):
    monkeypatch.setattr(launcher, "find", lambda: pytest.fail("started"))
    digits = ["train", "--data", "digits", "--hosts", "a,b"]
    for options, sentence in (
        (["--shards", "4", "--restarts", "1"], "--restarts needs --checkpoint"),
        ([], "--shards 1 cannot be divided among 2 processes: give --shards 2"),
        (["--shards", "4", "--optimizer", "adan"], "did you mean 'adam'?"),
    ):
        assert run([*digits, *options]) == 2
        assert sentence in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- command


def test_commands_of_both_kinds():
    program = ["python", "-m", "nbmlp", "--separator", ":"]
    assert MPICH.command(["a", "b"], "eth1", program) == [
        "/m", "-n", "2", "-hosts", "a,b", "-ppn", "1", "-iface", "eth1",
        "python", "-m", "nbmlp", "--separator=:",  # else it would begin another program
    ]  # fmt: skip
    assert MPICH.command(["localhost"] * 3, None, ["p"]) == [
        "/m", "-n", "3", "-hosts", "localhost", "p",
    ]  # fmt: skip
    os_environ = {"NBMLP_DATA": "x"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", os_environ)
        assert OPEN_MPI.command(["a", "b"], "eth1", ["p"], ["NBMLP_LAUNCHED"]) == [
            "/m", "-n", "2", "--host", "a:1,b:1", "--bind-to", "none",
            "--mca", "btl_tcp_if_include", "eth1", "--prtemca", "prte_if_include", "eth1",
            "-x", "NBMLP_DATA", "-x", "NBMLP_LAUNCHED", "p",
        ]  # fmt: skip


@pytest.mark.parametrize(("said", "open_mpi"), [
    ("HYDRA build details:", False), ("Intel(R) MPI Library for Linux", False),
    ("mpiexec (Open MPI) 5.0.11", True), ("something else", None),
])  # fmt: skip
def test_whose_mpiexec_it_is_says_its_version(tmp_path, monkeypatch, said, open_mpi):
    path = tmp_path / "mpiexec"
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    if open_mpi is None:
        with pytest.raises(SpecError, match="neither MPICH's nor Open MPI's"):
            find()
    else:
        assert find() == (str(path), open_mpi)


def test_no_mpiexec_at_all_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SpecError, match="neither beside this Python nor on"):
        find()


# ----------------------------------------------------------------------------------------- reports


def test_records_are_told_apart_from_text_wherever_pieces_are_cut(monkeypatch):
    written = b""

    def write(_: int, text: bytes) -> None:
        nonlocal written
        written += text

    monkeypatch.setattr("nbmlp.cli.reports.os.write", write)
    report(1, "met")
    assert written.endswith(b"\n")  # else Open MPI's mpiexec would keep it
    stream = b"half a li" + written + b"ne\nrest\x1eno record\n."
    for size in (1, 7, len(stream)):
        reader, text, records = Reader(), b"", []
        for k in range(0, len(stream), size):
            more, found = reader.take(stream[k : k + size])
            text, records = text + more, records + found
        assert records == [{"rank": 1, "what": "met"}]
        assert text == b"half a line\nrest\x1eno record\n."


# ----------------------------------------------------------------------------------------- its end

#: Stands for mpiexec: says what its processes would have reported, and ends as told.
FAKE = """
import json, os, sys, time
for record in json.loads(sys.argv[1]):
    os.write(2, b"\\x1e" + json.dumps(record).encode() + b"\\n")
sys.stdout.write(sys.argv[2])
sys.stdout.flush()
sys.stderr.write(sys.argv[3])
sys.stderr.flush()
time.sleep(float(sys.argv[4]))
sys.exit(int(sys.argv[5]))
"""
STARTED = [{"rank": k, "what": "started", "pid": 70 + k, "host": f"h{k}"} for k in (0, 1)]
MET = [{"rank": k, "what": "met"} for k in (0, 1)]
FOREVER = 1000.0


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbmlp.cli.mpijob._GRACE", 0.2)


def ended(
    records: Any, out: str = "", err: str = "", sleep: float = 0.0, code: int = 0,
    hosts: tuple[str, ...] = ("a", "b"),
) -> Any:  # fmt: skip
    command = [sys.executable, "-c", FAKE, json.dumps(records), out, err, str(sleep), str(code)]
    return Job(command, {}, hosts, 1.0).run()


def test_a_training_that_is_done(capsys):
    done = [{"rank": k, "what": "ended", "code": 0} for k in (0, 1)]
    assert ended([*STARTED, *MET, *done], out="result\n") == (0, "", frozenset())
    assert capsys.readouterr().out == "result\n"


def test_an_error_is_told_once_and_ends(capsys):
    told = [{"rank": k, "what": "ended", "code": 2} for k in (0, 1)]
    sentence = "nbmlp: epochs is wrong.\n"
    end = ended([*STARTED, *MET, *told], err=sentence * 2, code=2)
    assert (end.code, end.reason) == (2, "")
    assert capsys.readouterr().err == sentence


BANNER = "\n" + "=" * 83 + "\n=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n"


@pytest.mark.parametrize(("out", "err"), [
    (f"{BANNER}=   PID 71 RUNNING AT b\n=   EXIT CODE: 9\n{'=' * 83}\n", ""),
    ("", f"{'-' * 74}\nprterun noticed that process rank 1 with PID 0 on node b exited on signal 9"
         f" (Killed).\n{'-' * 74}\n"),
], ids=["MPICH", "Open MPI"])  # fmt: skip
def test_a_process_that_was_killed_is_named_and_mpiexec_says_nothing_of_it(out, err, capsys):
    end = ended([*STARTED, *MET], out="result\n" + out, err=err, code=9)
    assert end == (1, "process 1 on b was killed (SIGKILL).", frozenset({1}))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("result\n", "")


def test_a_process_of_which_mpiexec_says_nothing_is_the_one_that_says_nothing():
    """The others have met an error of MPI, and ended by themselves."""
    lost = [{"rank": 0, "what": "lost", "text": "MPI has failed", "silent": []}]
    end = ended([*STARTED, *MET, *lost], code=9)
    assert end == (1, "process 1 on b was killed (SIGKILL).", frozenset({1}))


def test_the_first_to_be_gone_has_died_whomever_mpiexec_names():
    """It has ended the others itself by then."""
    gone = [{"rank": k, "what": "gone"} for k in (1, 0)]
    end = ended([*STARTED, *MET, *gone], out=f"{BANNER}=   PID 70 RUNNING AT a\n", code=9)
    assert end == (1, "process 1 on b was killed (SIGKILL).", frozenset({1}))


def test_a_signal_may_be_known_by_the_exit_code_alone():
    """Open MPI's launcher does not always say more."""
    end = ended([*STARTED, *MET, {"rank": 1, "what": "gone"}], code=137)
    assert end == (1, "process 1 on b was killed (SIGKILL).", frozenset({1}))


#: What Open MPI's say, the first in the middle of the second's end.
PEERS = """{0}
An MPI communication peer process has unexpectedly disconnected.
  Local host: {1}
  Local PID:  7
  Peer host:  {2}
{0}
[h2:00000] *** An error occurred in Socket closed
[h2:00000] *** reported by process [1711603713,{3}]
"""


def test_who_was_missed_has_died_and_not_who_has_ended_for_that(capsys):
    """Open MPI ends a process that another one has left, and others may be told of first."""
    three = {"rank": 2, "what": "started", "pid": 72, "host": "h2"}, {"rank": 2, "what": "met"}
    gone = [{"rank": k, "what": "gone"} for k in (2, 1, 0)]
    said = PEERS.format("-" * 74, "h1", "h2", 1) + PEERS.format("-" * 74, "h2", "h0", 2)
    end = ended([*STARTED, *MET, *three, *gone], err=said, code=14, hosts=("a", "b", "c"))
    assert end == (1, "process 0 on a has ended without a word.", frozenset({0}))
    assert capsys.readouterr().err == ""


def test_who_did_not_answer_is_gone_and_mpiexec_is_ended(hasty):
    """By those who miss fewest: the one that is cut off misses all others."""
    lost = [{"rank": 0, "what": "lost", "text": "process 1", "silent": [1]}]
    cut_off = [{"rank": 1, "what": "lost", "text": "process 0 and 2", "silent": [0, 2]}]
    end = ended([*STARTED, *MET, *cut_off, *lost], sleep=FOREVER)
    assert end == (1, "process 1", frozenset({1}))


def test_who_does_not_start_and_who_do_not_meet_are_named(hasty, capsys):
    end = ended(STARTED[:1], sleep=FOREVER)
    assert end.reason.startswith("process 1 on b did not start within 1 seconds: see whether ssh")
    assert end.gone == {1}
    end = ended(STARTED[:1], err="[mpiexec@a] unable to connect\n", code=255)
    assert end.reason.startswith("process 1 on b could not be started, as mpiexec says above")
    assert capsys.readouterr().err == "[mpiexec@a] unable to connect\n"
    end = ended([*STARTED, *MET[:1]], sleep=FOREVER)
    assert end.reason.startswith("process 1 on b did not meet the others within 1 seconds: name")


# ---------------------------------------------------------------------------------- who is left


def test_the_majority_of_the_shards_or_half_with_the_first():
    assert has_majority(3, {1}, 6)
    assert not has_majority(3, {1, 2}, 6)
    assert has_majority(2, {1}, 8)
    assert not has_majority(2, {0}, 8)
    assert has_majority(2, {0}, 3)  # the second has two of three
    assert not has_majority(2, {1}, 3)


class Ends:
    """Jobs that end as told, one after the other."""

    def __init__(self, *ends: Any) -> None:
        self.ends, self.started = list(ends), []

    def __call__(self, command: Any, told: Any, hosts: Any, seconds: float) -> Any:
        self.started.append((tuple(hosts), json.loads(told["NBMLP_LAUNCHED"])["start"]))
        return self

    def run(self) -> Any:
        return self.ends.pop(0)


@pytest.mark.parametrize(("away", "starts"), [
    (set(), [(("a", "b", "c"), 0), (("a", "c"), 1), (("c",), 2)]),  # b, a have died
    ({"c"}, [(("a", "b", "c"), 0), (("a",), 1)]),  # half, with the first: on, then nobody is left
    ({"a", "c"}, [(("a", "b", "c"), 0)]),
], ids=["all answer", "one is away", "most are away"])  # fmt: skip
@pytest.mark.parametrize("shards", [6, None], ids=["net", "ensemble"])
def test_restarts_go_on_with_those_who_are_left(monkeypatch, away, starts, shards):
    from nbmlp.cli.mpijob import End

    jobs = Ends(End(1, "b", frozenset({1})), End(1, "a", frozenset({0})), End(0))
    monkeypatch.setattr(launcher, "Job", jobs)
    monkeypatch.setattr(launcher, "_answers", lambda m, n, host: host not in away)
    machines = Machines(hosts="a,b,c", restarts=3)
    code = launcher._persist(MPICH, machines, ["p"], shards)
    assert jobs.started == starts
    assert code == (0 if not away else 1)


# ---------------------------------------------------------------------------------------- with MPI

needs_mpi = pytest.mark.skipif(
    shutil.which("mpiexec", path=str(Path(sys.executable).parent)) is None,
    reason="there is no mpiexec beside this Python: pip install nbmlp[mpi]",
)


@needs_mpi
def test_two_processes_of_this_machine_train_as_one(tmp_path):
    from nbmlp import MLP

    command = [
        sys.executable, "-m", "nbmlp", "train", "--data", "digits", "--hidden", "5",
        "--epochs", "2", "--shards", "2", "--json", "--threads", "1",
    ]  # fmt: skip
    ends = []
    for name, more in (("two", ["--processes", "2"]), ("one", [])):
        out = tmp_path / name
        done = subprocess.run(
            [*command, *more, "--out", str(out)], capture_output=True, text=True, check=False,
            timeout=PATIENCE, env=os.environ | {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
        ends.append(MLP.load(out).get_flat().tolist())
    assert ends[0] == ends[1]
