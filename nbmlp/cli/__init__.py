"""The command line: argv -> settings -> call. Needs the extra ``cli`` (typer and rich)."""

from __future__ import annotations

from nbmlp.cli.app import main, run

__all__ = ["main", "run"]
