"""When tokens were last used: noted in memory, written now and then, on nobody's time."""

from __future__ import annotations

import logging
import threading
import time

from nbmlp.server.ports import ServiceError, Token
from nbmlp.server.store.catalog import Catalog

__all__ = ["Uses"]

log = logging.getLogger(__name__)
#: Seconds between two writes.
_PERIOD = 60.0


class Uses:
    """What has to be written of the tokens' use, and the thread that does it.

    Parameters
    ----------
    catalog : Catalog
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._lock = catalog, threading.Lock()
        self._times: dict[str, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbmlp-uses", daemon=True)

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def note(self, token: Token | None) -> Token | None:
        """It is used just now; returned as it came."""
        if token is not None:
            with self._lock:
                self._times[token.id] = time.time()
        return token

    def write(self) -> None:
        """Write what has been noted; what cannot be written now is tried again."""
        with self._lock:
            times, self._times = self._times, {}
        if not times:
            return
        try:
            self._catalog.note_use(times)
        except ServiceError as error:
            log.warning("the use of tokens is noted later: %s", error)
            with self._lock:
                self._times = {**times, **self._times}

    def close(self) -> None:
        """Write the rest, and end."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self.write()

    def _run(self) -> None:
        while not self._end.wait(_PERIOD):
            self.write()
