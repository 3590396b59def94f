"""The competitors, one file each, behind one small protocol.

A peer's module defines a subclass of :class:`Peer` named ``Competitor``; it is imported only in
the child process that runs it, with the environment of its variant already set.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from bench.nets import Layer, Net, Problem

__all__ = ["OURS", "PEERS", "Entry", "Peer", "Variant", "load_peer"]


@dataclass(frozen=True)
class Variant:
    """One configuration of a peer: it runs in a process of its own.

    Attributes
    ----------
    threads : int
        Threads that the peer may use.
    env : dict of str
        Environment variables set before anything is imported.
    note : str
        What to call it beside the number of threads.
    """

    threads: int
    env: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        return f"{self.note} x{self.threads}".strip()


class Peer(ABC):
    """What every competitor does: the same epochs from the same weights."""

    #: Package whose version is reported.
    package: ClassVar[str]

    @abstractmethod
    def prepare(self, problem: Problem, batch: int, threads: int, shuffle: bool) -> None:
        """Build the net with the problem's first weights.

        Parameters
        ----------
        problem : Problem
        batch : int
            Rows of one update; the left-over smaller batch is trained on too.
        threads : int
        shuffle : bool
            Draw a new order each epoch; False keeps the order of the rows.
        """

    @abstractmethod
    def epoch(self) -> None:
        """Train one epoch, blocking."""

    @abstractmethod
    def layers(self) -> list[Layer]:
        """The weights now, [in, out], and biases of each layer."""

    def why_unlike(self, net: Net) -> str | None:
        """Why this peer's weights cannot equal NumPy's (same work, other formula); None = equal."""
        return None


@dataclass(frozen=True)
class Entry:
    """A peer in the table.

    Attributes
    ----------
    module : str
        Where its ``Competitor`` is.
    variants : callable
        Configurations to try on a number of cores; the best one is kept.
    information : bool
        Shown, but not a rival in the ratio (another precision).
    """

    module: str
    variants: Callable[[int], list[Variant]]
    information: bool = False


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, ... and all cores."""
    powers = {1 << i for i in range(cores.bit_length()) if 1 << i <= cores}
    return sorted(powers | {cores})


def openblas_paths() -> list[str]:
    """OpenBLAS's own choice (empty), and the kernel families that this CPU can run.

    A family beyond the CPU's instruction set would kill the process.
    """
    from nbmlp.tuning import target_features

    paths = [""]
    if {"avx2", "fma"} <= target_features():
        paths += ["Haswell", "Zen"]
    if "avx512f" in target_features():
        paths.append("SkylakeX")
    return paths


def plain(cores: int) -> list[Variant]:
    """Only the number of threads varies."""
    return [Variant(n) for n in thread_counts(cores)]


def openblas(cores: int) -> list[Variant]:
    """Every kernel family with every number of threads.

    Idle threads spin for 2^28 ticks, about 0.1 s, and would do so in the next peer's turn; after
    2^24, some 6 ms, they sleep, which is still longer than any gap between two products.
    """
    return [
        Variant(
            threads,
            {"OPENBLAS_NUM_THREADS": str(threads), "OPENBLAS_THREAD_TIMEOUT": "24"}
            | ({"OPENBLAS_CORETYPE": path} if path else {}),
            path or "default",
        )
        for path in openblas_paths()
        for threads in thread_counts(cores)
    ]


def xla(cores: int) -> list[Variant]:
    """NPROC sizes XLA's thread pool; nothing can change it once JAX runs."""
    flags = os.environ.get("XLA_FLAGS", "")
    return [
        Variant(
            n,
            {"JAX_PLATFORMS": "cpu", "NPROC": str(n)}
            | ({"XLA_FLAGS": f"{flags} --xla_cpu_multi_thread_eigen=false"} if n == 1 else {}),
        )
        for n in thread_counts(cores)
    ]


OURS = "nbmlp"
PEERS: dict[str, Entry] = {
    OURS: Entry("bench.peers.nbmlp_net", plain),
    "jax": Entry("bench.peers.jax_net", xla),
    "torch": Entry("bench.peers.torch_net", plain),
    "numpy": Entry("bench.peers.numpy_net", openblas),
    "sklearn": Entry("bench.peers.sklearn_net", openblas),
    "torch-bf16": Entry("bench.peers.torch_bf16_net", plain, information=True),
}


def load_peer(name: str) -> Peer:
    """Import and make a competitor; raises ImportError where its package is missing."""
    competitor: type[Peer] = importlib.import_module(PEERS[name].module).Competitor
    return competitor()
