"""``nbmlp train --hosts``: starts mpiexec, and starts again without the hosts that have died."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nbmlp import tuning
from nbmlp.cli.failures import FAILED, say
from nbmlp.cli.machines import Machines
from nbmlp.cli.mpiexec import Mpiexec, find, transport
from nbmlp.cli.mpijob import End, Job, stop
from nbmlp.cli.together import LAUNCHED
from nbmlp.errors import SpecError
from nbmlp.train.hosts.fence import has_majority

if TYPE_CHECKING:
    from nbmlp.cli.groups import Task

__all__ = ["run"]

#: Seconds for all to start, and then for all to meet; more if the deadline is longer.
_MEETING = 60.0
_LONGEST_CALL = 20.0  # seconds, for a host to say that it is there


def run(
    machines: Machines,
    arguments: Sequence[str],
    understand: Callable[[], Task],
    values: Mapping[str, Any],
) -> int:
    """Train on all hosts, and on those that are left.

    Parameters
    ----------
    machines : Machines
    arguments : sequence of str
        The command line, which all processes get as it is.
    understand : callable
        Settings checked: what is wrong with them is told before anything is started.
    values : mapping
        What options say, by name.

    Returns
    -------
    int
        The exit code of the training.

    Raises
    ------
    SpecError
        A setting does not go with so many processes.
    """
    hosts = machines.names
    ensemble = values.get("preset") is not None
    if machines.restarts and values.get("checkpoint") is None:
        raise SpecError("--restarts needs --checkpoint, the file to go on from.")
    shards = None if ensemble else understand().model.train_spec.shards
    if shards is not None and shards < len(hosts):
        raise SpecError(
            f"--shards {shards} cannot be divided among {len(hosts)} processes: give"
            f" --shards {len(hosts)} or more, a multiple of it where all are equally fast."
        )
    mpiexec, program = find(), [sys.executable, "-m", "nbmlp", *arguments]
    if machines.processes is not None and values.get("threads") is None:
        program += ["--threads", str(max(1, tuning.available_threads() // machines.processes))]
    if machines.dry_run:
        program = [part for part in program if part != "--dry-run"]
        print(shlex.join(mpiexec.command(hosts, machines.interface, program)))
        return 0
    return _persist(mpiexec, machines, program, shards)


def _persist(
    mpiexec: Mpiexec, machines: Machines, program: Sequence[str], shards: int | None
) -> int:
    """Start it until it ends otherwise than by a process that has died, or too often.

    shards: of one net; None for an ensemble, which has none: its processes count alike.
    """
    hosts, most = machines.names, machines.restarts or 0
    for start in range(most + 1):
        told = {LAUNCHED: json.dumps({"hosts": hosts, "start": start})}
        told |= transport(machines.interface)
        command = mpiexec.command(hosts, machines.interface, program, told)
        end = Job(command, told, hosts, max(_MEETING, machines.deadline or 0.0)).run()
        if not end.reason:
            return end.code
        say(end.reason)
        if start == most:
            break
        left = _left(mpiexec, machines, hosts, end, shards or len(hosts))
        if not left:
            return end.code
        hosts = left
        say(f"restart {start + 1} of {most}, on {', '.join(hosts)}.")
    return FAILED


def _left(
    mpiexec: Mpiexec, machines: Machines, hosts: Sequence[str], end: End, shards: int
) -> tuple[str, ...]:
    """The hosts to go on with; none where others may be going on without us."""
    if machines.hosts is None:  # places on this machine
        away: set[int] = set()
    else:
        with ThreadPoolExecutor(len(hosts)) as pool:
            there = pool.map(lambda host: _answers(mpiexec, machines, host), hosts)
            away = {k for k, answers in enumerate(there) if not answers}
    # a process that has died where its host answers is no side that could go on, too
    if not has_majority(len(hosts), away, shards):
        say(
            f"{', '.join(hosts[k] for k in sorted(away))} cannot be reached and may be going on:"
            " no restart without the majority; look there, then start with --resume."
        )
        return ()
    return tuple(host for k, host in enumerate(hosts) if k not in end.gone | away)


def _answers(mpiexec: Mpiexec, machines: Machines, host: str) -> bool:
    """Whether mpiexec can start something there."""
    command = mpiexec.command([host], machines.interface, [sys.executable, "-c", ""])
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env=os.environ,
    )  # fmt: skip
    try:
        return process.wait(_LONGEST_CALL) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        stop(process)
