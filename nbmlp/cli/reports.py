"""What processes tell their launcher: short records within what they write to standard error.

That is the one way that mpiexec keeps open from every host, whichever MPI it belongs to.
"""

from __future__ import annotations

import json
import os
from typing import Any

__all__ = ["Reader", "encoded", "report"]

#: ASCII's record separator before a record, as in RFC 7464: others' lines may be cut anywhere.
_MARK = b"\x1e"
#: Behind it: Open MPI's mpiexec keeps what is no whole line for itself.
_END = b"\n"
_LONGEST = 4096


def report(rank: int, what: str, **facts: Any) -> None:
    """Tell it, in one piece: what is written at once, mpiexec hands on at once."""
    os.write(2, encoded(rank, what, **facts))


def encoded(rank: int, what: str, **facts: Any) -> bytes:
    """What :func:`report` writes."""
    return _MARK + json.dumps({"rank": rank, "what": what, **facts}).encode() + _END


class Reader:
    """Tells records and other people's text apart."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, piece: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        """The text and the records of what has come."""
        text, records = b"", []
        self._rest += piece
        while self._rest:
            before, mark, behind = self._rest.partition(_MARK)
            text += before
            record, end, after = behind.partition(_END)
            if not end:
                self._rest = mark + behind
                break
            self._rest = after
            found = _decoded(record)
            if found is None:
                text += mark + record + end
            else:
                records.append(found)
        if len(self._rest) > _LONGEST:  # no record after all
            text, self._rest = text + self._rest, b""
        return text, records


def _decoded(record: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(record)
    except ValueError:
        return None
    fits = isinstance(found, dict) and isinstance(found.get("rank"), int)
    return found if fits and isinstance(found.get("what"), str) else None
