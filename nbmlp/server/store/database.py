"""The database file: connections, transactions, migrations, what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from nbmlp.server.faults import reach
from nbmlp.server.ports import BusyError, NoSpaceError, ServiceError
from nbmlp.server.store.recognise import SIDE_FILES

__all__ = ["Database", "journal_mode"]

#: Older versions can corrupt a database in WAL mode when a reset meets a checkpoint.
_WAL_IS_SAFE = (3, 51, 3)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> str:
    """WAL where this version of SQLite can be trusted with it, else a rollback journal."""
    return "WAL" if version >= _WAL_IS_SAFE else "TRUNCATE"


class Database:
    """One SQLite file: a connection that writes, and some that read.

    Parameters
    ----------
    path : Path
        Made when it does not exist, for its owner only; older schemas are brought up to date.
    timeout : float
        Seconds to wait while another process has it locked.
    upgrade : bool
        Bring an older schema up to date; else it is refused: a server may be using it.

    Raises
    ------
    ServiceError
        It cannot be opened: damaged, locked, or written by a newer version.
    """

    def __init__(self, path: Path, timeout: float, upgrade: bool = True) -> None:
        self._path, self._timeout = path, timeout
        self._lock = threading.RLock()
        self._current: Connection | None = None
        self._writer = self._engine("IMMEDIATE", pool_size=1, max_overflow=0)
        self._readers = self._engine("DEFERRED", pool_size=4, max_overflow=60)
        with self._named_errors():
            _make_private(path)
            self._migrate(upgrade)

    def _engine(self, begin: str, **pool: int) -> Engine:
        # Waiting takes place in SQLite's busy handler, which also covers a reader's first lock.
        options = {"timeout": self._timeout, "check_same_thread": False}
        engine = create_engine(f"sqlite:///{self._path}", connect_args=options, **pool)

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, record: object) -> None:
            connection.isolation_level = None  # transactions begin where the next function says
            for pragma in (
                f"journal_mode={journal_mode()}", "synchronous=FULL", "foreign_keys=ON",
            ):  # fmt: skip
                connection.execute(f"PRAGMA {pragma}").close()

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(f"BEGIN {begin}")

        return engine

    def _migrate(self, upgrade: bool) -> None:
        config = Config()
        config.set_main_option("script_location", "nbmlp.server.store:migrations")
        if not upgrade:
            newest = ScriptDirectory.from_config(config).get_heads()
            with self.read() as connection:
                found = MigrationContext.configure(connection).get_current_heads()
            if set(found) != set(newest):
                raise ServiceError(
                    f"the database {self._path} is of another version of nbmlp: start nbmlp serve"
                    " of this version once, which brings an older one up to date."
                )
            return
        with self._lock, self._writer.begin() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ServiceError(
                    f"the database {self._path} was written by a newer version of nbmlp ({error}):"
                    " install that one, or give another --data-dir."
                ) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, alone; committed to disk at the end of the block or not at all.

        Within another one of the same thread it is that one.

        Raises
        ------
        BusyError, NoSpaceError, ServiceError
            Nothing was changed.
        """
        with self._lock:
            if self._current is not None:
                yield self._current
                return
            with self._named_errors():
                reach("begin")
                with self._writer.connect() as connection, connection.begin():
                    self._current = connection
                    try:
                        yield connection
                        reach("commit")
                    finally:
                        self._current = None
                reach("committed")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database."""
        with self._named_errors(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise _named(error, self._path) from error
        except OSError as error:
            if error.errno in _FULL:
                raise _full(self._path) from error
            raise ServiceError(f"the database {self._path} cannot be used: {error}.") from error
        except DBAPIError as error:
            raise ServiceError(
                f"the database {self._path} cannot be used: {error.orig}."
            ) from error

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._writer.dispose()
            self._readers.dispose()


def _make_private(path: Path) -> None:
    """For its owner only, whatever has made it; files beside it that are new get its mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    for end in ("", *SIDE_FILES):
        with suppress(FileNotFoundError):
            place = f"{path}{end}"
            if os.lstat(place).st_mode & 0o177:
                os.chmod(place, 0o600)


def _full(path: Path) -> ServiceError:
    return NoSpaceError(f"the disk of {path.parent} is full: free some space.")


def _named(error: OperationalError, path: Path) -> ServiceError:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusyError("the database is locked by another program: try again in a moment.")
    if code == sqlite3.SQLITE_FULL:
        return _full(path)
    return ServiceError(f"the database {path} cannot be used: {error.orig}.")
