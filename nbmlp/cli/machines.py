"""Which machines one training is divided among, as options name them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nbmlp.checks import number, whole
from nbmlp.errors import SpecError

__all__ = ["Machines"]

#: What mpiexec and ssh can only take for a name: no option, no user, no port, no shell.
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


@dataclass(frozen=True)
class Machines:
    """Several processes that train one net together.

    Attributes
    ----------
    hosts : names
        Start a process on each of these hosts, e.g. ``a,b,c``, which train together: by mpiexec,
        which reaches them by ssh. Names or addresses alone.
    processes : int
        Start so many on this machine instead.
    interface : name
        Network interface that all hosts talk over, e.g. ``eth1``.
    restarts : int
        How often to go on from the checkpoint without the hosts that have died. Default: 0.
    deadline : float
        Seconds after which a process that gives no sign of life ends all, 0 for none; by default
        60, or what NBMLP_DEADLINE says.
    dry_run : bool
        Print how mpiexec would be started, and start nothing.
    """

    hosts: tuple[str, ...] | None = None
    processes: int | None = None
    interface: str | None = None
    restarts: int | None = None
    deadline: float | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.hosts is not None and self.processes is not None:
            raise SpecError("--hosts and --processes: give one of them.")
        if self.hosts is not None:
            _check_hosts(self.names)
        if self.processes is not None:
            whole("processes", self.processes, low=1)
        if self.restarts is not None:
            whole("restarts", self.restarts, low=0)
        if self.deadline is not None:
            number("deadline", self.deadline)
        self._check_alone()

    def _check_alone(self) -> None:
        """What has no meaning where nothing is started."""
        given = {
            "--interface": self.interface, "--restarts": self.restarts,
            "--dry-run": self.dry_run or None,
        }  # fmt: skip
        for option, value in given.items():
            if value is not None and not self.several:
                raise SpecError(f"{option} goes with --hosts or --processes.")
        if self.interface is not None:
            if self.hosts is None:
                raise SpecError("--interface goes with --hosts.")
            if not _INTERFACE.fullmatch(str(self.interface)):
                raise SpecError(
                    f"--interface {self.interface!r} is no name of an interface: give one that"
                    " `ip link` shows, e.g. eth1."
                )

    @property
    def several(self) -> bool:
        """Whether processes are to be started."""
        return self.hosts is not None or self.processes is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The host of each process."""
        if self.hosts is None:
            return ("localhost",) * (self.processes or 0)
        given = self.hosts.split(",") if isinstance(self.hosts, str) else self.hosts
        return tuple(str(name).strip() for name in given)


def _check_hosts(names: tuple[str, ...]) -> None:
    for name in names or ("",):
        if not _HOST.fullmatch(name):
            raise SpecError(
                f"--hosts: {name!r} is no name of a host: write names or addresses alone, as"
                " a,b,c; users and ports belong into ~/.ssh/config."
            )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SpecError(f"--hosts names {min(twice)} twice: one process runs on each host.")
