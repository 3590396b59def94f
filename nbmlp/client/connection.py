"""Requests to a server, and answers that are what they should be: everything else is an error."""

from __future__ import annotations

import json
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nbmlp.client.answers import Event, Listing, ServerError, fits
from nbmlp.errors import missing_package

try:
    import httpx
except ModuleNotFoundError:
    raise missing_package("nbmlp.Client", "httpx", "server") from None

__all__ = ["Connection", "Patience"]

_PIECE = 1 << 20
#: Seconds between two signs of life of a stream, with some to spare.
_SILENCE = 45.0
#: No answer, or one that says that there will be one later: a restart, a proxy before it.
_LATER = frozenset({0, 502, 503, 504})
#: Seconds until the next try: the first, and the most.
_FIRST, _LONGEST = 0.2, 5.0
Found = TypeVar("Found")


class Patience:
    """With a server that is being started again: how long it may take, and the next try.

    Parameters
    ----------
    seconds : float
        From the first failure on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """There was an answer."""
        self._end, self._delay = math.inf, _FIRST

    def wait(self, error: ServerError, until: float = math.inf) -> None:
        """Sleep until the next try; raises the error when another is of no use, or too late."""
        now = time.monotonic()
        self._end = min(self._end, now + self._seconds)
        if error.status not in _LATER or now + self._delay > min(self._end, until):
            raise error
        time.sleep(self._delay)
        self._delay = min(2 * self._delay, _LONGEST)


class Connection:
    """To one server.

    Parameters
    ----------
    url, token : str
    timeout : float
        Seconds for an answer.
    patience : float
        Seconds for which a server may be away, see :class:`Patience`.
    """

    def __init__(self, url: str, token: str, timeout: float, patience: float) -> None:
        headers = {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self._patience = patience

    def close(self) -> None:
        """End it."""
        self._http.close()

    # -- requests

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to a request, if it is a good one.

        Raises
        ------
        ServerError
        """
        try:
            answer = self._http.request(method, path, **options)
        except httpx.RequestError as error:
            raise self._unreachable(error) from None
        self._check(answer)
        return answer

    def ask(self, method: str, path: str, kind: Any, **options: Any) -> Any:
        """The same, as a record of that kind."""
        answer = self.send(method, path, **options)
        try:
            found = answer.json()
        except ValueError:  # cut off, not JSON, or not even text
            raise self._strange(answer, "is not the JSON that was asked for") from None
        if not fits(found, kind):
            raise self._strange(answer, "lacks what was asked for")
        return found

    def pages(self, path: str, kind: Any) -> Iterator[Any]:
        """All records of a list, page by page."""
        after: dict[str, str] = {}
        while True:
            page: Listing = self.ask("GET", path, Listing, params=after)
            for item in page["data"]:
                if not fits(item, kind):
                    raise ServerError(f"{self._http.base_url}{path}: an item lacks its fields.")
                yield item
            if not (page["has_more"] and page["data"]):
                return
            after = {"after": page["data"][-1]["id"]}

    def patiently(self, call: Callable[[], Found], until: float = math.inf) -> Found:
        """What `call` returns, tried again while the server does not answer.

        Parameters
        ----------
        call : callable
        until : float
            By ``time.monotonic``: no try begins later.
        """
        patience = self.patience()
        while True:
            try:
                return call()
            except ServerError as error:
                patience.wait(error, until)

    def patience(self) -> Patience:
        """For tries at one thing."""
        return Patience(self._patience)

    # -- streams

    def events(self, path: str, after: int) -> Iterator[Event]:
        """Events of a stream with larger numbers than `after`, until it ends."""
        headers = {"Last-Event-ID": str(after)}
        try:
            with self._http.stream("GET", path, headers=headers, timeout=_SILENCE) as answer:
                self._check(answer)
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise self._strange(answer, "is no stream of events")
                for data in _numbered(answer.iter_lines()):
                    yield self._event(answer, data)
        except httpx.RequestError as error:
            raise self._unreachable(error) from None

    def _event(self, answer: httpx.Response, data: str) -> Event:
        try:
            event: Event = json.loads(data)
        except ValueError:
            raise self._strange(answer, "holds an event that is no JSON") from None
        if not fits(event, Event):
            raise self._strange(answer, "holds an event without its fields")
        return event

    def save(self, path: str, target: Path) -> None:
        """The answer as a file: whole, or nothing of it."""
        part = target.with_name(f".{target.name[:60]}.{secrets.token_hex(8)}.part")
        made = False
        try:
            with self._http.stream("GET", path) as answer:
                self._check(answer)
                # A name that nobody can have laid a link at; not opened if somebody has.
                with part.open("xb") as file:
                    made = True
                    file.writelines(answer.iter_bytes(_PIECE))
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(target)
            made = False
        except httpx.RequestError as error:
            raise self._unreachable(error) from None
        finally:
            if made:
                part.unlink(missing_ok=True)

    # -- errors

    def _unreachable(self, error: httpx.RequestError) -> ServerError:
        said = str(error) or type(error).__name__
        return ServerError(f"{self._http.base_url} does not answer: {said}")

    def _strange(self, answer: httpx.Response, what: str) -> ServerError:
        kind = answer.headers.get("content-type", "no type").partition(";")[0]
        return ServerError(
            f"the answer of {answer.url} ({answer.status_code}, {kind}) {what}: is an nbmlp server"
            " of this version there, or a proxy's page?",
            answer.status_code,
        )

    def _check(self, answer: httpx.Response) -> None:
        """Raise what a refusal says."""
        if answer.is_success:
            return
        if answer.is_redirect:
            place = answer.headers.get("location", "")
            raise ServerError(
                f"{answer.url} sends its callers to {place[:200]}: give the address at which the"
                " server itself answers.",
                answer.status_code,
            )
        answer.read()
        raise ServerError(_sentence(answer), answer.status_code)


def _sentence(answer: httpx.Response) -> str:
    try:
        said = answer.json()
    except ValueError:
        said = None
    if isinstance(said, Mapping) and isinstance(said.get("error"), str):
        return str(said["error"])
    return f"{answer.url} answered with status {answer.status_code} ({answer.reason_phrase})."


def _numbered(lines: Iterator[str]) -> Iterator[str]:
    """Data of the events of a stream that have a number."""
    numbered, data = False, ""
    for line in lines:
        field, _, value = line.partition(": ")
        numbered |= field == "id"
        data = value if field == "data" else data
        if not line:
            if numbered and data:
                yield data
            numbered, data = False, ""
