"""What is kept for a time only: events of jobs that ended long ago, keys of requests."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from nbmlp.server.ports import EventKind
from nbmlp.server.store import schema
from nbmlp.server.store.database import Database

__all__ = ["Retention"]

jobs, events = schema.jobs, schema.events


class Retention:
    """Forgets what is old.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def thin_events(self, before: float, most: int = 20) -> int:
        """Of jobs that ended before a time nothing stays but the diagnosis and the end.

        What their epochs left behind is not among the events, and stays as well.

        Parameters
        ----------
        before : float
            Seconds since 1970.
        most : int
            Jobs in one transaction.

        Returns
        -------
        int
            Jobs whose events were thinned: fewer than `most` when none is left.
        """
        old = select(jobs.c.id, jobs.c.last_seq).where(jobs.c.finished < before, ~jobs.c.thinned)
        with self._database.write() as connection:
            found = connection.execute(old.limit(most)).all()
            for job_id, last in found:
                mine = events.c.job_id == job_id
                gone = events.c.kind != EventKind.DIAGNOSIS, events.c.seq < last
                connection.execute(delete(events).where(mine, *gone))
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(thinned=True))
        return len(found)

    def forget_keys(self, before: float) -> None:
        """A request with a key that came before a time is a new one if it comes again."""
        with self._database.write() as connection:
            connection.execute(delete(schema.keys).where(schema.keys.c.created < before))
