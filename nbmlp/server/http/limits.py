"""How much one client may ask for: token buckets, places that run out, and what all share."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from nbmlp.server.ports import ServiceError

__all__ = ["Held", "Lanes", "Places", "RateLimit", "Share", "TooManyError", "network_of"]

#: Clients remembered; who has been quiet for longest is forgotten, with a full bucket again.
_REMEMBERED = 20_000


class TooManyError(ServiceError):
    """More than the limits allow (HTTP 429).

    Attributes
    ----------
    retry_after : int
        Seconds.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = max(1, math.ceil(retry_after))


class RateLimit:
    """A token bucket for each client, which may wait in line for its turn.

    Parameters
    ----------
    rate : float
        Requests per second in the long run.
    burst : int
        Requests at once.
    patience : float
        Seconds for which a request may have to wait for its turn.
    clock : callable, optional
        Seconds, rising.
    """

    def __init__(
        self, rate: float, burst: int, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._patience, self._clock = rate, burst, patience, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, rate: float | None = None, burst: int | None = None) -> float:
        """One request of `client`, which may have limits of its own.

        Returns
        -------
        float
            Seconds until it is its turn.

        Raises
        ------
        TooManyError
            Too many wait before it.
        """
        rate, burst = rate or self._rate, burst or self._burst
        now = self._clock()
        left, then = self._buckets.get(client, (float(burst), now))
        left = min(burst, left + (now - then) * rate) - 1.0
        wait = max(0.0, -left / rate)
        if wait > self._patience:
            raise TooManyError("too many requests: wait a moment.", wait - self._patience)
        self._buckets[client] = left, now
        self._buckets.move_to_end(client)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return wait


class Places:
    """A number of places for each client, taken for as long as something runs.

    Parameters
    ----------
    most : int
        Of one client.
    what : str
        For the message, e.g. ``"event streams"``.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """By all clients together."""
        return self._taken.total()

    @contextmanager
    def hold(self, client: str, most: int | None = None) -> Iterator[None]:
        """Keep a place; raises TooManyError when none is left of the client's `most`."""
        most = most or self._most
        if self._taken[client] >= most:
            raise TooManyError(f"{most} {self._what} are open already: close one.", 5.0)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


class Lanes:
    """Few at a time: of one client one, who comes first goes first.

    Parameters
    ----------
    most : int
        Of all clients together.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, client: str) -> AsyncIterator[None]:
        """Wait for a lane and keep it."""
        own = self._own.setdefault(client, asyncio.Lock())
        async with own, self._free:
            yield


class Share:
    """What all share: nobody may hold more of it than is left for the others.

    One alone gets half of it, a second one half of the rest, and there always is some for who
    comes new: no place has to be kept free for anybody, and nothing is ever taken away again.

    Parameters
    ----------
    most : int
        Of all together.
    refusal : str
        The sentence for who is refused.

    References
    ----------
    A. K. Choudhury and E. L. Hahne, Dynamic queue length thresholds for shared-memory packet
    switches, IEEE/ACM Transactions on Networking 6 (1998) 130-140.
    """

    def __init__(self, most: int, refusal: str) -> None:
        self._most, self._refusal = most, refusal
        self._held: Counter[str] = Counter()
        self.taken = 0

    @contextmanager
    def hold(self, client: str, amount: int = 0) -> Iterator[Held]:
        """Keep so much, and what is added to it, to the end of the block.

        Raises
        ------
        TooManyError
            It is more than is left.
        """
        held = Held(self, client)
        try:
            held.add(amount)
            yield held
        finally:
            self.take(client, -held.amount)

    def take(self, client: str, amount: int) -> None:
        """So much more of a client, or less; raises TooManyError."""
        mine, taken = self._held[client] + amount, self.taken + amount
        if amount > 0 and mine > self._most - taken:
            raise TooManyError(self._refusal)
        self.taken = taken
        self._held[client] = mine
        if not mine:
            del self._held[client]


class Held:
    """What one request holds of a :class:`Share`.

    Attributes
    ----------
    amount : int
        So far.
    """

    def __init__(self, share: Share, client: str) -> None:
        self._share, self._client, self.amount = share, client, 0

    def add(self, amount: int) -> None:
        """So much more; raises TooManyError when that is more than is left."""
        self._share.take(self._client, amount)
        self.amount += amount


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits that a client has for itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
