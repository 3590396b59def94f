"""A making of rows ready: which entries it writes, and who is told how far it is."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from nbmlp.stream.folder import Entry, digest_of, writing
from nbmlp.stream.source import Source

__all__ = ["Making", "Progress"]

#: Of the keys and files of ready rows; another number where either changes.
_VERSION = 1
#: Told of a share that is done, and of what is being done.
Progress = Callable[[float, str], object]


def _untold(share: float, stage: str) -> None:
    """Nobody wants to know."""


class Making:
    """Around all that one training reads of files.

    Parameters
    ----------
    progress : callable, optional
        Called with the share of a stage that is done, from 0 to 1, and its name.
    token : str, optional
        The same in all processes that make these rows ready together.
    """

    def __init__(self, progress: Progress | None = None, token: str | None = None) -> None:
        self.tell: Progress = progress or _untold
        self._token = token or secrets.token_hex(8)
        self._elsewhere: list[Entry] = []

    @contextmanager
    def entry(self, source: Source, of: dict[str, Any]) -> Iterator[Entry]:
        """The entry of the content of files, and of all else that decides what becomes of it.

        Of rows that lie elsewhere it is one for this once: none is kept.
        """
        content: object = [self._token, source.name]
        if not source.elsewhere:
            content = digest_of(source, lambda share: self.tell(share, f"reading {source.name}"))
        told = json.dumps([_VERSION, content, of], sort_keys=True)
        key = sha256(told.encode()).hexdigest()[:24]
        key = f"once-{key[:16]}" if source.elsewhere else key

        def waiting() -> None:
            self.tell(0.0, f"waiting for another process that reads {source.name}")

        with writing(key, waiting) as entry:
            if source.elsewhere:
                self._elsewhere.append(entry)
            yield entry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for entry in self._elsewhere:  # what is mapped stays until it is let go
            entry.clear()
