"""What a full disk looks like to who writes."""

from __future__ import annotations

import errno

__all__ = ["is_full"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Whether the system refused a write for want of space; there may be some again."""
    return isinstance(error, OSError) and error.errno in _FULL
