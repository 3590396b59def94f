"""What an uploaded file claims, checked before anything is allocated for it.

Headers are read here, sizes are compared with the file's and with the limits; the library's readers
come after. All of it runs in the confined process: what these checks miss meets its limits.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nbmlp.data.files import detect_format, is_gzip, open_binary, reading
from nbmlp.data.layout import Dialect, guess_layout
from nbmlp.data.mat73 import is_mat73
from nbmlp.errors import DataError

__all__ = ["Limits", "TooLargeError", "UnsupportedFileError", "check"]

_MB = 1 << 20
_ACCEPTED = "send .csv (or .csv.gz), .parquet, .npy, .npz or .mat (version 5 to 7)"
#: NumPy writes less than 200 bytes.
_NPY_HEADER = 10_000
_MEMBERS = 64
#: Deflate reaches 1032; below this size even that does no harm.
_RATIO, _HARMLESS = 200, 64 * _MB
_MAT_COMPRESSED = 15
_PIECE = 1 << 16


class UnsupportedFileError(DataError):
    """A file of a kind that the server does not read (HTTP 415)."""


class TooLargeError(DataError):
    """A file that is, or claims to be, larger than the limits allow (HTTP 413)."""


@dataclass(frozen=True)
class Limits:
    """What a file may ask for.

    Attributes
    ----------
    expanded_mb : int
        Its contents, unpacked.
    columns : int
    memory_mb : int
        Of the process that reads it.
    seconds : float
        For reading it.
    """

    expanded_mb: int
    columns: int
    memory_mb: int
    seconds: float

    def check_bytes(self, size: int, what: str) -> None:
        """Raise TooLargeError when `what` takes more bytes than allowed."""
        if size > self.expanded_mb * _MB:
            raise TooLargeError(
                f"{what} takes {size / _MB:,.0f} MB unpacked; at most {self.expanded_mb} MB are"
                " taken."
            )

    def check_columns(self, columns: int, what: str) -> None:
        """Raise TooLargeError when there are more columns than allowed."""
        if columns > self.columns:
            raise TooLargeError(f"{what} has {columns} columns; at most {self.columns} are taken.")


def check(path: Path, limits: Limits, dialect: Dialect) -> str:
    """Refuse a file that is of no accepted kind, lies about its size or asks for too much.

    Parameters
    ----------
    path : Path
        Without an ending: the content alone says what it is.
    limits : Limits
    dialect : Dialect
        What is told about a text table.

    Returns
    -------
    str
        ``"csv"``, ``"npy"``, ``"npz"``, ``"mat"`` or ``"parquet"``.

    Raises
    ------
    UnsupportedFileError, TooLargeError, DataError
        In one sentence.
    """
    kind = _kind(path, dialect)
    if is_gzip(path):
        if kind not in (None, "text"):
            raise UnsupportedFileError(f"{path} is packed with gzip: unpack it first.")
        _check_packed(path, limits)
    if kind != "text" and kind not in _CHECKS:
        raise UnsupportedFileError(f"{path} is a file of a kind that is not taken: {_ACCEPTED}.")
    if kind == "text":
        limits.check_columns(len(guess_layout(path, dialect=dialect).names), str(path))
        return "csv"
    _CHECKS[kind](path, limits)
    return kind


def _kind(path: Path, dialect: Dialect) -> str | None:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")
    with reading(path):
        try:
            return detect_format(path, text=dialect.encoding is not None)
        except DataError:
            return None


def _check_packed(path: Path, limits: Limits) -> None:
    """Unpack it once, counting: its readers do so again, and stop nowhere."""
    count, most = 0, max(_HARMLESS, _RATIO * path.stat().st_size)
    with reading(path), open_binary(path) as stream:
        while piece := stream.read(_PIECE):
            count += len(piece)
            limits.check_bytes(count, str(path))
            if count > most:
                raise TooLargeError(
                    f"{path} unpacks to more than {_RATIO} times its size: send it unpacked."
                )


def _check_npy(path: Path, limits: Limits) -> None:
    with path.open("rb") as stream:
        _check_array(stream, path.stat().st_size, limits, str(path))


def _check_array(stream: IO[bytes], size: int, limits: Limits, what: str) -> None:
    """The header of an array of `size` bytes in all: no objects, and as large as it says."""
    shape, dtype = _array_header(stream, what)
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects, which are never loaded: save an array of numbers."
        )
    declared = math.prod(shape) * dtype.itemsize
    limits.check_bytes(declared, what)
    if min(shape, default=0) < 0 or stream.tell() + declared != size:
        raise DataError(f"{what} is truncated or damaged: save or fetch it again.")
    if len(shape) > 1:
        limits.check_columns(math.prod(shape[1:]), what)


def _array_header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = readers[version](stream, max_header_size=_NPY_HEADER)
    except Exception:  # a hostile header meets a parser of Python literals: anything can come
        raise DataError(f"{what} has no header that can be read: save it again.") from None
    return shape, dtype


def _check_npz(path: Path, limits: Limits) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members, limits)
            for member in members:
                with archive.open(member) as stream:
                    what = f"{path}[{member.filename.removesuffix('.npy')}]"
                    _check_array(stream, member.file_size, limits, what)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        OSError,
        ValueError,
    ) as e:
        if isinstance(e, DataError):
            raise
        raise DataError(f"{path} is truncated or damaged: save or fetch it again.") from None


def _check_members(path: Path, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(members) > _MEMBERS:
        raise TooLargeError(f"{path} has {len(members)} members; at most {_MEMBERS} are taken.")
    if len({member.filename for member in members}) < len(members):
        raise DataError(f"{path} has two members of one name: save it again.")
    for member in members:
        if not member.filename.endswith(".npy"):
            raise UnsupportedFileError(f"{path} is a zip file of other things than arrays.")
        if member.flag_bits & 1:
            raise UnsupportedFileError(f"{path} is encrypted: save it without a password.")
        if member.file_size > max(_HARMLESS, _RATIO * member.compress_size):
            raise TooLargeError(
                f"{path} unpacks to more than {_RATIO} times its size: save it uncompressed."
            )
    limits.check_bytes(sum(member.file_size for member in members), str(path))


def _check_mat(path: Path, limits: Limits) -> None:
    """Unpack each compressed variable, count its bytes, keep none of them."""
    if is_mat73(path):
        raise UnsupportedFileError(
            f"{path} is a MATLAB file of version 7.3: save it with -v7, or as .csv."
        )
    total, size = 0, path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(128)
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None:
            raise DataError(f"{path} is no MATLAB file of version 5: save it again with -v7.")
        while len(tag := stream.read(8)) == 8:
            kind, length = struct.unpack(f"{order}II", tag)
            if stream.tell() + length > size:
                raise DataError(f"{path} is truncated: save or fetch it again.")
            if kind == _MAT_COMPRESSED:
                total += _unpacked(stream, length, path, limits, total)
            else:
                stream.seek(length, 1)
                total += length
            limits.check_bytes(total, str(path))


def _unpacked(stream: IO[bytes], length: int, path: Path, limits: Limits, before: int) -> int:
    """Bytes that a compressed variable has; stops at the limit."""
    unpacker, count, left = zlib.decompressobj(), 0, length
    while left:
        piece = stream.read(min(left, _PIECE))
        left -= len(piece)
        while piece:
            try:
                count += len(unpacker.decompress(piece, 16 * _PIECE))
            except zlib.error:
                raise DataError(f"{path} is damaged: save or fetch it again.") from None
            piece = unpacker.unconsumed_tail
            limits.check_bytes(before + count, str(path))
        if count > max(_HARMLESS, _RATIO * length):
            raise TooLargeError(
                f"{path} unpacks to more than {_RATIO} times its size: save it with -v6."
            )
    return count


def _check_parquet(path: Path, limits: Limits) -> None:
    import polars as pl

    try:
        names = list(pl.read_parquet_schema(path))
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    except pl.exceptions.PolarsError:
        raise DataError(f"{path} is truncated or damaged: save or fetch it again.") from None
    limits.check_columns(len(names), str(path))
    limits.check_bytes(rows * len(names) * 8, str(path))


_CHECKS = {
    "npy": _check_npy,
    "npz": _check_npz,
    "mat": _check_mat,
    "parquet": _check_parquet,
}
