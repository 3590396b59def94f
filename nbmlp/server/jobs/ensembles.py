"""What the process of a job with a preset does: read, train an ensemble, measure, save."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nbmlp.data import Dataset, Given, infer_task, is_sparse, prepared
from nbmlp.data.origin import Origin
from nbmlp.data.outliers import tell_lone_values
from nbmlp.errors import DataError, ModelFileError, NonFiniteError, SpecError
from nbmlp.io import archive
from nbmlp.server.faults import reach
from nbmlp.server.jobs import verdict
from nbmlp.server.jobs.checkpoints import Checkpoints, provenance
from nbmlp.server.jobs.described import categories_of, details, inputs_of
from nbmlp.server.jobs.diagnosing import diagnose
from nbmlp.server.jobs.importance import FLOPS, importance
from nbmlp.server.jobs.places import Place, checkpoint_place, checkpoints_in
from nbmlp.server.jobs.protocol import Order
from nbmlp.server.jobs.telling import PERIOD, Flush, Reports, Send
from nbmlp.server.jobs.wishes import Obey, Wishes
from nbmlp.server.rows import load_rows, select
from nbmlp.tabular import files
from nbmlp.tabular.alone import why
from nbmlp.tabular.board import Board
from nbmlp.tabular.fitting import Trained
from nbmlp.tabular.model import TabularModel
from nbmlp.tabular.options import Extras, Options
from nbmlp.train.callbacks import Callback, Progress
from nbmlp.train.history import EpochRecord
from nbmlp.train.interrupt import Interrupted

__all__ = ["train"]

#: Nets that are told of, those of most weight first.
_TOLD = 100
#: Of the operations of a training, what finding out the importance of columns may take.
_SHARE = 0.02


class _Reports(Reports):
    """The epochs of all nets as one course, and how many there will be at most."""

    def on_fit_begin(self, run: Board) -> None:  # type: ignore[override]
        """Nets of new kinds are compiled on the way: no phase of its own says so."""
        self._began = time.monotonic()
        name = run.history.score_name
        self._send({"kind": "phase", "phase": "members", "score_name": name})
        # All of them: in which order those of a checkpoint ended is not known any longer.
        self._rows = [record.to_row() for record in run.history]
        self._note(run)
        self.flush()

    def _note(self, run: Board) -> None:
        self._also = {"of": run.epochs, "lagged": run.lagged}

    def on_epoch_end(self, run: Board, record: EpochRecord) -> None:  # type: ignore[override]
        """Keep it until the next report."""
        self._rows.append(record.to_row())
        self._note(run)
        if time.monotonic() - self._last < PERIOD:
            return
        self.flush()
        rows = (record.epoch - run.before) * run.n_samples
        rate = rows / max(time.monotonic() - self._began, 1e-9)
        done = Progress(record.epoch, run.n_samples, run.n_samples, rate, record.train_loss)
        self._progress(run, done)


class _Checkpoints(Checkpoints):
    """Of all nets, each as it was at its last rest."""

    def on_fit_begin(self, run: Board) -> None:  # type: ignore[override]
        """Nets rest as often as checkpoints are wanted."""
        run.stretch = min(run.stretch, self._seconds)

    def on_epoch_end(self, run: Board, record: EpochRecord) -> None:  # type: ignore[override]
        """Write when it is due."""
        reach("epoch")
        if time.monotonic() >= self._due:
            self.save(run, Place(run.at_rest))


class _Obey(Obey):
    """At the ends of epochs."""

    def on_fit_begin(self, run: Board) -> None:  # type: ignore[override]
        """A job that is only to hand over what its checkpoint holds trains no further."""
        if self._wishes.stop:
            run.stop("stopped")

    def on_epoch_end(self, run: Board, record: EpochRecord) -> None:  # type: ignore[override]
        """Stop, or let all nets come to rest."""
        if self._wishes.stop:
            run.stop("stopped")
        elif self._wishes.pause:
            run.pause()

    def on_fit_end(self, run: Board) -> None:  # type: ignore[override]
        """All rest: save them."""
        if run.pausing:
            self.paused = Place(run.at_rest)
            self._checkpoints.save(run, self.paused)


def train(order: Order, send: Send, wishes: Wishes) -> None:
    """Train from the newest checkpoint or from first weights, to the end or a pause.

    Parameters
    ----------
    order : Order
        With a preset.
    send : callable
        Takes a report.
    wishes : Wishes
        Changed by another thread.

    Raises
    ------
    NbmlpError, MemoryError, OSError
        What the job fails with.
    """
    data, rest, test = _rows(order)
    if sentence := tell_lone_values(rest.X, rest.names):
        send({"kind": "message", "text": sentence})
    with _warnings_told(send), data.names.telling():
        try:
            model, found = _fit(rest, order, send, wishes)
        except _PausedError as pause:
            send({"kind": "paused", **pause.place._asdict()})
            return
        except NonFiniteError as error:
            send({"kind": "failing", "error": str(error), "error_kind": "non_finite"})
            _look_for_causes(rest, order, send)
            raise
    read = replace(Origin.of(data), source=f"data set {order.spec.dataset_id} of a server")
    model.notes |= {"job": provenance(order), "origin": {**read.to_dict(), "table": True}}
    files.save(model, order.model)
    reach("model")
    evaluation, said = _evaluation(model, found, rest, test, order.spec.model.eval_metric)
    described = _describe(model, data, order) | {"evaluation": evaluation}
    for text in filter(None, (*found.remarks, said)):
        send({"kind": "message", "text": text})
    if said or len(found.remarks) > 1:  # more than how they ended
        _look_for_causes(rest, order, send, found)
    reason = found.cut or "epochs done"
    send({"kind": "done", "stop_reason": reason, "model": described, "remark": said})


def _look_for_causes(
    given: Given, order: Order, send: Send, found: Trained | None = None
) -> None:
    """Of the net that weighs most, or of the first: its settings and columns by themselves."""
    nets = [{"member": 0, "weight": 0.0}] if found is None else found.members()
    net = max(nets, key=lambda one: one["weight"])
    ask = partial(
        why, given.X, given.y, _task(given, order), _options(order), member=net["member"],
        drawn=net.get("settings"), row_numbers=given.names,
    )  # fmt: skip
    diagnose(ask, order, send, f"Net {net['member']} by itself: ")


def _rows(order: Order) -> tuple[Dataset, Given, Given | None]:
    """The data as named columns; rows to train and choose on, and those to measure on."""
    spec = order.spec
    data = select(load_rows(order.data), spec.target, spec.columns)
    if is_sparse(data.X):
        raise DataError("an ensemble is trained on a table: this matrix is sparse; train one net.")
    data = prepared(data, True, spec.model.task)
    given = Given.of(data.X, data.y, numbers=data.names)
    if not spec.test:
        return data, given, None
    return data, *given.set_aside(spec.test, spec.model.seed, spec.model.task == "classes")


@contextmanager
def _warnings_told(send: Send) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for text in dict.fromkeys(str(w.message) for w in caught):
                send({"kind": "message", "text": text})


class _PausedError(Exception):
    """All nets rest, and a checkpoint holds them."""

    def __init__(self, place: Place) -> None:
        super().__init__(str(place))
        self.place = place


def _options(order: Order) -> Options:
    spec, hyper = order.spec, order.spec.model
    return Options(
        preset=str(spec.preset), n_members=spec.n_members, time_limit=spec.time_limit,
        eval_metric=hyper.eval_metric, column_kinds=hyper.column_kinds,
        class_weight=hyper.class_weight, tune_threshold=hyper.tune_threshold, seed=hyper.seed,
        jobs=order.threads, validation_fraction=spec.validation, n_folds=spec.n_folds,
    )  # fmt: skip


def _fit(given: Given, order: Order, send: Send, wishes: Wishes) -> tuple[TabularModel, Trained]:
    """From the newest checkpoint that can be gone on from; others are removed."""
    task = _task(given, order)
    for path in [*checkpoints_in(order.folder), None]:
        callbacks, obey = _callbacks(order, send, wishes, path)
        extras = Extras(callbacks, resume=path, of=_of(order), names=given.names)
        try:
            return TabularModel.fit(given.X, given.y, task, _options(order), extras=extras)
        except Interrupted as end:
            if obey.paused is None:
                raise
            raise _PausedError(obey.paused) from end
        except (ModelFileError, SpecError) as error:
            if path is None:
                raise
            send({"kind": "message", "text": f"{path.name} cannot be used: {error}"})
            path.unlink(missing_ok=True)
    raise AssertionError


def _task(given: Given, order: Order) -> str:
    said = order.spec.model.task
    return infer_task(given.y) if said == "auto" else str(said)


def _of(order: Order) -> dict[str, str]:
    return {"job": order.job_id, "data": order.data_sha256}


def _callbacks(
    order: Order, send: Send, wishes: Wishes, path: Path | None
) -> tuple[list[Callback], _Obey]:
    reports = _Reports(order, send)

    checkpoints = _Checkpoints(order, reports.send)
    obey = _Obey(wishes, checkpoints)
    return [_Resumed(send, path), reports, Flush(reports), checkpoints, obey], obey


class _Resumed(Callback):
    """Say where training goes on, once the checkpoint has been found to fit."""

    def __init__(self, send: Send, path: Path | None) -> None:
        self._send, self._path = send, path

    def on_fit_begin(self, run: Board) -> None:  # type: ignore[override]
        """Before the first epoch."""
        if self._path is not None:
            place = checkpoint_place(self._path) or Place(0)
            self._send({"kind": "resumed", **place._asdict()})
        reach("resumed")


# -- what has come of it


def _describe(model: TabularModel, data: Dataset, order: Order) -> dict[str, Any]:
    """What the server keeps about the model."""
    classes, plan = model.classes, model.plans[0]
    return {
        "bytes": order.model.stat().st_size, "sha256": archive.stored_digest(order.model),
        "task": model.targets.task, "inputs": inputs_of(plan, data),
        "targets": list(data.target_names),
        "classes": [] if classes is None else [str(label) for label in classes],
        "summary": repr(model), "categories": categories_of(plan),
    }  # fmt: skip


def _evaluation(
    model: TabularModel, found: Trained, rest: Given, test: Given | None, metric: str | None
) -> tuple[dict[str, Any], str]:
    """Loss, measures, details, members and what columns are worth; and a remark."""
    members = {"members": _members(found)}
    if test is None:
        assert found.held is not None
        which, given, outputs = "validation", rest.take(found.held), found.outputs
    else:
        which, given = "test", test
        with test.names.telling():
            outputs = model.outputs(test.X)
    y = given.y
    try:
        measured = model.targets.evaluate(y, outputs)
        worth = _importance(model, found, given, metric, len(rest.y))
    except DataError as error:  # for example a label that no training row has
        return {"rows": which, "count": len(y), "problem": str(error), **members}, ""
    defined = {name: value for name, value in measured.items() if not math.isnan(value)}
    figures = {"rows": which, "count": len(y), **defined}
    coding = model.targets.coding
    assert coding is not None
    said = verdict.remark(coding, y, figures)
    clipped = model.targets.clipped(outputs)
    shown = details(coding, model.targets.output, y, clipped)
    return figures | shown | worth | members, said


def _importance(
    model: TabularModel, found: Trained, given: Given, metric: str | None, rows: int
) -> dict[str, Any]:
    """What the columns are worth, for a small part of what training on so many rows took."""
    parameters = sum(kept.spec.n_parameters for kept in model.kept)
    spent = 6.0 * rows * sum(net.spec.n_parameters * net.epoch for net in found.trainees)
    return importance(model, given, parameters, metric, max(FLOPS, _SHARE * spent))


def _members(found: Trained) -> dict[str, Any]:
    """What became of the nets, by their weights; and by which score they were compared."""
    nets = sorted(found.members(), key=lambda net: (-net["weight"], net["member"], net["fold"]))
    return {
        "score": found.criterion.name, "total": len(nets), "nets": nets[:_TOLD],
        "remarks": found.remarks,
    }  # fmt: skip
