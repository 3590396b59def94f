"""Tensors of the Open Inference Protocol, as JSON or as bytes behind it, and NumPy arrays."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nbmlp.errors import DataError
from nbmlp.server.strict_json import MalformedError, loads

__all__ = [
    "DATATYPES", "Column", "InferRequest", "InputTensor", "binary_form", "datatype_of", "decode",
    "encode", "most_bytes",
]  # fmt: skip

DATATYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in DATATYPES.items()}
_MOST_DIMENSIONS = 4
_LENGTH = struct.Struct("<I")
#: In the place of a text's length: there is none.
_MISSING = 2**32 - 1
#: Digits of a float64 or an int64, with sign, point and exponent, a comma and a space.
_LONGEST_NUMBER = 27

Dimension = Annotated[int, Field(ge=0, le=2**31)]


class _Open(BaseModel):
    """The protocol lets clients send what we do not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class InputTensor(_Open):
    """One input: values in `data`, row by row, or behind the JSON (``binary_data_size``)."""

    name: str
    shape: Annotated[list[Dimension], Field(min_length=1, max_length=_MOST_DIMENSIONS)]
    datatype: Annotated[str, Field(json_schema_extra={"enum": [*DATATYPES, "BYTES"]})]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestedOutput(_Open):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(_Open):
    """What is to be predicted."""

    id: Annotated[str, Field(max_length=1000)] | None = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[InputTensor], Field(min_length=1, fail_fast=True)]
    outputs: Annotated[list[RequestedOutput], Field(fail_fast=True)] | None = None

    @classmethod
    def parse(cls, text: bytes, inputs: int) -> Self:
        """Out of JSON.

        Parameters
        ----------
        text : bytes
        inputs : int
            Tensors that the model takes, at most.

        Raises
        ------
        MalformedError
            It is no JSON, or other JSON than this; the first thing that is wrong.
        DataError
            Too many tensors, or two of the same name.
        """
        try:
            found = cls.model_validate(loads(text))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the request"
            raise MalformedError(f"{where}: {first['msg']}") from None
        found.check_names()
        if len(found.inputs) > inputs:
            raise DataError(f"there are {len(found.inputs)} inputs: the model takes {inputs}.")
        return found

    def check_names(self) -> None:
        """Raise DataError when two inputs, or two outputs, have the same name."""
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs or ())):
            if len({tensor.name for tensor in tensors}) < len(tensors):
                raise DataError(f"two {what} have the same name.")

    def wants_bytes(self, output: str) -> bool:
        """Whether an output is to come as bytes behind the JSON."""
        everything = bool(self.parameters.get("binary_data_output", False))
        asked = {out.name: out.parameters for out in self.outputs or ()}
        return bool(asked.get(output, {}).get("binary_data", everything))

    def columns(self, behind: memoryview) -> dict[str, Column]:
        """All inputs; raises DataError when values and shapes do not fit."""
        return {
            tensor.name: Column(tensor, decode(tensor) if raw is None else raw)
            for tensor, raw in self.cut(behind)
        }

    def cut(self, behind: memoryview) -> Iterator[tuple[InputTensor, memoryview | None]]:
        """Each input with the bytes that belong to it; None when it has its values itself."""
        start = 0
        for tensor in self.inputs:
            size = tensor.parameters.get("binary_data_size")
            if size is None:
                yield tensor, None
                continue
            if not isinstance(size, int) or not 0 <= size <= len(behind) - start:
                some = str(size)[:20]
                raise DataError(f"input {tensor.name!r}: there are not {some} bytes for it.")
            yield tensor, behind[start : start + size]
            start += size


def datatype_of(values: NDArray[Any]) -> str:
    """What the protocol calls the type of an array."""
    return _NAMES.get(values.dtype.newbyteorder("="), "BYTES")


def decode(tensor: InputTensor) -> NDArray[Any]:
    """Values of an input out of JSON, nested or flat, one behind the other; null: missing."""
    if tensor.data is None:
        raise DataError(f"input {tensor.name!r} has no data.")
    code = _code(tensor)
    try:
        if code is None:
            values = np.array(_texts(tensor.data), dtype=object)
        else:
            values = _exactly(_numbers(tensor, code), np.dtype(code))
    except (ValueError, TypeError, OverflowError):
        raise DataError(
            f"input {tensor.name!r} has values that are no {tensor.datatype}."
        ) from None
    return _sized(tensor, values)


def _numbers(tensor: InputTensor, code: str) -> NDArray[Any]:
    """Numbers as they came; text that looks like one is none."""
    flat = _flat(tensor.data or [])
    # First of all: of texts NumPy would make an array as wide as the longest.
    kinds = set(map(type, flat))
    if not kinds <= {bool, int, float, type(None)}:
        raise ValueError
    plain = np.asarray(tensor.data)
    if plain.dtype.kind in "biuf":
        return plain
    if np.dtype(code).kind != "f":
        raise ValueError
    return np.array([np.nan if v is None else float(v) for v in flat])


def _exactly(numbers: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """In a type; whole numbers must not change on the way."""
    with np.errstate(all="ignore"):
        values = numbers.astype(dtype)
    if dtype.kind != "f" and not (values == numbers).all():
        raise ValueError
    return values


def _flat(values: list[Any]) -> list[Any]:
    """Out of lists in lists, no deeper than tensors are."""
    for _ in range(_MOST_DIMENSIONS):
        if not any(isinstance(value, list) for value in values):
            break
        values = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return values


def _texts(values: list[Any]) -> list[str | None]:
    flat = _flat(values)
    if not set(map(type, flat)) <= {str, type(None)}:
        raise TypeError
    "".join(filter(None, flat)).encode()  # half a surrogate pair is no text
    return flat


def _code(tensor: InputTensor) -> str | None:
    """NumPy's code of the type; None for text."""
    if tensor.datatype == "BYTES":
        return None
    if tensor.datatype not in DATATYPES:
        known = ", ".join((*DATATYPES, "BYTES"))
        raise DataError(f"datatype {tensor.datatype[:40]!r} is not known: use one of {known}.")
    return DATATYPES[tensor.datatype]


def _values_of(tensor: InputTensor) -> int:
    """How many values a shape needs."""
    size = math.prod(tensor.shape)
    if size == 0:
        raise DataError(
            f"input {tensor.name!r} of shape {tensor.shape} has no values: there are no rows to"
            " predict."
        )
    return size


def _sized(tensor: InputTensor, values: NDArray[Any]) -> NDArray[Any]:
    if values.size != _values_of(tensor):
        raise DataError(
            f"input {tensor.name!r} has {values.size} values and the shape {tensor.shape}."
        )
    return values.ravel()


class Column:
    """The values of one input, taken some rows at a time: all at once may be large.

    Parameters
    ----------
    tensor : InputTensor
    values : ndarray or memoryview
        All of them one behind the other, or bytes of them.

    Attributes
    ----------
    rows : int
    """

    def __init__(self, tensor: InputTensor, values: NDArray[Any] | memoryview) -> None:
        self._name, self.rows, self._shape = tensor.name, tensor.shape[0], tensor.shape[1:]
        self._each, self._at = math.prod(self._shape), 0
        code, size = _code(tensor), _values_of(tensor)
        if isinstance(values, memoryview):
            each = _LENGTH.size if code is None else np.dtype(code).itemsize
            if len(values) < size * each or (code and len(values) > size * each):
                raise DataError(
                    f"input {tensor.name!r} has {len(values)} bytes and the shape {tensor.shape}."
                )
            values = np.frombuffer(values, code) if code else values
        self._values = values

    def take(self, rows: int) -> NDArray[Any]:
        """The next rows."""
        count, values = rows * self._each, self._values
        if isinstance(values, memoryview):
            found, self._at = _split(self._name, values, self._at, count)
        else:
            found = values[self._at : self._at + count]
            self._at += count
        return found.reshape(rows, *self._shape)

    def close(self) -> None:
        """All rows were taken; raises DataError when there is more."""
        if self._at < len(self._values):
            raise DataError(f"input {self._name!r} has more values than its shape needs.")


def _split(name: str, raw: memoryview, start: int, count: int) -> tuple[NDArray[Any], int]:
    """So many texts, each behind its length, and where the next one begins."""
    texts = np.empty(count, object)
    try:
        for i in range(count):
            (length,) = _LENGTH.unpack_from(raw, start)
            start += 4
            if length == _MISSING:
                continue
            if start + length > len(raw):
                raise DataError(f"input {name!r} ends in the middle of a text.")
            texts[i] = str(raw[start : start + length], "utf-8")
            start += length
    except struct.error:
        raise DataError(f"input {name!r} has too few texts, or no lengths before them.") from None
    except UnicodeDecodeError:
        raise DataError(f"input {name!r} holds a text that is not UTF-8.") from None
    return texts, start


def binary_form(asked: InferRequest, behind: memoryview) -> tuple[dict[str, Any], bytes]:
    """The same request with all its tensors as bytes; raises DataError as `decode` does."""
    pieces, inputs = list[bytes | memoryview](), list[dict[str, Any]]()
    for tensor, raw in asked.cut(behind):
        pieces.append(_to_bytes(decode(tensor)) if raw is None else raw)
        size = {"binary_data_size": len(pieces[-1])}
        inputs.append({**tensor.model_dump(exclude={"data"}), "parameters": size})
    return {**asked.model_dump(exclude={"inputs"}), "inputs": inputs}, b"".join(pieces)


def _to_bytes(values: NDArray[Any]) -> bytes:
    """Numbers as they are; each text behind its length, which of a missing one no text has."""
    if values.dtype in _NAMES:
        return values.tobytes()
    return b"".join(
        _LENGTH.pack(_MISSING) if text is None else _LENGTH.pack(len(raw := text.encode())) + raw
        for text in values.ravel().tolist()
    )


def encode(values: NDArray[Any], binary: bool) -> bytes:
    """Values of an output as bytes, or as JSON between commas.

    Parameters
    ----------
    values : ndarray
        Numbers, booleans or text.
    binary : bool
    """
    if binary:
        return _to_bytes(values)
    return json.dumps(_finite(values.ravel())).encode()[1:-1]


def most_bytes(datatype: str, labels: Sequence[str], binary: bool) -> int:
    """What one value of an output takes, at most, with what comes between two."""
    if datatype == "BYTES":
        longest = max((len(json.dumps(label)) for label in labels), default=0)
        return longest + 4
    return np.dtype(DATATYPES[datatype]).itemsize if binary else _LONGEST_NUMBER


def _finite(values: NDArray[Any]) -> list[Any]:
    """JSON has no NaN: null says that there is no number."""
    plain: list[Any] = values.tolist()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return [v if math.isfinite(v) else None for v in plain]
    return [str(v) for v in plain] if values.dtype.kind in "OU" else plain
