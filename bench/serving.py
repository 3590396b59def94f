"""A training server in a process of its own, for as long as a block lasts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbmlp.client import Client

__all__ = ["Serving", "serving"]


@dataclass(frozen=True)
class Serving:
    """Where it listens, and what opens it.

    Attributes
    ----------
    port : int
    token : str
    """

    port: int
    token: str

    def client(self) -> Client:
        """Somebody who may ask it."""
        return Client(f"http://127.0.0.1:{self.port}", self.token)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Serving]:
    """``nbmlp serve`` on a free port, with its data in `folder`.

    Parameters
    ----------
    folder : Path
    *options : str
        Of the command, besides.
    """
    command = [
        sys.executable, "-m", "nbmlp", "serve", "--port", "0", "--data-dir", str(folder),
        "--log-level", "warning", *options,
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        yield Serving(port, server.stdout.readline().split()[-1])
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
