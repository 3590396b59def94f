"""Routes of the page: they read from the service; all that changes goes through /v1 and /v2."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from nbmlp.server.labels import file_name
from nbmlp.server.page import exports, forms, snippets, views, words
from nbmlp.server.ports import TERMINAL, Dataset, Job, Model, NotFoundError, Page, Service

__all__ = ["router"]

#: Known by name when the server starts: no name from outside is ever looked for on the disk.
_STATIC = {
    path.name: path
    for path in (Path(__file__).parent / "static").iterdir()
    if path.suffix in (".js", ".css", ".svg")
}
#: More runs than this cannot be told apart in one picture.
_MOST_COMPARED = 6
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Ids = Annotated[list[str], Query(max_length=100)]
After = Annotated[str | None, Query(max_length=64)]


def _static_address(name: str) -> str:
    """Where a browser finds a file: a script has one address only, or it would run twice."""
    return f"/static/{_STATIC[name].name}"


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _who(request: Request) -> dict[str, Any]:
    """What every template knows."""
    csrf = getattr(request.state, "csrf", "")
    return {
        "csrf": csrf,
        "signed_in": bool(csrf),
        "static": _static_address,
        "origin": _origin(request),
    }


def _templates() -> Jinja2Templates:
    env = Environment(
        loader=PackageLoader("nbmlp.server.page"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(words.filters())
    return Jinja2Templates(env=env, context_processors=[_who])


_TEMPLATES = _templates()


def _show(request: Request, template: str, **values: Any) -> HTMLResponse:
    answer = _TEMPLATES.TemplateResponse(request, template, values)
    answer.headers["Cache-Control"] = "no-store"
    return answer


class _PageRoute(APIRoute):
    """A route whose errors are pages too."""

    def get_route_handler(self) -> Handler:
        """What answers a request."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except NotFoundError as error:
                page = _show(request, "missing.html", said=str(error))
                page.status_code = 404
                return page

        return answer


def _older(listed: Page[Any]) -> str | None:
    """After which item a list goes on."""
    return listed.items[-1].id if listed.has_more else None


def _csv(pieces: Iterable[str], name: str) -> Response:
    return StreamingResponse(
        pieces,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f"attachment; filename*=utf-8''{quote(name)}"},
    )


def router(service: Service) -> APIRouter:
    """All pages, fragments and static files.

    Parameters
    ----------
    service : Service

    Returns
    -------
    APIRouter
        Everything but ``/login`` and ``/static`` is for those who have signed in; who has is
        for the application to say, as ``request.state.csrf``.
    """
    page = APIRouter(route_class=_PageRoute, include_in_schema=False)
    _add_files(page)
    _add_datasets(page, service)
    _add_jobs(page, service)
    _add_job(page, service)
    _add_models(page, service)
    _add_docs(page)
    return page


def _add_files(page: APIRouter) -> None:
    @page.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise NotFoundError("There is no such file.")
        return FileResponse(_STATIC[name], headers={"Cache-Control": "no-cache"})

    @page.get("/login")
    def login(request: Request, next: str = "/", wrong: bool = False) -> HTMLResponse:
        said = "This token is not known." if wrong else ""
        return _show(request, "login.html", next=next, wrong=said)


def _add_datasets(page: APIRouter, service: Service) -> None:
    @page.get("/")
    def start(request: Request, after: After = None) -> HTMLResponse:
        tables = service.list_datasets(after)
        return _show(
            request,
            "start.html",
            place="Data",
            datasets=tables.items,
            older=_older(tables),
            examples=snippets.upload(_origin(request)),
        )

    @page.get("/datasets/{dataset_id}")
    def dataset(request: Request, dataset_id: str, like: After = None) -> HTMLResponse:
        table = service.get_dataset(dataset_id)
        job = service.get_job(like) if like else None
        return _show(
            request,
            "dataset.html",
            place="Data",
            table=table,
            like=job,
            form=forms.Form(table, job.spec if job else None),
            cores=service.health().cores,
            examples=snippets.dataset(_origin(request), table),
        )


def _add_jobs(page: APIRouter, service: Service) -> None:
    def listed(after: str | None) -> dict[str, Any]:
        found = service.list_jobs(after)
        return {
            "jobs": [views.JobView(job) for job in found.items],
            "older": _older(found),
            "after": after,
        }

    @page.get("/jobs")
    def jobs(request: Request, after: After = None) -> HTMLResponse:
        return _show(request, "jobs.html", place="Jobs", **listed(after))

    @page.get("/jobs/table")
    def table(request: Request, after: After = None) -> HTMLResponse:
        return _show(request, "jobs_table.html", **listed(after))

    @page.get("/compare")
    def compare(request: Request, job: Ids = []) -> HTMLResponse:  # noqa: B006
        runs = [service.get_job(job_id) for job_id in dict.fromkeys(job[:_MOST_COMPARED])]
        if not runs:
            raise NotFoundError("No job was marked: mark two or more in the list of jobs.")
        rows, same = views.differences([forms.flat(run.spec) for run in runs])
        shown = [views.JobView(run, best_row=_best_row(service, run)) for run in runs]
        return _show(
            request,
            "compare.html",
            place="Jobs",
            jobs=shown,
            labels=views.labels(runs),
            rows=rows,
            same=same,
            examples=snippets.compare(_origin(request), runs),
        )


def _add_job(page: APIRouter, service: Service) -> None:
    def shown(job_id: str) -> dict[str, Any]:
        job = service.get_job(job_id)
        ended = job.state in TERMINAL
        last = service.metrics(job_id, after=job.epoch - 1, limit=1).rows if ended else ()
        view = views.JobView(job, last[0] if last else {}, _best_row(service, job))
        return {"job": view, "diagnosis": views.diagnosis(service, job)}

    def result(request: Request, job: Job) -> dict[str, Any]:
        if not job.model_id:
            return {"model": None}
        return _described(request, service, service.get_model(job.model_id))

    @page.get("/jobs/{job_id}")
    def job(request: Request, job_id: str) -> HTMLResponse:
        found = shown(job_id)
        return _show(
            request,
            "job.html",
            place="Jobs",
            **found,
            **result(request, found["job"].job),
            table=_table(service, found["job"].dataset_id),
            settings=forms.flat(found["job"].spec, brief=True),
            job_examples=snippets.job(_origin(request), found["job"].job),
        )

    @page.get("/jobs/{job_id}/status")
    def status(request: Request, job_id: str) -> HTMLResponse:
        return _show(request, "status.html", **shown(job_id))

    @page.get("/jobs/{job_id}/result")
    def ended(request: Request, job_id: str) -> HTMLResponse:
        return _show(request, "result.html", **result(request, service.get_job(job_id)))

    @page.get("/jobs/{job_id}/curve.csv")
    def curve(job_id: str) -> Response:
        job = service.get_job(job_id)
        rows = exports.curve(service, job.id)
        return _csv(exports.curve_csv(rows), file_name(job.name, " curve.csv"))


def _add_models(page: APIRouter, service: Service) -> None:
    @page.get("/models")
    def models(request: Request, after: After = None) -> HTMLResponse:
        found = service.list_models(after)
        return _show(
            request,
            "models.html",
            place="Models",
            models=[views.ModelView(model) for model in found.items],
            older=_older(found),
        )

    @page.get("/models/{model_id}")
    def model(request: Request, model_id: str) -> HTMLResponse:
        found = service.get_model(model_id)
        return _show(request, "model.html", place="Models", **_described(request, service, found))

    @page.get("/models/{model_id}/evaluation.csv")
    def evaluation(model_id: str) -> Response:
        model = service.get_model(model_id)
        name = file_name(model.name, " evaluation.csv")
        return _csv([exports.evaluation_csv(model)], name)


def _add_docs(page: APIRouter) -> None:
    @page.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        """The OpenAPI document for people: rendered here, so that it works offline."""
        return _show(request, "docs.html", place="API", schema=request.app.openapi())


def _described(request: Request, service: Service, model: Model) -> dict[str, Any]:
    """What the box of a model shows."""
    example = _example(service, model)
    return {
        "model": views.ModelView(model),
        "example": example,
        "model_examples": snippets.model(_origin(request), model, example),
    }


def _best_row(service: Service, job: Job) -> dict[str, Any]:
    """What the best epoch of an ensemble left behind."""
    if job.spec.preset is None or job.best_epoch is None:
        return {}
    return next(iter(service.metrics(job.id, after=job.best_epoch - 1, limit=1).rows), {})


def _example(service: Service, model: Model) -> dict[str, Any]:
    """A row of the data it was trained on, to begin with; empty when they are gone."""
    table = _table(service, model.dataset_id)
    if table is None or not table.preview:
        return {}
    names = [column.name for column in table.columns]
    return dict(zip(names, table.preview[0], strict=True))


def _table(service: Service, dataset_id: str) -> Dataset | None:
    """The data of a job; None when they have been deleted."""
    try:
        return service.get_dataset(dataset_id)
    except NotFoundError:
        return None
