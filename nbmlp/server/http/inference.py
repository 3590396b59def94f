"""A prediction from the request to the answer, in pieces that let nobody else wait.

The interpreter is one for all threads. JSON that is long is read in a process of its own; rows are
predicted and written a block at a time; an answer's size is known, and counted, before it is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from numpy.typing import NDArray

from nbmlp.errors import DataError
from nbmlp.server.http.limits import Held
from nbmlp.server.http.serving import Arrays, ServedModel, Unknown
from nbmlp.server.http.tensors import Column, InferRequest, encode, most_bytes
from nbmlp.server.intake.requests import read_json

__all__ = ["JSON_LENGTH", "VERSION", "Predictions"]

JSON_LENGTH = "Inference-Header-Content-Length"
VERSION = "1"
#: Bytes that are read, or rows' bytes that are written, while others wait: a millisecond or two.
_LONG = 1 << 16
#: Threads for what takes longer, and processes for JSON that does. More would only take turns.
_THREADS, _READERS = 2, 2
_MB = 1 << 20
Found = TypeVar("Found")


class Predictions:
    """Answers requests for predictions.

    Parameters
    ----------
    most : int
        Bytes of an answer, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._readers = anyio.CapacityLimiter(_READERS)

    async def answer(self, served: ServedModel, request: Request) -> Response:
        """Predict the rows of a request.

        Raises
        ------
        DataError, MalformedError
            What is wrong with it.
        TooManyError
            There is no room for the answer now.
        HTTPException
            There never is.
        """
        body, held = await request.body(), request.state.held
        asked, behind = await self._read(served, request.headers.get(JSON_LENGTH), body, held)
        columns = await self._off(len(body), asked.columns, behind)
        reply = _Reply(served, asked, _rows(columns))
        if reply.most > self._most:
            raise HTTPException(
                413, f"the answer would take {reply.most // _MB} MB: ask for fewer rows at a time."
            )
        held.add(reply.most)
        await self._predict(served, columns, reply)
        return reply.response()

    async def _predict(
        self, served: ServedModel, columns: dict[str, Column], reply: _Reply
    ) -> None:
        """Block by block."""
        for start in range(0, reply.rows, served.block):
            rows = min(served.block, reply.rows - start)
            size = rows * (served.width + reply.each)
            x = await self._off(size, reply.take, columns, rows)
            await self._off(size, reply.add, await served.predict(x))
        for column in columns.values():
            column.close()

    async def _read(
        self, served: ServedModel, length: str | None, body: bytes, held: Held
    ) -> tuple[InferRequest, memoryview]:
        """The request, and the bytes behind its JSON."""
        size, inputs = _json_size(length, body), max(1, len(served.inputs))
        if size <= _LONG:
            return InferRequest.parse(body[:size], inputs), memoryview(body)[size:]
        asked, behind = await run_sync(read_json, body, size, inputs, limiter=self._readers)
        held.add(len(behind))
        return asked, behind

    async def _off(self, size: int, function: Callable[..., Found], *given: Any) -> Found:
        """Call it: in a thread when there are so many bytes that others would wait."""
        if size <= _LONG:
            return function(*given)
        return await run_sync(function, *given, limiter=self._threads)


def _json_size(length: str | None, body: bytes) -> int:
    if length is None:
        return len(body)
    # Not of thousands of digits: those cannot even be read.
    known = length.isascii() and length.isdigit() and len(length) < 20
    if not (known and int(length) <= len(body)):
        raise DataError(f"{JSON_LENGTH} is no length of the JSON in this body.")
    return int(length)


def _rows(columns: dict[str, Column]) -> int:
    """How many there are, in each column as many."""
    rows = {name: column.rows for name, column in columns.items()}
    first = next(iter(rows))
    for name, count in rows.items():
        if count != rows[first]:
            raise DataError(
                f"input {name!r} has {count} rows and {first!r} {rows[first]}: all inputs need the"
                " same length."
            )
    return rows[first]


class _Reply:
    """The answer to a request, as far as it is written.

    Parameters
    ----------
    served : ServedModel
    asked : InferRequest
    rows : int

    Attributes
    ----------
    rows : int
    each, most : int
        Bytes that one of them takes, at most, and all of it.

    Raises
    ------
    DataError
        An output is wanted that the model does not have.
    """

    def __init__(self, served: ServedModel, asked: InferRequest, rows: int) -> None:
        known = {output["name"]: output for output in served.outputs}
        names = [output.name for output in asked.outputs or ()] or list(known)
        for name in names:
            if name not in known:
                raise DataError(
                    f"there is no output {name[:80]!r}: choose from {', '.join(known)}."
                )
        self.rows, self._served, self._asked = rows, served, asked
        self._unknown = Unknown()
        self._outputs = [known[name] for name in names]
        self._pieces: dict[str, list[bytes]] = {name: [] for name in names}
        self.each = sum(map(self._bytes_of, self._outputs))
        self.most = rows * self.each + _LONG

    def _bytes_of(self, output: dict[str, Any]) -> int:
        width: list[int] = output["shape"][1:]
        labels, binary = self._served.model.classes, self._asked.wants_bytes(output["name"])
        return math.prod(width) * most_bytes(output["datatype"], labels, binary)

    def take(self, columns: dict[str, Column], rows: int) -> NDArray[Any]:
        """The next rows, as the net takes them."""
        arrays = {name: column.take(rows) for name, column in columns.items()}
        x = self._served.rows(arrays)
        self._served.note_unknown(arrays, self._unknown)
        return x

    def add(self, found: Arrays) -> None:
        """Their outputs."""
        for name, pieces in self._pieces.items():
            pieces.append(encode(found[name], self._asked.wants_bytes(name)))

    def response(self) -> Response:
        """All of it."""
        text, raw = self._text()
        size = sum(map(len, text))
        headers = {"Content-Length": str(size + sum(map(len, raw)))}
        if raw:
            headers[JSON_LENGTH] = str(size)
        kind = "application/octet-stream" if raw else "application/json"
        if size + sum(map(len, raw)) <= _LONG:
            return Response(b"".join(text + raw), media_type=kind, headers=headers)
        return StreamingResponse(_sent(text + raw), media_type=kind, headers=headers)

    def _text(self) -> tuple[list[bytes], list[bytes]]:
        """JSON, and the bytes behind it, in pieces."""
        head: dict[str, Any] = {"model_name": self._served.model.id, "model_version": VERSION}
        if self._asked.id is not None:
            head["id"] = self._asked.id
        if unknown := str(self._unknown):
            head["parameters"] = {"unknown": unknown}
        text, raw = [json.dumps(head).encode()[:-1], b', "outputs": ['], list[bytes]()
        for number, output in enumerate(self._outputs):
            name, width = output["name"], output["shape"][1:]
            pieces, tensor = self._pieces[name], {**output, "shape": [self.rows, *width]}
            if self._asked.wants_bytes(name):
                tensor["parameters"] = {"binary_data_size": sum(map(len, pieces))}
                raw += pieces
            text.append(b", " * (number > 0) + json.dumps(tensor).encode()[:-1])
            if not self._asked.wants_bytes(name):
                text.append(b', "data": [')
                for at, piece in enumerate(pieces):
                    text += [b", ", piece] if at else [piece]
                text.append(b"]")
            text.append(b"}")
        return [*text, b"]}"], raw


async def _sent(pieces: list[bytes]) -> AsyncIterator[bytes]:
    """Pieces of some size, each when the reader has taken those before."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= _LONG:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)
