"""Models: list, download, delete; predictions by the Open Inference Protocol, version 2."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

import nbmlp
from nbmlp.server.http.context import After, Context, Identifier, Limit, Listing
from nbmlp.server.http.errors import problems
from nbmlp.server.http.inference import VERSION, Predictions
from nbmlp.server.http.schema import INFER_BODY
from nbmlp.server.http.serving import Kept
from nbmlp.server.labels import file_name
from nbmlp.server.ports import Model, ModelSummary, NotFoundError

__all__ = ["inference", "router"]


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
        """The model as a safetensors file; ``nbmlp.load`` reads it."""
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


def inference(kept: Kept, predictions: Predictions) -> APIRouter:
    """Routes below ``/v2``."""
    routes = APIRouter(prefix="/v2", tags=["predictions"])

    @routes.get("", operation_id="server_metadata", responses=problems())
    def metadata() -> ServerMetadata:
        """Name, version and what is understood besides the protocol."""
        return ServerMetadata(
            name="nbmlp", version=nbmlp.__version__, extensions=["binary_tensor_data"]
        )

    _add_models(routes, kept, predictions)
    return routes


def _add_models(routes: APIRouter, kept: Kept, predictions: Predictions) -> None:
    async def metadata(name: Name) -> ModelMetadata:
        """What a model takes and gives."""
        served = await kept.get(name)
        return ModelMetadata(
            name=name, versions=[VERSION], platform="nbmlp",
            inputs=[Tensor(**tensor) for tensor in served.inputs],
            outputs=[Tensor(**tensor) for tensor in served.outputs],
        )  # fmt: skip

    async def ready(name: Name) -> dict[str, Any]:
        """Whether a model can be asked; loads it."""
        await kept.get(name)
        return {"name": name, "ready": True}

    async def infer(request: Request, name: Name) -> Response:
        """Predict rows."""
        return await predictions.answer(await kept.get(name), request)

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
    if version != VERSION:
        raise NotFoundError(f"there is no version {version[:40]!r}: the only one is {VERSION}.")
