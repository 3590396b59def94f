"""Named arrays and metadata in one safetensors file that notices damage.

The format is described in docs/model-file.md. The file is written here, in pieces, rather
than by the safetensors package (0.8): its ``save`` holds two extra copies of all arrays and mangles
strided ones, and its ``save_file`` renames over whatever `path` is and hides the system's error
number. It is read back by that package, so a foreign, hostile header meets a checked parser.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import __version__
from nbmlp.errors import ModelFileError, unknown_name
from nbmlp.io.atomic import atomic_write, save_failure
from nbmlp.io.metadata import decode, encode

__all__ = [
    "FORMAT_VERSION", "is_archive", "read", "size_of", "stored_array", "stored_digest",
    "stored_kind", "write",
]  # fmt: skip

FORMAT_VERSION = 2

_KINDS = {
    "model": "load it with MLP.load(path)",
    "checkpoint": "continue from it with fit(X, y, resume=path)",
    "replay": "repeat its update with nbmlp.replay(path)",
    "tabular model": "load it with nbmlp.load(path)",
    "tabular checkpoint": "continue from it with fit(X, y, resume=path)",
    "dataset": "it belongs to a training server",
}
_CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
}  # fmt: skip
_LARGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors format
_BLANK = "0" * 64  # in place of the digest while the digest is computed
_PIECE = 1 << 20  # bytes

_Path = str | os.PathLike[str]


def write(
    path: _Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any], *, kind: str
) -> None:
    """Save arrays and metadata; the file at `path` is replaced whole or not at all.

    Beside the arrays this takes 1 MB, and a copy of those arrays that are strided or
    big-endian. The same content gives the same bytes under the same package versions.

    Parameters
    ----------
    path : str or path-like
        File to write, usually ``*.safetensors``.
    arrays : mapping of str to ndarray
        Any shape, 0-d and empty included; float16/32/64, integers or bool.
    metadata : mapping of str to value
        See :func:`nbmlp.io.metadata.encode`.
    kind : {"model", "checkpoint", "replay", "tabular model", "tabular checkpoint", "dataset"}
        What the file is; :func:`read` has to be told the same.

    Raises
    ------
    ModelFileError
        If something cannot be stored, or the system refuses: disk full, no permission.
    """
    if kind not in _KINDS:
        raise unknown_name("kind", kind, _KINDS)
    plain = {name: _little_endian(name, arrays[name]) for name in arrays}
    names = _order(plain)
    head = _head(plain, names, encode(metadata), kind)
    try:
        with atomic_write(path) as file:
            digest = hashlib.sha256()
            for piece in _pieces(head, [plain[name] for name in names]):
                digest.update(piece)
                file.write(piece)
            file.seek(head.index(_BLANK.encode()))
            file.write(digest.hexdigest().encode())
    except OSError as error:
        raise ModelFileError(save_failure(path, error)) from error


def size_of(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any], *, kind: str) -> int:
    """Bytes of the file that :func:`write` would make of these, without copying any of them."""
    head = _head(arrays, _order(arrays), encode(metadata), kind)
    return len(head) + sum(array.nbytes for array in arrays.values())


def read(path: _Path, *, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Load what :func:`write` saved; nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        File to read.
    kind : {"model", "checkpoint", "replay", "tabular model", "tabular checkpoint", "dataset"}
        What the caller needs.

    Returns
    -------
    arrays : dict of str to ndarray
        Writable, owned by the caller, of the dtypes and shapes that were saved.
    metadata : dict
        Tuples come back as lists.

    Raises
    ------
    ModelFileError
        If the file is missing or unreadable, not safetensors, not ours, damaged or cut short,
        of a newer format, or of another kind.
    """
    if kind not in _KINDS:
        raise unknown_name("kind", kind, _KINDS)
    raw, size = _content(path)
    entries = _entries(path, raw[8 : 8 + size])
    # Before anything is believed, so that damage is never reported as something else. The
    # rule for the digest is therefore the same in every format version.
    _check_digest(path, raw, size, entries.get("sha256", ""))
    _check_version(path, entries)
    _check_kind(path, entries.get("kind", ""), kind)
    return _arrays(path, raw), _metadata(path, entries.get("metadata", ""))


def stored_kind(path: _Path) -> str:
    """What a file is, as its header says; raises ModelFileError if it is none of ours."""
    raw, size = _content(path)
    return _entries(path, raw[8 : 8 + size]).get("kind", "")


def is_archive(path: _Path) -> bool:
    """Whether a file is named as ours usually are, or begins as they do."""
    if os.fspath(path).endswith(".safetensors"):
        return True
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            start = file.read(9)
    except (OSError, ValueError):  # whoever reads it will say so
        return False
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER


def stored_digest(path: _Path) -> str:
    """The SHA-256 that the file bears, in hex; only :func:`read` compares it with the content."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(min(size, _LARGEST_HEADER))
    return _entries(path, header)["sha256"]


def stored_array(path: _Path, name: str) -> NDArray[Any] | None:
    """One array of a file, whose digest is not looked at; None if there is none of that name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return np.asarray(file.get_tensor(name)) if name in names else None
    except (OSError, SafetensorError):
        return None


def _order(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Largest items first keeps every array aligned, as the safetensors package does it."""
    return sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))


def _little_endian(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The array itself if it is C-contiguous and little-endian, else a copy that is."""
    if name == "__metadata__" or not name.isprintable():
        raise ModelFileError(f"an array cannot be stored under the name {name!r}: choose another.")
    array = np.asarray(array)
    if array.dtype.name not in _CODES:
        raise ModelFileError(
            f"array {name!r} has dtype {array.dtype}, which a model file cannot hold:"
            f" convert it to one of {', '.join(_CODES)}."
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _head(arrays: Mapping[str, NDArray[Any]], names: list[str], text: str, kind: str) -> bytes:
    """Length, header and padding of the file, with a blank for the digest."""
    entries = {
        "sha256": _BLANK,  # first, so that the first run of 64 zeros is this one
        "format": "nbmlp",
        "format_version": str(FORMAT_VERSION),
        "kind": kind,
        "nbmlp_version": __version__,
        "numpy_version": np.__version__,
        "numba_version": version("numba"),
        "metadata": text,
    }
    header: dict[str, Any] = {"__metadata__": entries}
    end = 0
    for name in names:
        array, start = arrays[name], end
        end += array.nbytes
        code = _CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": array.shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode("ascii")
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > _LARGEST_HEADER:
        raise ModelFileError(
            f"the metadata take {len(encoded)} bytes and a model file holds at most"
            f" {_LARGEST_HEADER}: store long lists as arrays."
        )
    return len(encoded).to_bytes(8, "little") + encoded


def _pieces(head: bytes, arrays: list[NDArray[Any]]) -> Iterator[bytes]:
    """The file's bytes in copies of at most a megabyte.

    Copies, so that the digest belongs to the bytes written even if another thread changes
    the array meanwhile.
    """
    yield head
    for array in arrays:
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _PIECE):
            yield flat[start : start + _PIECE].tobytes()


def _content(path: _Path) -> tuple[bytes, int]:
    """All bytes of a file that starts like safetensors, and the length of its header.

    Read through one handle, so that a replacement meanwhile cannot mix two files.
    """
    try:
        # Asked first, because opening a pipe would wait for its other end.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
            raise _refusal(path, f"it is {what}; give the name of a file")
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            start = file.read(9)
            size = int.from_bytes(start[:8], "little")
            if start[8:] != b"{" or not 2 <= size <= min(length - 8, _LARGEST_HEADER):
                raise _refusal(path, "it is not a safetensors file, or it is cut short")
            file.seek(0)
            return file.read(), size
    except (OSError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise _refusal(path, f"{reason}; check the name and the permissions") from error


def _entries(path: _Path, header: bytes) -> dict[str, str]:
    """The header's ``__metadata__`` if it bears our mark."""
    try:
        entries = json.loads(header.decode("utf-8"))["__metadata__"]
    except (ValueError, KeyError, RecursionError):
        entries = None
    ours = isinstance(entries, dict) and entries.get("format") == "nbmlp"
    if not ours or not all(isinstance(value, str) for value in entries.values()):
        raise _refusal(path, "it was not saved by nbmlp, or its header is damaged")
    return dict(entries)


def _check_digest(path: _Path, raw: bytes, size: int, digest: str) -> None:
    computed = hashlib.sha256()
    if re.fullmatch("[0-9a-f]{64}", digest):
        computed.update(raw[: 8 + size].replace(digest.encode(), _BLANK.encode(), 1))
        computed.update(memoryview(raw)[8 + size :])
    if computed.hexdigest() != digest:
        raise _refusal(
            path, "it is damaged or cut short (its SHA-256 does not match); use another copy of it"
        )


def _check_version(path: _Path, entries: dict[str, str]) -> None:
    found = entries.get("format_version", "")
    if not re.fullmatch("[1-9][0-9]{0,8}", found):
        raise _refusal(path, f"its format version {found[:40]!r} is not a number")
    if int(found) > FORMAT_VERSION:
        raise _refusal(
            path,
            f"its format version {found} is newer than {FORMAT_VERSION}, the last that nbmlp"
            f" {__version__} knows; upgrade nbmlp",
        )


def _check_kind(path: _Path, found: str, kind: str) -> None:
    if found == kind:
        return
    if found in _KINDS:
        raise _refusal(path, f"it is a {found}, not a {kind}; {_KINDS[found]}")
    raise _refusal(path, f"it is of the unknown kind {found[:40]!r}, not a {kind}")


def _arrays(path: _Path, raw: bytes) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(raw)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype NumPy lacks
        raise _refusal(path, f"its arrays are not described properly ({error})") from error


def _metadata(path: _Path, text: str) -> dict[str, Any]:
    try:
        return decode(text)
    except ValueError as error:
        raise _refusal(path, f"its metadata are not proper JSON ({error})") from error


def _refusal(path: _Path, reason: str) -> ModelFileError:
    return ModelFileError(f"cannot read {os.fspath(path)}: {reason}.")
