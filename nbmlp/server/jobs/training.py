"""What a job's process does: read, train, measure, save; and the reports on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from nbmlp.data import Dataset, Given, prepared
from nbmlp.data.origin import Origin
from nbmlp.data.outliers import tell_lone_values
from nbmlp.errors import DataError, NonFiniteError
from nbmlp.io import archive
from nbmlp.mlp import MLP
from nbmlp.server.faults import reach
from nbmlp.server.jobs import verdict
from nbmlp.server.jobs.checkpoints import Checkpoints, newest, provenance
from nbmlp.server.jobs.described import categories_of, details, inputs_of
from nbmlp.server.jobs.diagnosing import diagnose
from nbmlp.server.jobs.importance import importance
from nbmlp.server.jobs.places import Place
from nbmlp.server.jobs.protocol import Order
from nbmlp.server.jobs.telling import Flush, Reports, Send
from nbmlp.server.jobs.wishes import Obey, Wishes
from nbmlp.server.rows import load_rows, select
from nbmlp.spec import TaskSpec
from nbmlp.train.callbacks import Callback, Progress, Run
from nbmlp.train.history import EpochRecord
from nbmlp.train.interrupt import Interrupted
from nbmlp.train.standard import EarlyStopping

__all__ = ["Parts", "prepared_for", "train"]


@dataclass(frozen=True)
class Parts:
    """Rows to train on, to watch and to measure on; the latter two may be missing."""

    train: Given
    validation: Given | None
    test: Given | None

    @classmethod
    def of(cls, data: Dataset, order: Order) -> Parts:
        """As the job's shares say."""
        spec, hyper = order.spec, order.spec.model
        train, test, validation = Given.of(data.X, data.y, numbers=data.names), None, None
        classes = hyper.task == "classes"
        if spec.test:
            train, test = train.set_aside(spec.test, hyper.seed, classes)
        if spec.validation:
            train, validation = train.set_aside(spec.validation, hyper.seed, classes)
        return cls(train, validation, test)

    def measured(self) -> tuple[str, Given]:
        """The rows that say most about the model."""
        if self.test is not None:
            return "test", self.test
        return ("training", self.train) if self.validation is None else (
            "validation", self.validation
        )  # fmt: skip


class _Obey(Obey):
    """At the end of an epoch or within."""

    def on_fit_begin(self, run: Run) -> None:
        """A job that is only to hand over what its checkpoint holds trains no further."""
        if self._wishes.stop and (len(run.history) or run.rows_done):
            run.stop("stopped")

    def on_progress(self, run: Run, progress: Progress) -> None:
        """End the epoch here, after a whole number of updates."""
        if progress.between_batches:
            end = self._end(run, Place(progress.epoch - 1, progress.rows_done))
            if end:
                raise Interrupted(end)

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Stop, or save and pause."""
        end = self._end(run, Place(record.epoch))
        if end:
            run.stop(end)

    def _end(self, run: Run, place: Place) -> str:
        """Why training ends here; empty if it goes on."""
        if self._wishes.stop:
            return "stopped"
        if not self._wishes.pause or place.epoch >= run.epochs:
            return ""
        self._checkpoints.save(run, place)
        self.paused = place
        return "paused"


def _callbacks(order: Order, send: Send, wishes: Wishes) -> tuple[list[Callback], _Obey]:
    """In the order that counts: a checkpoint holds what early stopping knows of its epoch."""
    early, reports = order.spec.early_stopping, Reports(order, send)

    checkpoints = Checkpoints(order, reports.send)
    obey = _Obey(wishes, checkpoints)
    first: list[Callback] = [EarlyStopping(**vars(early))] if early else []
    return [*first, reports, checkpoints, obey, Flush(reports)], obey


def train(order: Order, send: Send, wishes: Wishes) -> None:
    """Train from the newest checkpoint or from first weights, to the end or a pause.

    Parameters
    ----------
    order : Order
    send : callable
        Takes a report.
    wishes : Wishes
        Changed by another thread.

    Raises
    ------
    NbmlpError, MemoryError, OSError
        What the job fails with.
    """
    spec = order.spec
    data = select(load_rows(order.data), spec.target, spec.columns)
    data = prepared_for(data, spec.model)
    parts = Parts.of(data, order)
    model = MLP(**_settings(spec.model), threads=order.threads)
    read = replace(Origin.of(data), source=f"data set {spec.dataset_id} of a server")
    model.notes = {"job": provenance(order), "origin": read.to_dict()}
    found = newest(order)
    for remark in found.remarks:
        send({"kind": "message", "text": remark})
    if found.path:
        send({"kind": "resumed", **found.place._asdict()})
    reach("resumed")
    if sentence := tell_lone_values(parts.train.X, parts.train.names):
        send({"kind": "message", "text": sentence})
    callbacks, obey = _callbacks(order, send, wishes)
    try:
        model.fit(
            parts.train.X, parts.train.y, validation=parts.validation, callbacks=callbacks,
            resume=found.path, row_numbers=parts.train.names,
        )  # fmt: skip
    except NonFiniteError as error:
        send({"kind": "failing", "error": str(error), "error_kind": "non_finite"})
        _look_for_causes(model, parts, order, send)
        raise
    if obey.paused:
        send({"kind": "paused", **obey.paused._asdict()})
        return
    _deliver(model, data, parts, order, send)


def _settings(hyper: Any) -> dict[str, Any]:
    """Those of MLP; where a job leaves open whether columns are scaled, the data have decided."""
    return {n: v for n, v in vars(hyper).items() if n != "standardise" or v is not None}


def prepared_for(data: Dataset, hyper: Any) -> Dataset:
    """The data as the command line prepares them for these settings of a job."""
    given, names = _settings(hyper), ("scaling", "bins", "category_embedding", "column_kinds")
    task = TaskSpec(**{name: given[name] for name in names if name in given})
    return prepared(data, True if task.prepares else given.get("standardise"), hyper.task)


def _deliver(model: MLP, data: Dataset, parts: Parts, order: Order, send: Send) -> None:
    model.save(order.model)
    reach("model")
    evaluation, said = _evaluation(model, *parts.measured())
    described = _describe(model, data, order) | {"evaluation": evaluation}
    stalled = "the training loss has hardly moved." if model.history.stalled else ""
    for text in filter(None, (stalled, said)):
        send({"kind": "message", "text": text})
    if stalled or said:
        _look_for_causes(model, parts, order, send)
    done = {"stop_reason": model.history.stop_reason, "model": described, "remark": said}
    send({"kind": "done", **done})


def _look_for_causes(model: MLP, parts: Parts, order: Order, send: Send) -> None:
    held = 0.2 if parts.validation is None else parts.validation
    ask = partial(
        model.why, parts.train.X, parts.train.y, validation=held, row_numbers=parts.train.names
    )
    diagnose(ask, order, send)


def _describe(model: MLP, data: Dataset, order: Order) -> dict[str, Any]:
    """What the server keeps about the model."""
    classes = model.classes
    return {
        "bytes": order.model.stat().st_size, "sha256": archive.stored_digest(order.model),
        "task": model.coding.task, "inputs": inputs_of(model.column_plan, data),
        "targets": list(data.target_names),
        "classes": [] if classes is None else [str(label) for label in classes],
        "summary": repr(model), "categories": categories_of(model.column_plan),
    }  # fmt: skip


def _evaluation(model: MLP, which: str, given: Given) -> tuple[dict[str, Any], str]:
    """Loss, measures and details, and a remark; the net is asked once, for rows may be many."""
    try:
        if model.train_spec.on_nonfinite in ("drop_rows", "impute"):
            given, _ = given.without_bad_rows(model.model_spec.dtype)
        rows = model.net.rows(given.X, given.y, names=given.names)
        outputs, loss = model.predictor.outputs_and_loss(rows)
        measures = model.coding.evaluate(given.y, outputs, model.model_spec.output)
    except DataError as error:  # for example a label that no training row has
        return {"rows": which, "count": len(given.y), "problem": str(error)}, ""
    known = {name: value for name, value in measures.items() if not math.isnan(value)}
    found = {"rows": which, "count": len(given.y), "loss": loss, **known}
    said = verdict.remark(model.coding, given.y, found)
    shown = details(model.coding, model.model_spec.output, given.y, outputs)
    worth = importance(model, given, model.model_spec.n_parameters)
    return found | shown | worth, said
