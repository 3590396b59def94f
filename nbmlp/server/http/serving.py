"""Models in memory: loaded once, asked by many, rows of many requests in one pass."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from nbmlp.data import Table
from nbmlp.errors import DataError
from nbmlp.mlp import MLP
from nbmlp.rows import Names
from nbmlp.server.http.nets import Ensemble, OneNet, Served
from nbmlp.server.http.tensors import datatype_of
from nbmlp.server.ports import Model, Service
from nbmlp.tabular.model import TabularModel

__all__ = ["Arrays", "Kept", "ServedModel", "Unknown"]

Arrays = dict[str, NDArray[Any]]
_Request = tuple[NDArray[Any], asyncio.Future[NDArray[Any]]]

#: Multiply-adds of a pass that the event loop can spare: some 0.2 ms.
_QUICK = 2_000_000
_MOST_ROWS = 4096
#: Inputs, and outputs, of a block of rows: some ms to make ready or to write.
_WIDE, _LONG = 1 << 20, 1 << 14
_MATRIX = "x"
#: Of texts that are not known: how many are named and counted, and how much of each is told.
_FEW, _COUNTED, _SHOWN = 5, 10_000, 40


class Unknown:
    """Texts of a request that the model does not know, column by column."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, None]] = {}

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Some more of a column."""
        for text in texts:
            known = self._texts.setdefault(name, {})
            if len(known) == _COUNTED:
                return
            known[text[: 2 * _SHOWN]] = None

    def __str__(self) -> str:
        said = [self._told(name, list(texts)) for name, texts in self._texts.items()]
        if not said:
            return ""
        if len(said) > _FEW:
            said[_FEW:] = [f"and of {len(said) - _FEW} more columns"]
        return f"not known from training, so each counts as unknown: {'; '.join(said)}."

    @staticmethod
    def _told(name: str, texts: list[str]) -> str:
        shown = ", ".join(repr(text[:_SHOWN]) for text in texts[:_FEW])
        least = "at least " * (len(texts) == _COUNTED)
        more = f" and {least}{len(texts) - _FEW} more" if len(texts) > _FEW else ""
        return f"{name[:_SHOWN]} {shown}{more}"


class ServedModel:
    """A model that answers requests.

    Parameters
    ----------
    model : Model
    loaded : MLP or TabularModel
        With one thread.

    Attributes
    ----------
    model : Model
    inputs : list of dict
        Names, datatypes and shapes as the protocol describes them: one tensor for each raw
        column, or one matrix for a net that takes its inputs as they are.
    outputs : list of dict
        ``prediction``, and ``probabilities`` (in the order of the model's classes).
    width : int
        Inputs of the net, for each row.
    block : int
        Rows that are made ready, predicted and written at a time: what one takes is all that
        others ever wait for, and inputs that categories spread out need no more memory than it.
    """

    def __init__(self, model: Model, loaded: MLP | TabularModel) -> None:
        self.model = model
        self._net: Served = OneNet(loaded) if isinstance(loaded, MLP) else Ensemble(loaded)
        self._names = [name for name, _ in model.inputs]
        self._called = Names(columns=tuple(self._names), X="the input")
        self._numeric = all(kind == "number" for _, kind in model.inputs)
        self._batcher = _Batcher(self._net)
        self.inputs, self.outputs = self._describe_inputs(), self._describe_outputs()
        self.width, n_outputs = self._net.width, self._net.n_outputs
        self.block = max(1, min(_MOST_ROWS, _WIDE // self.width, _LONG // n_outputs))

    def _describe_inputs(self) -> list[dict[str, Any]]:
        if self._net.plan is None:
            return [_described(_MATRIX, "FP32", len(self._names))]
        kinds = {"number": "FP64", "text": "BYTES"}
        return [_described(name, kinds[kind]) for name, kind in self.model.inputs]

    def _describe_outputs(self) -> list[dict[str, Any]]:
        net, classes = self._net, self._net.classes
        if classes is None:
            return [_described("prediction", "FP64", *(() if net.vector else (net.n_outputs,)))]
        found = [_described("prediction", datatype_of(_plain(classes)))]
        if net.probable:
            found.append(_described("probabilities", "FP64", len(classes)))
        return found

    # -- in

    def rows(self, arrays: Arrays) -> NDArray[Any]:
        """Rows as the net takes them, out of named tensors.

        Raises
        ------
        DataError
            Names, shapes or values that do not fit; one bad request spoils no other.
        """
        if len(arrays) == 1 and self._numeric:
            ((name, only),) = arrays.items()
            if only.ndim == 2 and (name not in self._names or only.shape[1] > 1):
                return self._checked(self._matrix(only))
        if self._net.plan is None:
            if arrays.keys() == {*self._names}:
                each = [_column(name, arrays[name]) for name in self._names]
                if all(column.dtype.kind in "biuf" for column in each):
                    return self._checked(np.column_stack(each))
            raise DataError(
                f"this model takes one input {_MATRIX!r} of shape [rows, {len(self._names)}]."
            )
        table = Table({name: _column(name, values) for name, values in arrays.items()})
        return self._checked(table)

    def note_unknown(self, arrays: Arrays, unknown: Unknown) -> None:
        """Keep which texts are no categories that the model knows."""
        plan = self._net.plan
        for column in () if plan is None else plan.categories:
            if column.name in arrays and arrays[column.name].dtype == object:
                unknown.add(column.name, column.unknown(arrays[column.name].ravel()))

    def _matrix(self, values: NDArray[Any]) -> Any:
        if values.shape[1] != len(self._names):
            raise DataError(
                f"the input has {values.shape[1]} columns: the model takes {len(self._names)}."
            )
        if self._net.plan is None:
            return values
        return Table({name: values[:, j] for j, name in enumerate(self._names)})

    def _checked(self, X: Any) -> NDArray[Any]:
        if len(X) == 0:
            raise DataError("there are no rows to predict.")
        with self._called.telling():
            return self._net.inputs(X)

    # -- out

    async def predict(self, x: NDArray[Any]) -> Arrays:
        """Outputs by name, computed together with the rows of whoever asks at the same time."""
        outputs = await self._batcher.outputs(x)
        found = {"prediction": _plain(self._net.decode(outputs))}
        if len(self.outputs) > 1:
            found["probabilities"] = self._net.probabilities(outputs).astype(np.float64)
        return found


def _described(name: str, datatype: str, *width: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1, *width]}


def _column(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1:
        raise DataError(f"column {name!r} has the shape {list(values.shape)}: send [rows].")
    return values


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """In a type that the protocol knows."""
    wide = {"i": np.int64, "u": np.uint64, "f": np.float64}
    kind = values.dtype.kind
    return values.astype(wide[kind], copy=False) if kind in wide else values


class _Batcher:
    """Rows of many requests through one net, in as few passes as it takes to keep up.

    What arrives in one turn of the event loop is one batch. A batch that takes longer than the
    loop can spare runs in a thread, and what arrives meanwhile is the next one.
    """

    def __init__(self, net: Served) -> None:
        self._net = net
        self._waiting: deque[_Request] = deque()
        self._task: asyncio.Task[None] | None = None

    async def outputs(self, x: NDArray[Any]) -> NDArray[Any]:
        done: asyncio.Future[NDArray[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((x, done))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return await done

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._pass(self._take())
        finally:
            self._task = None

    def _take(self) -> list[_Request]:
        batch = [self._waiting.popleft()]
        rows = len(batch[0][0])
        while self._waiting and rows + len(self._waiting[0][0]) <= _MOST_ROWS:
            batch.append(self._waiting.popleft())
            rows += len(batch[-1][0])
        return batch

    async def _pass(self, batch: list[_Request]) -> None:
        x = batch[0][0] if len(batch) == 1 else np.concatenate([x for x, _ in batch])
        try:
            if len(x) * self._net.cost <= _QUICK:
                outputs = self._net.outputs(x)
            else:
                outputs = await run_in_threadpool(self._net.outputs, x)
        except Exception as error:
            for _, done in batch:
                if not done.cancelled():
                    done.set_exception(error)
            return
        start = 0
        for x, done in batch:
            if not done.cancelled():
                done.set_result(outputs[start : start + len(x)])
            start += len(x)


class Kept:
    """The models that were asked last.

    Parameters
    ----------
    service : Service
    most : int
    """

    def __init__(self, service: Service, most: int) -> None:
        self._service, self._most = service, most
        self._models: OrderedDict[str, asyncio.Task[ServedModel]] = OrderedDict()

    async def get(self, model_id: str) -> ServedModel:
        """A model, loaded once; raises NotFoundError."""
        task = self._models.get(model_id)
        if task is None:
            task = asyncio.create_task(run_in_threadpool(self._load, model_id))
            self._models[model_id] = task
            if len(self._models) > self._most:
                self._models.popitem(last=False)
        try:
            model = await asyncio.shield(task)
        except Exception:
            self.drop(model_id)
            raise
        if model_id in self._models:
            self._models.move_to_end(model_id)
        return model

    def drop(self, model_id: str) -> None:
        """Forget a model that is gone."""
        self._models.pop(model_id, None)

    def _load(self, model_id: str) -> ServedModel:
        return ServedModel(self._service.get_model(model_id), self._service.load_model(model_id))
