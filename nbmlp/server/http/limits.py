"""How much one client may ask for: token buckets, and places that run out."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nbmlp.server.ports import ServiceError

__all__ = ["Places", "RateLimit", "TooManyError", "network_of"]

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
    """A token bucket for each client.

    Parameters
    ----------
    rate : float
        Requests per second in the long run.
    burst : int
        Requests at once.
    clock : callable, optional
        Seconds, rising.
    """

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """One request of `client`; raises TooManyError when its bucket is empty."""
        now = self._clock()
        left, then = self._buckets.get(client, (float(self._burst), now))
        left = min(self._burst, left + (now - then) * self._rate)
        if left < 1.0:
            raise TooManyError("too many requests: wait a moment.", (1.0 - left) / self._rate)
        self._buckets[client] = left - 1.0, now
        self._buckets.move_to_end(client)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)


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
    def hold(self, client: str) -> Iterator[None]:
        """Keep a place; raises TooManyError when there is none left."""
        if self._taken[client] >= self._most:
            raise TooManyError(f"{self._most} {self._what} are open already: close one.", 5.0)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits that a client has for itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
