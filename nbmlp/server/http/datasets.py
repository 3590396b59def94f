"""Data sets: a file streams in, is read in a process of its own, and becomes rows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path as File
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from nbmlp.data.layout import Dialect
from nbmlp.errors import DataError
from nbmlp.server.http.context import After, Asker, Context, Identifier, Limit, Listing, Owner
from nbmlp.server.http.errors import problems
from nbmlp.server.intake.reader import RefusedFileError, read_upload
from nbmlp.server.ports import Dataset, DatasetSummary, NoSpaceError, Service
from nbmlp.server.space import is_full

__all__ = ["router"]

_MB = 1 << 20
#: Neither "." nor "..", without slashes and control characters.
_LABEL = r"^(\.{0,2}[^.\x00-\x1f\x7f/\\]|\.{3})[^\x00-\x1f\x7f/\\]*$"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
Label = Annotated[
    str,
    Path(
        max_length=200, description="A label.", examples=["houses.csv"],
        json_schema_extra={"pattern": _LABEL},  # in the document only: ours is the better message
    ),
]  # fmt: skip


def _told(
    decimal: Annotated[
        str | None, Query(max_length=1, description="Decimal mark of a .csv: `.` or `,`.")
    ] = None,
    encoding: Annotated[
        str | None,
        Query(max_length=40, description="Of a .csv that is not UTF-8, e.g. cp1252."),
    ] = None,
    separator: Annotated[
        str | None, Query(max_length=3, description="Between the fields of a .csv, or `tab`.")
    ] = None,
) -> Dialect:
    """How a .csv is written; a form's empty fields tell nothing."""
    try:
        return Dialect(decimal or None, encoding or None, separator or None)
    except DataError as error:
        raise HTTPException(422, str(error)) from None


Told = Annotated[Dialect, Depends(_told)]


def router(context: Context) -> APIRouter:
    """Routes below ``/v1/datasets``."""
    service = context.service
    routes = APIRouter(prefix="/v1/datasets", tags=["datasets"])

    @routes.put(
        "/{dataset}", operation_id="upload_dataset", status_code=201, openapi_extra=_BODY,
        responses=problems(408, 413, 415, 507),
    )  # fmt: skip
    async def upload(
        dataset: Label, request: Request, owner: Owner, who: Asker, dialect: Told
    ) -> Dataset:
        """Send a .csv, .csv.gz, .parquet, .npy, .npz or .mat file (version 5 to 7) as it is.

        The answer has its columns, missing values, first rows and a guess at the target. The
        same content is stored once; the name is a label only. How a .csv is written is found out,
        or told with decimal, encoding and separator.
        """
        if not re.fullmatch(_LABEL, dataset):
            raise HTTPException(422, "the name has characters that a label cannot have.")
        with context.uploads.hold(who.party, who.token.uploads):
            async with _scratch(service) as (raw, out):
                await _receive(request, raw, context)
                async with context.parsers.hold(who.party):
                    return await run_in_threadpool(
                        _take, raw, out, dataset, owner, context, dialect
                    )

    @routes.get("", operation_id="list_datasets", responses=problems())
    def listed(after: After = None, limit: Limit = 50) -> Listing[DatasetSummary]:
        """Data sets in short, newest first."""
        return Listing.of(service.list_datasets(after, limit))

    @routes.get("/{dataset}", operation_id="get_dataset", responses=problems(404))
    def get(dataset: Identifier) -> Dataset:
        """One data set, with its columns and first rows."""
        return service.get_dataset(dataset)

    @routes.delete(
        "/{dataset}", operation_id="delete_dataset", status_code=204,
        responses=problems(404, 409),
    )  # fmt: skip
    def delete(dataset: Identifier) -> None:
        """Remove a data set that no job needs any more."""
        service.delete_dataset(dataset)

    return routes


@asynccontextmanager
async def _scratch(service: Service) -> AsyncIterator[tuple[File, File]]:
    """Names of two files that are gone in the end, whatever happens."""
    # In a thread: the service measures its folder.
    raw = await run_in_threadpool(service.upload_path)
    out = await run_in_threadpool(service.upload_path)
    try:
        yield raw, out
    finally:
        for path in (raw, out):
            service.discard_upload(path)


async def _receive(request: Request, raw: File, context: Context) -> None:
    """Write the body to `raw`, within the limits of bytes, time and space."""
    settings = context.settings
    most = settings.upload_mb * _MB
    length = 0
    with suppress(ValueError):
        length = int(request.headers.get("content-length", ""))
        _check_size(length, most)
    promise = partial(context.service.promise_space, raw)
    try:
        async with asyncio.timeout(settings.upload_seconds):
            with await run_in_threadpool(raw.open, "xb") as file:
                await _write(request.stream(), file, most, length, promise)
    except TimeoutError:
        text = f"the upload took longer than {settings.upload_seconds:g} s."
        raise HTTPException(408, text) from None
    except ClientDisconnect:
        raise HTTPException(400, "the upload ended too early.") from None
    except OSError as error:
        if is_full(error):
            raise NoSpaceError("the disk is full: delete data sets or models.") from None
        raise


async def _write(
    stream: AsyncIterator[bytes],
    file: BinaryIO,
    most: int,
    length: int,
    promise: Callable[[int], None],
) -> None:
    """Write what comes: no more than was promised, which is `length` or, unknown, rises."""
    size, promised, pending = 0, length, bytearray()
    await run_in_threadpool(promise, length)
    async for piece in stream:
        size += len(piece)
        _check_size(size, most)
        pending += piece
        if size > promised:
            promised = min(2 * size + _MB, most)
            await run_in_threadpool(promise, promised)
        if len(pending) >= _MB:
            await run_in_threadpool(file.write, bytes(pending))
            pending.clear()
    await run_in_threadpool(file.write, bytes(pending))
    await run_in_threadpool(file.flush)
    await run_in_threadpool(promise, size)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise RefusedFileError(f"the file is larger than {most // _MB} MB.", 413)


def _take(
    raw: File, out: File, name: str, owner: str, context: Context, dialect: Dialect
) -> Dataset:
    room = context.service.promise_space
    parsed = read_upload(raw, out, name, context.settings, room, dialect)
    return context.service.add_dataset(replace(parsed, owner=owner))
