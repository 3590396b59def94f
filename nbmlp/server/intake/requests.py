"""Long JSON of a prediction, read in a process of its own and handed back as bytes of tensors.

Reading it takes the interpreter's lock for as long as it takes, in a thread as well: 16 MB of
numbers a second or so, 16 MB of empty lists several, and hundreds of MB. All of the server would
wait; what comes back from here is looked at without a copy.
"""

from __future__ import annotations

import gc
import json
import os
from multiprocessing.connection import Connection
from typing import Any

from nbmlp.errors import DataError
from nbmlp.server.http.tensors import InferRequest, binary_form
from nbmlp.server.intake import parse, process
from nbmlp.server.intake.guard import Limits
from nbmlp.server.strict_json import MalformedError

__all__ = ["read_json"]

#: Of 16 MB of JSON: objects take more than ten times as much, tensors of bytes no more than five.
_MEMORY_MB, _SECONDS = 1536, 30.0
_LONGEST = 1 << 30
#: So that short requests are answered meanwhile.
_NICE = 5
_LIMITS = Limits(expanded_mb=1, columns=0, memory_mb=_MEMORY_MB, seconds=_SECONDS)


def read_json(body: bytes, size: int, inputs: int) -> tuple[InferRequest, memoryview]:
    """A request and the bytes behind it, of which its tensors are made.

    Parameters
    ----------
    body : bytes
    size : int
        Those of its JSON, which other bytes may follow.
    inputs : int
        Tensors that the model takes, at most.

    Raises
    ------
    DataError, MalformedError
        What is wrong with it.
    """
    try:
        answer, _ = process.ask(_run, (size, inputs), _SECONDS, _LONGEST, body)
    except TimeoutError:
        answer = None
    if answer is None:
        raise DataError("the JSON takes too long or too much memory to read: send bytes behind it.")
    size = int.from_bytes(answer[:8], "little")
    head: dict[str, Any] = json.loads(answer[8 : 8 + size])
    if "error" in head:
        raise (MalformedError if head["malformed"] else DataError)(head["error"])
    return InferRequest.model_validate(head), memoryview(answer)[8 + size :]


def _run(pipe: Connection, size: int, inputs: int) -> None:
    parse.confine(_LIMITS)
    os.nice(_NICE)
    gc.disable()  # it would only look at millions of objects again and again
    try:
        body = memoryview(pipe.recv_bytes())
        asked = InferRequest.parse(bytes(body[:size]), inputs)
        head, raw = binary_form(asked, body[size:])
    except DataError as error:
        head = {"error": str(error), "malformed": isinstance(error, MalformedError)}
        raw = b""
    text = json.dumps(head).encode()
    pipe.send_bytes(len(text).to_bytes(8, "little") + text + raw)
