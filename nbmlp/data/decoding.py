"""Text files as text: a mark at their beginning names the encoding, else it is UTF-8, else ask."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from encodings.aliases import aliases
from pathlib import Path
from typing import TextIO

from nbmlp.data.files import HEAD_BYTES, marked_encoding, open_binary, unmarked_utf16
from nbmlp.errors import DataError

__all__ = ["known_encoding", "open_text"]

#: Encodings that have several names; those that have one only write no tables (punycode, escapes).
_ENCODINGS = {*aliases.values()} - {
    "base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec",
    "zlib_codec",
}  # fmt: skip
#: What a file most likely is that is not UTF-8, and the bytes shown around one that says so.
_LIKELY, _AROUND = "cp1252", 12
_PIECE = 1 << 16


def known_encoding(name: str) -> str:
    """Python's name for an encoding of text; raises DataError when there is none such."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).removesuffix("_sig")
    python = aliases.get(plain, plain)
    if python not in _ENCODINGS:
        raise DataError(
            f"encoding={name[:40]!r} is not known: give e.g. utf-8, cp1252, latin-1 or utf-16-le."
        )
    return codecs.lookup(python).name


@contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[TextIO]:
    """Open a text file, gzip or not; only ``\\n`` ends a line, and nothing is translated.

    Parameters
    ----------
    path : Path
    encoding : str, optional
        As :func:`known_encoding` has it. A mark at the file's beginning goes first and must not
        contradict; without either it is UTF-8.

    Raises
    ------
    DataError
        While it is read: bytes that the encoding does not have (byte and line are named), or a
        mark of another one.
    """
    with open_binary(path) as stream:
        head = stream.read(HEAD_BYTES)
        found, skip = _chosen(head, encoding, path)
        stream.seek(skip)
        try:
            with io.TextIOWrapper(stream, found, newline="\n") as text:
                yield text
        except UnicodeDecodeError:
            raise _undecodable(path, found, skip, encoding is not None) from None


def _chosen(head: bytes, encoding: str | None, path: Path) -> tuple[str, int]:
    """The encoding, and how many bytes its mark takes."""
    marked = marked_encoding(head)
    if marked is not None:
        name, length = marked
        if encoding not in (None, name, name[:6]):
            raise DataError(
                f"{path} begins with the mark of {name}: leave encoding={encoding!r} out."
            )
        return name, length
    guess = unmarked_utf16(head)
    if encoding in ("utf-16", "utf-32") or (encoding is None and guess):
        guess = guess or f"{encoding}-le"
        raise DataError(
            f"{path} lacks the mark that tells the order of bytes in {guess[:6]}: say so with"
            f" encoding={guess!r} (--encoding {guess})."
        )
    return encoding or "utf-8", 0


def _undecodable(path: Path, encoding: str, skip: int, given: bool) -> DataError:
    """The sentence for a file that `encoding` does not fit."""
    line, raw, place = _find(path, encoding, skip)
    called = "UTF-8" if encoding == "utf-8" else encoding
    bad = f"{path}, line {line}: the byte 0x{raw[place]:02X} is not {called}"
    shown = None if given or encoding != "utf-8" else _word(raw, place)
    if shown is None:
        return DataError(f"{bad}: name the file's encoding with encoding= (--encoding).")
    return DataError(
        f"{bad}: name the file's encoding, most likely encoding={_LIKELY!r} (--encoding {_LIKELY}),"
        f" in which this is {shown!r}."
    )


def _find(path: Path, encoding: str, skip: int) -> tuple[int, bytes, int]:
    """Line of the first byte that cannot be decoded, bytes around it, and its place in them."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with open_binary(path) as stream:
        stream.seek(skip)
        try:
            while piece := stream.read(_PIECE):
                line += decoder.decode(piece).count("\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "ignore")
            return line + before.count("\n"), error.object, error.start
    raise DataError(f"{path} has changed while it was read: try again.")


def _word(raw: bytes, place: int) -> str | None:
    """The letters around a byte, as the likely encoding has them; None if it has not."""
    try:
        before = raw[max(0, place - _AROUND) : place].decode(_LIKELY)
        after = raw[place : place + _AROUND].decode(_LIKELY)
    except UnicodeDecodeError:
        return None
    begin, end = re.search(r"\w*$", before), re.compile(r"\w*").match(after, 1)
    return (begin[0] if begin else "") + after[0] + (end[0] if end else "")
