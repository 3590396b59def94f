"""Tensors of the Open Inference Protocol, as JSON or as bytes behind it, and NumPy arrays."""

from __future__ import annotations

import math
import struct
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from nbmlp.errors import DataError

__all__ = ["DATATYPES", "InferRequest", "InputTensor", "datatype_of", "decode", "encode"]

DATATYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in DATATYPES.items()}
_MOST_DIMENSIONS = 4

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

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[InputTensor], Field(min_length=1)]
    outputs: list[RequestedOutput] | None = None

    def wants_bytes(self, output: str) -> bool:
        """Whether an output is to come as bytes behind the JSON."""
        everything = bool(self.parameters.get("binary_data_output", False))
        asked = {out.name: out.parameters for out in self.outputs or ()}
        return bool(asked.get(output, {}).get("binary_data", everything))

    def arrays(self, behind: bytes) -> dict[str, NDArray[Any]]:
        """All inputs; raises DataError when values and shapes do not fit."""
        found, start = {}, 0
        for tensor in self.inputs:
            size = tensor.parameters.get("binary_data_size")
            if size is None:
                found[tensor.name] = decode(tensor)
                continue
            if not isinstance(size, int) or not 0 <= size <= len(behind) - start:
                raise DataError(f"input {tensor.name!r}: there are not {size} bytes for it.")
            found[tensor.name] = _from_bytes(tensor, behind[start : start + size])
            start += size
        if len(found) < len(self.inputs):
            raise DataError("two inputs have the same name.")
        return found


def datatype_of(values: NDArray[Any]) -> str:
    """What the protocol calls the type of an array."""
    return _NAMES.get(values.dtype.newbyteorder("="), "BYTES")


def decode(tensor: InputTensor) -> NDArray[Any]:
    """Values of an input out of JSON, nested or flat; null is a missing one."""
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
    return _shaped(tensor, values)


def _numbers(tensor: InputTensor, code: str) -> NDArray[Any]:
    """Numbers as they came; text that looks like one is none."""
    plain = np.asarray(tensor.data)
    if plain.dtype.kind in "biuf":
        return plain
    if np.dtype(code).kind != "f" or plain.dtype.kind != "O":
        raise ValueError
    return np.array([np.nan if v is None else _number(v) for v in _flat(tensor.data or [])])


def _exactly(numbers: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """In a type; whole numbers must not change on the way."""
    with np.errstate(all="ignore"):
        values = numbers.astype(dtype)
    if dtype.kind != "f" and not (values == numbers).all():
        raise ValueError
    return values


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError


def _flat(values: list[Any]) -> list[Any]:
    """Out of lists in lists, no deeper than tensors are."""
    for _ in range(_MOST_DIMENSIONS):
        if not any(isinstance(value, list) for value in values):
            break
        values = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return values


def _texts(values: list[Any]) -> list[str | None]:
    flat = _flat(values)
    if not all(value is None or isinstance(value, str) for value in flat):
        raise TypeError
    return flat


def _code(tensor: InputTensor) -> str | None:
    """NumPy's code of the type; None for text."""
    if tensor.datatype == "BYTES":
        return None
    if tensor.datatype not in DATATYPES:
        known = ", ".join((*DATATYPES, "BYTES"))
        raise DataError(f"datatype {tensor.datatype[:40]!r} is not known: use one of {known}.")
    return DATATYPES[tensor.datatype]


def _shaped(tensor: InputTensor, values: NDArray[Any]) -> NDArray[Any]:
    if values.size != math.prod(tensor.shape):
        raise DataError(
            f"input {tensor.name!r} has {values.size} values and the shape {tensor.shape}."
        )
    return values.reshape(tensor.shape)


def _from_bytes(tensor: InputTensor, raw: bytes) -> NDArray[Any]:
    code = _code(tensor)
    if code is None:
        return _shaped(tensor, np.array(_split(tensor.name, raw), dtype=object))
    if len(raw) != math.prod(tensor.shape) * np.dtype(code).itemsize:
        raise DataError(f"input {tensor.name!r} has {len(raw)} bytes and the shape {tensor.shape}.")
    return np.frombuffer(raw, code).reshape(tensor.shape)


def _split(name: str, raw: bytes) -> list[str]:
    """Texts, each behind its length."""
    texts, start = [], 0
    try:
        while start < len(raw):
            (length,) = struct.unpack_from("<I", raw, start)
            start += 4 + length
            if start > len(raw):
                raise DataError(f"input {name!r} ends in the middle of a text.")
            texts.append(raw[start - length : start].decode())
    except (struct.error, UnicodeDecodeError):
        raise DataError(f"input {name!r} is no list of UTF-8 texts with their lengths.") from None
    return texts


def encode(name: str, values: NDArray[Any], binary: bool) -> tuple[dict[str, Any], bytes]:
    """An output, and its bytes if it is to come as such.

    Parameters
    ----------
    name : str
    values : ndarray
        Numbers, booleans or text.
    binary : bool
    """
    tensor: dict[str, Any] = {
        "name": name, "datatype": datatype_of(values), "shape": list(values.shape),
    }  # fmt: skip
    if not binary:
        tensor["data"] = _finite(values.ravel())
        return tensor, b""
    raw = _to_bytes(values)
    tensor["parameters"] = {"binary_data_size": len(raw)}
    return tensor, raw


def _finite(values: NDArray[Any]) -> list[Any]:
    """JSON has no NaN: null says that there is no number."""
    plain: list[Any] = values.tolist()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return [v if math.isfinite(v) else None for v in plain]
    return [str(v) for v in plain] if values.dtype.kind in "OU" else plain


def _to_bytes(values: NDArray[Any]) -> bytes:
    if values.dtype in _NAMES:
        return values.tobytes()
    texts = [str(value).encode() for value in values.ravel().tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
