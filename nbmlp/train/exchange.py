"""Training together: what lies between the sum of a gradient and its update.

Each of several engines, in threads, processes or hosts, has rows of its own of every batch, and the
same weights. Before each update all sum their gradients; as every update is then the same, so are
the weights behind it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.kernels import abi
from nbmlp.plan.shards import NO_SHARDS
from nbmlp.workspace import Workspace

__all__ = ["Added", "Exchange"]

Add = Callable[[NDArray[Any], NDArray[np.float64]], None]

_PARAMETERS = len(abi.exchange.family.parameters)
_SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * _PARAMETERS)


class Exchange:
    """A sum over all who train together, as engines call it.

    Every engine calls its own once an update, so all must make as many updates, and in regions as
    long: with the same net, batch and number of rows.

    Attributes
    ----------
    shards : Shards
        Of the data that all have; those of one's own are summed here.
    paced : bool
        Regions may be as long as this process likes, for all agree on it; else as the plan says.
    """

    shards, paced = NO_SHARDS, False

    @property
    def error(self) -> Exception | None:
        """What has gone wrong here, and ended the training of all."""
        return None

    def common(self, rows: int) -> int:
        """How many rows all take in the next region; they end it behind the same batch."""
        return rows

    def all(self, here: bool) -> bool:
        """Whether something is true for all who train together."""
        return here

    def make_whole(self) -> None:
        """Let all have all that any of them keeps of the state; called by all, once at the end."""

    def give_up(self) -> None:
        """Called where a region could not begin, in which others may wait for this engine."""

    def bind(self, work: Workspace) -> None:
        """Let an engine's updates wait for the sums of all."""
        raise NotImplementedError


class Added(Exchange):
    """A sum that a function of Python makes.

    Parameters
    ----------
    add : callable
        ``add(gradient, sums)``: replaces both arrays by their sums over all. gradient (parameters
        with their padding,): of the net's element type. sums (2,) float64: weight of the batch, how
        many cannot go on. It is called from any thread; what it raises ends the training of all
        whose `add` still returns, and is raised by its own engine.
    """

    def __init__(self, add: Add) -> None:
        self._add = add
        self._raised: Exception | None = None
        self._sums = np.zeros(2)
        self._gradient: NDArray[Any] = np.zeros(0)
        self._called = _SIGNATURE(self._call)

    @property
    def error(self) -> Exception | None:
        """What `add` has raised."""
        return self._raised

    def _call(self, *_: int) -> int:
        try:
            self._add(self._gradient, self._sums)
        except Exception as error:
            self._raised = error
            self._sums[1] = 1.0
        return 0

    def bind(self, work: Workspace) -> None:
        """See :class:`Exchange`."""
        self._gradient = work.gradient
        address = ctypes.cast(self._called, ctypes.c_void_p).value
        assert address is not None
        work.job.exchange_by(address, self._sums)
