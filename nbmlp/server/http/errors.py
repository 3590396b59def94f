"""Every error as ``{"error": sentence}`` with its status; of a body also what is wrong where."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.responses import JSONResponse

from nbmlp.errors import NbmlpError
from nbmlp.server.http.limits import TooManyError
from nbmlp.server.http.schema import allowed_methods
from nbmlp.server.intake.reader import RefusedFileError
from nbmlp.server.jobs.spec import Hyper
from nbmlp.server.ports import (
    ConflictError,
    KeyReusedError,
    NoSpaceError,
    NotFoundError,
    QueueFullError,
    ServiceError,
)
from nbmlp.server.strict_json import MalformedError

__all__ = ["Problem", "RefusedError", "add_handlers", "answer", "problems"]

#: The first that fits; errors of the library (data, settings) are 422.
_STATUS: dict[type[Exception], int] = {
    MalformedError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    KeyReusedError: 422,
    QueueFullError: 429,
    TooManyError: 429,
    NoSpaceError: 507,
    ServiceError: 503,  # the database is locked or cannot be used
}
#: Worth another try, and after how many seconds.
_LATER = {429: 5, 503: 5}
_WHEN = {
    400: "Bad request.",
    401: "No token, or one that is not known.",
    403: "A browser's request from another page.",
    404: "There is nothing of that name.",
    408: "The body took too long.",
    409: "Not in this state.",
    413: "Too large.",
    415: "A file of a kind that is not taken.",
    422: "Something in the request is wrong.",
    429: "Too many requests, or too much is waiting: try again after Retry-After seconds.",
    503: "The database cannot be used: try again after Retry-After seconds.",
    507: "No space left.",
}
_FEW_PROBLEMS = 5
_NO_JSON = "json_invalid"  # its place is a number of characters


class RefusedError(Exception):
    """Not allowed: how to answer.

    Parameters
    ----------
    status : int
    message : str
    **headers
        With ``_`` for ``-``.
    """

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Problem(BaseModel):
    """What was wrong, where, and what to do."""

    error: str = Field(examples=["there is no job 01J9ZC4N3V0000000000000000."])
    fields: dict[str, str] | SkipJsonSchema[None] = Field(
        default=None, description="Of a body: what is wrong with each field, by its path.",
        examples=[{"model.epochs": "Input should be greater than or equal to 1"}],
    )  # fmt: skip


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the documentation: the errors that a route may answer with, besides those of all."""
    return {
        status: {"model": Problem, "description": _WHEN[status]}
        for status in sorted({*statuses, 400, 401, 403, 422, 429, 503})
    }


def _status(error: NbmlpError) -> int:
    if isinstance(error, RefusedFileError):
        return error.status
    return next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 422)


def answer(error: NbmlpError) -> JSONResponse:
    """What a client is told of an error that the server or the library names."""
    status = _status(error)
    wait = getattr(error, "retry_after", _LATER.get(status))
    headers = None if wait is None else {"Retry-After": str(wait)}
    said: dict[str, Any] = {"error": _printable(str(error))}
    if field := getattr(error, "field", ""):
        said["fields"] = {field: said["error"]}
    return JSONResponse(said, status, headers)


def _say(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NbmlpError)
    return answer(error)


def _say_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PlainHTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405 and (allowed := allowed_methods(request.app, request.url.path)):
        headers["Allow"] = allowed
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers)


def _place(found: dict[str, Any]) -> str:
    """The path of a field; of a setting that only the library knows to be wrong, its name."""
    # Of types that have alternatives, pydantic puts in their names, e.g. "constrained-str".
    path = ".".join(part for part in map(str, found["loc"][1:]) if re.fullmatch(r"\w+", part))
    if path == "model" and found["type"] == "value_error":
        words = set(re.findall(r"\w+", found["msg"]))
        named = [name for name in Hyper.model_fields if name in words]
        return f"model.{named[0]}" if len(named) == 1 else path
    return path


def _message(found: dict[str, Any]) -> str:
    return str(found["msg"]).removeprefix("Value error, ")


def _say_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    parts = [f"{_place(found) or found['loc'][0]}: {_message(found)}" for found in errors]
    more = f" (and {len(parts) - _FEW_PROBLEMS} more)" if len(parts) > _FEW_PROBLEMS else ""
    said: dict[str, Any] = {"error": _printable("; ".join(parts[:_FEW_PROBLEMS]) + more)}
    wrong = [f for f in errors[:_FEW_PROBLEMS] if f["loc"][0] == "body" and f["type"] != _NO_JSON]
    if fields := {_printable(_place(f)): _printable(_message(f)) for f in wrong if _place(f)}:
        said["fields"] = fields
    return JSONResponse(said, 422)


def _printable(text: str) -> str:
    """Half a surrogate pair cannot be sent."""
    return text.encode("utf-8", "replace").decode()


def add_handlers(app: FastAPI) -> None:
    """Let every error of the application be answered in the same way."""
    app.add_exception_handler(NbmlpError, _say)
    app.add_exception_handler(PlainHTTPException, _say_http)
    app.add_exception_handler(HTTPException, _say_http)
    app.add_exception_handler(RequestValidationError, _say_invalid)
