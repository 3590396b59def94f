"""Models: list, download, delete; predictions by the Open Inference Protocol, version 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.responses import FileResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

import nbmlp
from nbmlp.errors import DataError
from nbmlp.server.http.context import After, Context, Identifier, Limit, Listing
from nbmlp.server.http.errors import problems
from nbmlp.server.http.schema import INFER_BODY
from nbmlp.server.http.serving import Arrays, Kept, ServedModel
from nbmlp.server.http.tensors import InferRequest, encode
from nbmlp.server.labels import file_name
from nbmlp.server.ports import Model, ModelSummary, NotFoundError

__all__ = ["inference", "router"]

_JSON_LENGTH = "Inference-Header-Content-Length"
_VERSION = "1"
#: Bytes of a request, or of its rows, that take as long as others can be let wait: some 0.5 ms.
_LONG = 1 << 16
Found = TypeVar("Found")


class Tensor(BaseModel):
    """Name, type and shape of a tensor; -1 stands for any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ServerMetadata(BaseModel):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class OutputTensor(Tensor):
    """One output, row by row."""

    data: list[Any]


class InferResponse(BaseModel):
    """Predictions."""

    id: str | None = None
    model_name: str
    model_version: str
    parameters: dict[str, str] = Field(
        default={},
        description="unknown: which texts are no categories that the model knows; they count as"
        " unknown. Left out when there are none.",
    )
    outputs: list[OutputTensor]


def router(context: Context, kept: Kept) -> APIRouter:
    """Routes below ``/v1/models``."""
    service = context.service
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    @routes.get("", operation_id="list_models", responses=problems())
    def listed(after: After = None, limit: Limit = 50) -> Listing[ModelSummary]:
        """Models in short, newest first."""
        return Listing.of(service.list_models(after, limit))

    @routes.get("/{model_id}", operation_id="get_model", responses=problems(404))
    def get(model_id: Identifier) -> Model:
        """One model: its columns, classes, and evaluation with confusion or residuals."""
        return service.get_model(model_id)

    @routes.get(
        "/{model_id}/file", operation_id="download_model", response_class=FileResponse,
        responses={
            **problems(404),
            200: {"content": {"application/octet-stream": {}}, "description": "safetensors"},
        },
    )  # fmt: skip
    def file(model_id: Identifier) -> FileResponse:
        """The model as a safetensors file; ``nbmlp.MLP.load`` reads it."""
        name = file_name(service.get_model(model_id).name, ".safetensors")
        path = service.model_path(model_id)
        return FileResponse(path, media_type="application/octet-stream", filename=name)

    @routes.delete(
        "/{model_id}", operation_id="delete_model", status_code=204, responses=problems(404)
    )
    async def delete(model_id: Identifier) -> None:
        """Remove a model; its job stays."""
        await run_in_threadpool(service.delete_model, model_id)
        kept.drop(model_id)

    return routes


Name = Annotated[str, Path(description="The model's id.")]
Version = Annotated[str, Path(examples=["1"])]


def inference(kept: Kept) -> APIRouter:
    """Routes below ``/v2``."""
    routes = APIRouter(prefix="/v2", tags=["predictions"])

    @routes.get("", operation_id="server_metadata", responses=problems())
    def metadata() -> ServerMetadata:
        """Name, version and what is understood besides the protocol."""
        return ServerMetadata(
            name="nbmlp", version=nbmlp.__version__, extensions=["binary_tensor_data"]
        )

    _add_models(routes, kept)
    return routes


def _add_models(routes: APIRouter, kept: Kept) -> None:
    async def metadata(name: Name) -> ModelMetadata:
        """What a model takes and gives."""
        served = await kept.get(name)
        return ModelMetadata(
            name=name, versions=[_VERSION], platform="nbmlp",
            inputs=[Tensor(**tensor) for tensor in served.inputs],
            outputs=[Tensor(**tensor) for tensor in served.outputs],
        )  # fmt: skip

    async def ready(name: Name) -> dict[str, Any]:
        """Whether a model can be asked; loads it."""
        await kept.get(name)
        return {"name": name, "ready": True}

    async def infer(request: Request, name: Name) -> Response:
        """Predict rows."""
        served = await kept.get(name)
        body = await request.body()
        length = request.headers.get(_JSON_LENGTH)
        asked, rows, unknown = await _off(len(body), _read, served, length, body)
        found = await served.predict(rows)
        return await _off(rows.nbytes, _written, served, asked, found, unknown)

    for path, end, checks in (
        ("/models/{name}", "", []),
        ("/models/{name}/versions/{version}", "_version", [Depends(_check_version)]),
    ):
        some: dict[str, Any] = {"dependencies": checks, "responses": problems(404)}
        infer_only: dict[str, Any] = {
            "dependencies": checks, "openapi_extra": INFER_BODY, "response_model": None,
            "responses": {**problems(404, 408, 413), 200: {"model": InferResponse}},
        }  # fmt: skip
        routes.get(path, operation_id=f"model{end}_metadata", **some)(metadata)
        routes.get(f"{path}/ready", operation_id=f"model{end}_ready", **some)(ready)
        routes.post(f"{path}/infer", operation_id=f"model{end}_infer", **infer_only)(infer)


def _check_version(version: Version) -> None:
    if version != _VERSION:
        raise NotFoundError(f"there is no version {version[:40]!r}: the only one is {_VERSION}.")


def _parsed(length: str | None, body: bytes) -> tuple[InferRequest, bytes]:
    """The request, and what comes behind its JSON."""
    size = len(body)
    if length is not None:
        if not (length.isascii() and length.isdigit() and int(length) <= size):
            raise DataError(f"{_JSON_LENGTH} is no length of the JSON in this body.")
        size = int(length)
    try:
        return InferRequest.model_validate_json(body[:size]), body[size:]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise HTTPException(400, f"{where}: {first['msg']}") from None


async def _off(size: int, function: Callable[..., Found], *given: Any) -> Found:
    """Call it: in a thread when it has so many bytes to go through that others would wait."""
    return await run_in_threadpool(function, *given) if size > _LONG else function(*given)


def _read(
    served: ServedModel, length: str | None, body: bytes
) -> tuple[InferRequest, NDArray[Any], str]:
    """The request, its rows as the net takes them, and which texts it does not know."""
    asked, behind = _parsed(length, body)
    known = [output["name"] for output in served.outputs]
    for output in asked.outputs or ():
        if output.name not in known:
            wrong = output.name[:80]
            raise DataError(f"there is no output {wrong!r}: choose from {', '.join(known)}.")
    arrays = asked.arrays(behind)
    return asked, served.rows(arrays), served.unknown(arrays)


def _written(
    served: ServedModel, asked: InferRequest, found: Arrays, unknown: str = ""
) -> Response:
    wanted = [output.name for output in asked.outputs or ()] or found
    pairs = [encode(name, found[name], asked.wants_bytes(name)) for name in wanted]
    head: dict[str, Any] = {"model_name": served.model.id, "model_version": _VERSION}
    if asked.id is not None:
        head["id"] = asked.id
    if unknown:
        head["parameters"] = {"unknown": unknown}
    text = json.dumps({**head, "outputs": [tensor for tensor, _ in pairs]}).encode()
    raw = b"".join(raw for _, raw in pairs)
    if not raw:
        return Response(text, media_type="application/json")
    headers = {_JSON_LENGTH: str(len(text))}
    return Response(text + raw, media_type="application/octet-stream", headers=headers)
