"""The parent's end of the pipe: a peer in a process of its own.

Between commands the child blocks in a read, so that its thread pools sleep while another peer is
timed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.nets import Layer, Net
from bench.peers import Variant

__all__ = ["PeerError", "Turn", "Worker"]

ROOT = Path(__file__).resolve().parent.parent
#: A pool may go on spinning after its last region: measured 10 ms of libgomp, 6 of OpenBLAS as
#: set in bench.peers, none of XLA.
SETTLE = 0.03


class PeerError(Exception):
    """A peer is missing, refused, or died; the message is the reason in the table."""


class Turn(NamedTuple):
    """One timed turn of one peer.

    Attributes
    ----------
    rate : float
        Samples per second.
    cores : float
        Processor seconds per second while it was timed.
    cpu : float
        Processor seconds of the whole turn, the untimed epoch included.
    """

    rate: float
    cores: float
    cpu: float


class Worker:
    """The parent's end.

    Parameters
    ----------
    name : str
        Peer.
    variant : Variant
        Its environment is set before the child imports anything.
    root : Path, optional
        The checkout that the child runs; by default this one.

    Raises
    ------
    PeerError
        The peer cannot be imported, or its process died.
    """

    def __init__(self, name: str, variant: Variant, root: Path = ROOT) -> None:
        self.name, self.variant = name, variant
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.child", name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root,
            env={**os.environ, **variant.env},
        )  # fmt: skip
        try:
            self.version: str = self._answer()
        except PeerError:
            self.close()
            raise

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        try:
            ok, value = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = self.process.wait()
            raise PeerError(f"{self.name} ({self.variant}) died, exit code {code}") from None
        if not ok:
            raise PeerError(value)
        return value

    def _ask(self, command: str, *args: Any) -> Any:
        assert self.process.stdin is not None
        try:
            pickle.dump((command, args), self.process.stdin)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says how it died
        return self._answer()

    def prepare(self, net: Net, batch: int, shuffle: bool = True) -> None:
        """Make the peer ready to train from the common first weights."""
        self._ask("prepare", net, batch, self.variant.threads, shuffle)

    def run(self, seconds: float) -> Turn:
        """Train whole epochs for about `seconds`, at least one."""
        turn: Turn = self._ask("run", seconds)
        time.sleep(SETTLE)
        return turn

    def check(self, net: Net, batch: int) -> tuple[list[Layer], str | None]:
        """Weights after one epoch in the order of the rows, and why they may differ."""
        layers, why = self._ask("check", net, batch, self.variant.threads)
        return layers, why

    def release(self) -> None:
        """Let the peer drop net and data."""
        self._ask("release")

    def close(self) -> None:
        """End the process: it stops when its standard input does."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()
