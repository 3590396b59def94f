"""Memory that large bodies and answers have taken goes back to the system when they are gone."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

from nbmlp.server.jobs.limits import memory

__all__ = ["Tidy", "keep_large_blocks_apart"]

#: Seconds after which it is given back: once for all that ends at about the same time.
_SOON = 1.0
#: Many small answers leave as much behind as a large one: seconds between two looks, and bytes that
#: nobody uses any more since the last time, of which fewer are not worth the milliseconds.
_PERIOD, _WORTH = 3.0, 8 << 20
#: Blocks of so many bytes come from the system and go back to it when they are freed; ``mallopt``'s
#: number for that.
_LARGE, _MMAP_THRESHOLD = 1 << 20, -3


def keep_large_blocks_apart() -> None:
    """Large bodies and answers leave no holes behind between what is small and stays.

    glibc does so at first, but takes blocks as large as one that was freed from its heap later.
    """
    if (adjust := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        adjust(_MMAP_THRESHOLD, _LARGE)


class _Info(ctypes.Structure):
    """glibc's ``struct mallinfo2``; ``uordblks`` and ``hblkhd`` are bytes in use."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                     "uordblks", "fordblks", "keepcost")
    ]  # fmt: skip


def _info() -> _Info:
    """What the C library tells of its heaps; nothing where it cannot."""
    if (tell := getattr(ctypes.CDLL(None), "mallinfo2", None)) is None:
        return _Info()
    tell.restype = _Info
    found: _Info = tell()
    return found


def _in_use() -> int:
    """Bytes that the C library has handed out; 0 where it cannot say."""
    info = _info()
    return int(info.uordblks + info.hblkhd)


def _unused() -> int:
    """Bytes in memory besides those in use: code, and what could be given back."""
    return memory()[1] - _in_use()


class Tidy:
    """Gives freed memory back: glibc keeps it, tens of MB for each burst, until it is told to."""

    def __init__(self) -> None:
        # Other C libraries have no such function, and most of them no need of it.
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._due = False

    def soon(self) -> None:
        """In a moment, in a thread; to be called in the event loop."""
        if self._trim is not None and not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_SOON, self._now, self._trim)

    def _now(self, trim: Callable[[int], int]) -> None:
        self._due = False
        asyncio.get_running_loop().run_in_executor(None, trim, 0)

    async def watch(self) -> None:
        """Do so whenever much is not used any more, for ever.

        How much the process has grown does not tell: what is in use when it is given back, and is
        freed later, would stay for as long as nothing else comes.
        """
        loop = asyncio.get_running_loop()
        least = _unused()
        while self._trim is not None:
            await asyncio.sleep(_PERIOD)
            if (now := _unused()) > least + _WORTH:
                await loop.run_in_executor(None, self._trim, 0)
                least = now = _unused()
            least = min(least, now)
