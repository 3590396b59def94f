"""How mpiexec is found, and told on which hosts to start what."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from nbmlp.errors import SpecError

__all__ = ["Mpiexec", "find", "transport"]

#: What the other processes have to know, where the launcher does not hand on everything.
_HANDED_ON = ("NBMLP_", "NUMBA_", "PYTHONPATH", "OMP_", "MPIR_", "UCX_")
_LONGEST_ANSWER = 20.0  # seconds


class Mpiexec(NamedTuple):
    """A launcher of MPI.

    Attributes
    ----------
    path : str
    open_mpi : bool
        Open MPI's; else MPICH's or one of its family (Intel's, MVAPICH's).
    """

    path: str
    open_mpi: bool

    def command(
        self,
        hosts: Sequence[str],
        interface: str | None,
        program: Sequence[str],
        told: Iterable[str] = (),
    ) -> list[str]:
        """What starts a process on each of `hosts`; a host may be there several times.

        told: names of the environment's variables that all have to see.
        """
        place = self._open_mpi if self.open_mpi else self._mpich
        return [self.path, "-n", str(len(hosts)), *place(hosts, interface, told), *_one(program)]

    def _mpich(self, hosts: Sequence[str], interface: str | None, told: Iterable[str]) -> list[str]:
        """All of the environment is handed on."""
        bound = [] if interface is None else ["-iface", interface]
        same = len(set(hosts)) == 1
        return ["-hosts", hosts[0] if same else ",".join(hosts), *([] if same else _EACH), *bound]

    def _open_mpi(
        self, hosts: Sequence[str], interface: str | None, told: Iterable[str]
    ) -> list[str]:
        slots = ",".join(f"{host}:{hosts.count(host)}" for host in dict.fromkeys(hosts))
        bound = [] if interface is None else [
            "--mca", "btl_tcp_if_include", interface, "--prtemca", "prte_if_include", interface,
        ]  # fmt: skip
        names = {*told, *(name for name in os.environ if name.startswith(_HANDED_ON))}
        handed = [part for name in sorted(names) for part in ("-x", name)]
        # else every process is bound to a core, with all its threads
        return ["--host", slots, "--bind-to", "none", *bound, *handed]


_EACH = ["-ppn", "1"]


def transport(interface: str | None) -> dict[str, str]:
    """What MPICH's transports are told of an interface; mpiexec tells them nothing of it."""
    names = () if interface is None else ("UCX_NET_DEVICES", "FI_TCP_IFACE")
    return {name: str(interface) for name in names if name not in os.environ}


def _one(program: Sequence[str]) -> list[str]:
    """The program's arguments; a colon alone would begin another program for mpiexec."""
    found: list[str] = []
    for argument in program:
        if argument == ":" and found:
            found[-1] += "=:"
        else:
            found.append(argument)
    return found


def find() -> Mpiexec:
    """The launcher beside this Python, else the one on PATH.

    Raises
    ------
    SpecError
        There is none, or it does not say what it is.
    """
    path = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if path is None:
        raise SpecError(
            "--hosts and --processes need mpiexec, which is neither beside this Python nor on"
            ' PATH: pip install "nbmlp[mpi]", or load the MPI of this cluster.'
        )
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_LONGEST_ANSWER,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpecError(f"{path} --version failed: {error}.") from None
    text = said.stdout + said.stderr
    if "Open MPI" in text or "PRRTE" in text or "prte" in text:
        return Mpiexec(path, True)
    if "HYDRA" in text or "Intel(R) MPI" in text:
        return Mpiexec(path, False)
    raise SpecError(
        f"{path} is neither MPICH's nor Open MPI's: start the processes by what belongs to it,"
        " as docs/many-machines.md shows."
    )
