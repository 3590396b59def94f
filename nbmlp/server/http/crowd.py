"""Who is connected: when all places are taken, strangers give way first, and who has most.

And in which order connections go on that ask for more than one thing at a time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Connection", "Crowd", "Line"]

#: Connections that were refused and still have a moment to read why.
_MOST_PARTING = 64


class Connection(Protocol):
    """What is asked of a connection."""

    @property
    def party(self) -> str:
        """Who has asked last; empty for strangers."""

    @property
    def works(self) -> bool:
        """Whether a request is not answered yet."""

    def give_way(self) -> None:
        """End at once."""


_Group = tuple[str, str]
_PARTING: _Group = ("parting", "")
_BUSY: _Group = ("busy", "")


class Crowd:
    """Connections, by whom they are of.

    A connection is a stranger's, counted by address, until a request on it has come with a good
    token; then it is that user's. One whose request is at work for a user never gives way.

    Parameters
    ----------
    most : int
        Connections at a time.

    Attributes
    ----------
    drained : set of Connection
        Those that send what nobody wants.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.drained: set[Connection] = set()
        self._groups: dict[_Group, OrderedDict[Connection, None]] = {}
        self._where: dict[Connection, _Group] = {}

    @property
    def parting(self) -> int:
        """Connections that were refused and are still there."""
        return len(self._groups.get(_PARTING, ()))

    def enter(self, connection: Connection, network: str) -> bool:
        """Find a place for a new one; whether there is any."""
        if len(self._where) - self.parting >= self._most and not self._make_room():
            return False
        self._put(connection, ("stranger", network))
        return True

    def leave(self, connection: Connection) -> None:
        """It has ended."""
        self.drained.discard(connection)
        if (key := self._where.pop(connection, None)) is None:
            return
        group = self._groups[key]
        del group[connection]
        if not group:
            del self._groups[key]

    def answered(self, connection: Connection, network: str) -> None:
        """It has been answered: it belongs to who has asked, and is the last to give way."""
        if self._where.get(connection, _PARTING) != _PARTING:
            party = connection.party
            self._put(connection, ("user", party) if party else ("stranger", network))

    def part(self, connection: Connection) -> None:
        """It was refused: it takes no place any more, but few may linger."""
        self._put(connection, _PARTING)
        if self.parting > _MOST_PARTING:
            self._end(next(iter(self._groups[_PARTING])))

    def _put(self, connection: Connection, key: _Group) -> None:
        self.leave(connection)
        self._where[connection] = key
        self._groups.setdefault(key, OrderedDict())[connection] = None

    def _make_room(self) -> bool:
        for kind in ("stranger", "user"):
            while fullest := self._fullest(kind):
                oldest = next(iter(fullest))
                if not (oldest.party and oldest.works):
                    self._end(oldest)
                    return True
                self._put(oldest, _BUSY)  # until it has been answered
        return False

    def _fullest(self, kind: str) -> OrderedDict[Connection, None] | None:
        groups = (group for key, group in self._groups.items() if key[0] == kind)
        return max(groups, key=len, default=None)

    def _end(self, connection: Connection) -> None:
        self.leave(connection)
        connection.give_way()


class Line:
    """For requests that were sent before the one before them was answered: they begin in turn.

    One begins in each round of the event loop, whichever connection it is of: who asks for one
    thing at a time waits for one of them, not for one of each connection.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._moves = False

    def join(self, begin: Callable[[], None]) -> None:
        """Have it called when it is its turn."""
        self._waiting.append(begin)
        if not self._moves:
            self._move_later()

    def _move_later(self) -> None:
        self._moves = True
        asyncio.get_running_loop().call_soon(self._move)

    def _move(self) -> None:
        try:
            self._waiting.popleft()()
        finally:
            self._moves = False
            if self._waiting:
                self._move_later()
