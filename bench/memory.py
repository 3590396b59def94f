"""Peak memory of training, in a process of its own: what it grows by, and what that consists of."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

from bench.nets import Net, Problem, make_problem

__all__ = ["Peak", "peak"]

_MB = 1e6


@dataclass(frozen=True)
class Peak:
    """Megabytes of training one epoch, the data not counted.

    Attributes
    ----------
    grown : float
        Greatest resident memory while training, less the resident memory before.
    parameters : float
        Parameters, the optimizer's slots, and the last good copy of both.
    workspace : float
        Activations, deltas, gradient, transposed weights.
    """

    grown: float
    parameters: float
    workspace: float


def _status(field: str) -> float:
    """A line of /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1]) * 1024 / _MB
    raise OSError(f"/proc/self/status has no line {field}.")


def _train(problem: Problem, batch: int, threads: int, optimizer: str) -> tuple[float, float]:
    """Bytes of parameters and slots (with their snapshot) and of the workspace."""
    from bench.peers.nbmlp_net import make_model, targets

    model = make_model(problem, batch, threads, optimizer=optimizer)
    model.partial_fit(problem.X, targets(problem))
    engine = model._engine
    assert engine is not None
    state = engine.state
    return 2 * (state.theta.nbytes + state.slots.nbytes), engine.work.nbytes


def _give_back() -> None:
    """Freed memory that the allocator keeps would hide what is taken from it later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def _measure(net: Net, batch: int, threads: int, optimizer: str) -> Peak:
    problem = make_problem(net)
    _train(problem, batch, threads, optimizer)  # compiled and loaded: not the question
    gc.collect()
    _give_back()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    parameters, workspace = _train(problem, batch, threads, optimizer)
    return Peak(_status("VmHWM") - before, parameters / _MB, workspace / _MB)


def peak(net: Net, batch: int, threads: int, optimizer: str = "sgd") -> Peak:
    """Train `net` in a fresh process.

    Raises
    ------
    OSError
        The system does not tell a process's peak (Linux does, from 4.0 on).
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (net, batch, threads, optimizer))
