"""Whether a file is a server's database, told without opening it as one.

Processes of jobs load this, too, which have no database: SQLAlchemy takes longer than Numba.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

__all__ = ["SIDE_FILES", "is_database"]

#: Ends of the names that SQLite gives to files of its own beside the database.
SIDE_FILES = ("-journal", "-wal", "-shm")
#: In every version of the database.
_TABLES = {"alembic_version", "datasets", "jobs", "events", "checkpoints", "models", "tokens"}


def is_database(path: Path, recover: bool = False) -> bool:
    """Whether a file is a database of a server's.

    Parameters
    ----------
    path : Path
    recover : bool
        It is ours to open: what a crash has left half written is put right first. Else neither it
        nor what lies beside it is touched.
    """
    place = f"file:{quote(str(path))}"
    if _holds_our_tables(f"{place}?mode=ro&immutable=1"):
        return True
    return recover and any(_holds(f"{path}{end}") for end in SIDE_FILES) and (
        _holds_our_tables(f"{place}?mode=rw")
    )  # fmt: skip


def _holds(path: str) -> bool:
    return os.path.exists(path) and os.path.getsize(path) > 0


def _holds_our_tables(address: str) -> bool:
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in found} >= _TABLES
    except sqlite3.Error:
        return False
