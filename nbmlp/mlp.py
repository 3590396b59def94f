"""class MLP: the native API, thin. Arrays in, settings checked, the work done elsewhere."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import tuning
from nbmlp.coding import TASKS, TargetCoding, choose_output
from nbmlp.data import ColumnPlan, as_table, check_weights, check_X, split
from nbmlp.diagnostics.gradients import GradientReport, check_gradients
from nbmlp.errors import DataError, ModelFileError, NotFittedError, SpecError, unknown_name
from nbmlp.init import initialise
from nbmlp.io import model_file
from nbmlp.plan import make_plan
from nbmlp.predict import Predictor, Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State, new_state
from nbmlp.train.callbacks import CallbackList
from nbmlp.train.engine import Engine
from nbmlp.train.history import History
from nbmlp.train.loop import Loop, Validation, without_horizon

__all__ = ["MLP"]

#: Bytes are pictures: what a net learns from is their share of 255.
_BYTE_SCALE = 1.0 / 255.0
_FROM_DATA = ("n_inputs", "n_outputs")
_MODEL = tuple(f.name for f in fields(ModelSpec) if f.name not in _FROM_DATA)
_TRAIN = tuple(f.name for f in fields(TrainSpec))
_OWN = ("task", "standardise", "learning_rate")


class MLP:
    """A multilayer perceptron.

    Parameters
    ----------
    hidden : int or sequence of int
        Units of each hidden layer; ``()`` for a linear model.
    task : str
        ``"classes"``, ``"regression"``, or ``"auto"``: text, booleans and few whole numbers are
        classes, other numbers are quantities.
    standardise : bool
        Scale each input column (and numeric targets) to mean 0 and deviation 1, as learned at
        fit. Tables and data frames are always prepared so, text columns one-hot encoded.
    learning_rate : float, optional
        Replaces the optimizer's own.
    **settings
        Every field of :class:`~nbmlp.ModelSpec` (activation, output, loss, bias, init, dtype,
        dropout, ...; output and loss may be ``"auto"``) and of :class:`~nbmlp.TrainSpec`
        (optimizer, schedule, batch_size, epochs, l1, l2, seed, threads, ...).

    Attributes
    ----------
    history : History
        Of the last fit and the partial fits after it.
    model_spec, train_spec : ModelSpec, TrainSpec
        The settings; `model_spec` needs a fit, which tells inputs and outputs.
    weights, biases : list of ndarray
        Views of each layer's W (inputs, outputs) and b (outputs,).
    classes : ndarray or None
        Labels in the order of the outputs.
    notes : dict
        Plain values that travel with the model's file, e.g. the names of its columns.

    Raises
    ------
    SpecError
        At once, when a setting is wrong.

    Examples
    --------
    >>> model = MLP(hidden=300, epochs=30).fit(X, y, validation=0.1)
    >>> model.predict(X_new)
    """

    def __init__(self, hidden: int | Iterable[int] = (100,), **settings: Any) -> None:
        valid = {*_MODEL, *_TRAIN, *_OWN}
        for name in settings:
            if name not in valid:
                raise unknown_name("setting", name, valid)
        self.task = str(settings.pop("task", "auto"))
        if self.task not in TASKS:
            raise unknown_name("task", self.task, TASKS)
        self.standardise = bool(settings.pop("standardise", False))
        rate = settings.pop("learning_rate", None)
        self.train_spec = TrainSpec(**{k: v for k, v in settings.items() if k in _TRAIN})
        if rate is not None:
            rule = self.train_spec.optimizer.with_learning_rate(rate)
            self.train_spec = self.train_spec.with_(optimizer=rule)
        hidden = hidden if isinstance(hidden, int) else tuple(hidden)
        self._settings: dict[str, Any] = {"output": "auto", "loss": "auto", "hidden": hidden}
        self._settings |= {k: v for k, v in settings.items() if k in _MODEL}
        self.history = History()
        self.notes: dict[str, Any] = {}
        self._forget()
        # Names and ranges are wrong now or never; more goes with classes than with numbers.
        self._specify(1, "regression" if self.task == "regression" else "classes", 2, 1)

    def _forget(self) -> None:
        self._spec: ModelSpec | None = None
        self._state: State | None = None
        self._coding: TargetCoding | None = None
        self._columns: ColumnPlan | None = None
        self._scale = 1.0
        self._predictor: Predictor | None = None

    def __repr__(self) -> str:
        if self._spec is None:
            return f"MLP(hidden={self._settings['hidden']}, not fitted)"
        sizes = "-".join(map(str, self._spec.layer_sizes))
        return (
            f"MLP({sizes}, {self._spec.output}, {self._spec.loss},"
            f" {self._spec.n_parameters} parameters, {self._state_now.epoch} epochs)"
        )

    # -- settings and parameters

    def _specify(self, n_inputs: int, task: str, n_classes: int, n_outputs: int) -> ModelSpec:
        output, loss = choose_output(
            task, n_classes, self._settings["output"], self._settings["loss"]
        )
        settings = {**self._settings, "output": output, "loss": loss}
        return ModelSpec(n_inputs=n_inputs, n_outputs=n_outputs, **settings)

    @property
    def model_spec(self) -> ModelSpec:
        """The net's settings, shapes included."""
        if self._spec is None:
            raise NotFittedError("this model has not seen data yet: call fit first.")
        return self._spec

    @property
    def _state_now(self) -> State:
        if self._state is None:
            raise NotFittedError("this model has no parameters yet: call fit or load first.")
        return self._state

    @property
    def coding(self) -> TargetCoding:
        """How targets become outputs and back."""
        if self._coding is None:
            raise NotFittedError("this model has not seen targets yet: call fit first.")
        return self._coding

    @property
    def column_plan(self) -> ColumnPlan | None:
        """How raw columns become inputs; None when inputs are taken as they are."""
        return self._columns

    @property
    def weights(self) -> list[NDArray[Any]]:
        """Views W (inputs, outputs) of each layer; may be written to."""
        return self._state_now.weights()

    @property
    def biases(self) -> list[NDArray[Any]]:
        """Views b (outputs,) of each layer; empty without biases."""
        return self._state_now.biases()

    @property
    def classes(self) -> NDArray[Any] | None:
        """Labels in the order of the outputs; None for regression."""
        labels = self.coding.labels
        return None if labels is None else labels.decode(np.arange(len(labels)))

    def get_flat(self) -> NDArray[Any]:
        """Copy of all parameters in one vector: W1 row by row, b1, W2, b2, ..."""
        return self._state_now.get_flat()

    def set_flat(self, values: ArrayLike) -> None:
        """Set all parameters from one vector; raises DataError on a wrong length or a NaN."""
        self._state_now.set_flat(values)

    @property
    def _threads(self) -> int:
        return self.train_spec.threads or tuning.available_threads()

    # -- data

    def _inputs(self, X: Any) -> NDArray[Any]:
        """X as the kernels read it, through the column plan if there is one."""
        if self._columns is not None:
            return self._columns.transform(X)
        return check_X(X, self.model_spec.n_inputs, dtype=self.model_spec.dtype)

    def _rows(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, dtype: str | None = None
    ) -> Rows:
        x = self._inputs(X)
        targets = self.coding.encode(y, len(x), dtype or self.model_spec.dtype)
        weights = None
        if sample_weight is not None:
            weights = check_weights(sample_weight, len(x), dtype=np.float64)
        return Rows(x, targets, weights, self._scale)

    def _learn(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> None:
        """Shapes, labels, columns and first weights from the data."""
        self._forget()
        table = as_table(X)
        if table is not None or self.standardise:
            self._columns = ColumnPlan.fit(X if table is None else table)
            n_inputs = len(self._columns.feature_names)
        else:
            x = check_X(X, dtype=self._settings.get("dtype", "float32"))
            n_inputs = x.shape[1]
            self._scale = _BYTE_SCALE if x.dtype == np.uint8 else 1.0
        output, _ = choose_output("classes", 2, self._settings["output"], self._settings["loss"])
        probe, _ = choose_output("regression", 0, self._settings["output"], self._settings["loss"])
        scaled = self._columns is not None and probe == "identity"
        labels = y if classes is None else classes
        coding = TargetCoding.fit(labels, self.task, output == "softmax", scaled)
        n_classes = 0 if coding.labels is None else len(coding.labels)
        self._coding = coding
        self._spec = self._specify(n_inputs, coding.task, n_classes, coding.n_outputs)
        if self._spec.output == "softmax" and coding.task == "classes" and coding.n_outputs == 1:
            raise SpecError("softmax over one unit is constant: leave output to 'auto'.")
        plan = make_plan(self._spec, 1)
        self._state = new_state(plan, self.train_spec.optimizer)
        initialise(self._state, self._spec, self.train_spec.seed)

    def _validation(self, X: Any, y: Any) -> Validation:
        rows = self._rows(X, y, None)
        return Validation(rows, lambda outputs: self.coding.score(y, outputs))

    # -- training

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        validation: tuple[Any, ArrayLike] | float | None = None,
        sample_weight: ArrayLike | None = None,
        callbacks: Iterable[object] = (),
        epochs: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> MLP:
        """Train from first weights, or on from a checkpoint.

        Parameters
        ----------
        X : array-like (rows, columns), Table or data frame
            float32, float64 and uint8 arrays are read where they lie, memory-mapped or not;
            a model fitted on uint8 divides its inputs by 255, then and ever after.
        y : array-like (rows,) or (rows, targets)
            Labels of any kind, or numbers.
        validation : (X, y) or float, optional
            Data to validate on after each epoch, or the share of the rows to set aside.
        sample_weight : array-like (rows,), optional
        callbacks : iterable of Callback or callable(run, record)
        epochs : int, optional
            Instead of the setting.
        resume : path, optional
            A checkpoint of the same settings and data; goes on after its epoch.

        Returns
        -------
        MLP
            Itself. Ctrl-C ends training after a whole number of updates and returns too.

        Raises
        ------
        DataError, SpecError
            Before anything is changed.
        NonFiniteError
            The data or the loss became NaN or infinite; the model has the last good weights.
        """
        train = self.train_spec if epochs is None else self.train_spec.with_(epochs=epochs)
        X_val, y_val = None, None
        if isinstance(validation, tuple):
            X_val, y_val = validation
        elif validation is not None:
            X, y, sample_weight, X_val, y_val = self._set_aside(X, y, sample_weight, validation)
        carried: dict[str, NDArray[Any]] = {}
        with self._unchanged_by_errors():
            if resume is None:
                self._learn(X, y)
                self.history = History()
            else:
                carried = self._resume(resume, train)
            rows = self._rows(X, y, sample_weight)
            held = None if X_val is None else self._validation(X_val, y_val)
            self._check_batch(train, len(rows))
        self.train_spec = train
        self._train(train, rows, held, callbacks, carried)
        return self

    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> MLP:
        """One more epoch over these rows; the first call builds the net.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.
        classes : array-like, optional
            All labels that will ever come, at the first call.

        Notes
        -----
        Schedules over a whole training (cosine, one-cycle) do not apply: its end is unknown.
        """
        with self._unchanged_by_errors():
            if self._state is None:
                self._learn(X, y, classes)
            rows = self._rows(X, y, sample_weight)
        train = without_horizon(self.train_spec).with_(epochs=self._state_now.epoch + 1)
        self._train(train, rows, None, (), {})
        return self

    @contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        """What is wrong with the data is known before training: the model stays as it was."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.update(before)
            raise

    @staticmethod
    def _check_batch(train: TrainSpec, n: int) -> None:
        if train.batch_size is not None and train.batch_size > n:
            raise SpecError(
                f"batch_size={train.batch_size} is larger than the {n} rows of the data: give"
                f" {n} or less, or None for all rows."
            )

    def _set_aside(self, X: Any, y: Any, weights: Any, share: float) -> tuple[Any, ...]:
        table = as_table(X)
        y = np.asarray(y)
        stratify = None
        if y.ndim == 1 and (self.task == "classes" or y.dtype.kind in "biuUO"):
            stratify = y if np.unique(y.astype(str)).size <= len(y) // 10 else None
        first, second = split(len(y), share, self.train_spec.seed, stratify)
        if len(table if table is not None else np.asarray(X)) != len(y):
            raise DataError(f"X and y have different lengths; y has {len(y)}.")

        def take(rows: NDArray[Any]) -> Any:
            return np.asarray(X)[rows] if table is None else table.take(rows)

        kept = None if weights is None else np.asarray(weights)[first]
        return take(first), y[first], kept, take(second), y[second]

    def _train(
        self,
        train: TrainSpec,
        rows: Rows,
        held: Validation | None,
        callbacks: Iterable[object],
        carried: dict[str, NDArray[Any]],
    ) -> None:
        self._predictor = None
        loop = Loop(
            self, self.model_spec, train, self._state_now, rows, self._threads, held,
            self.history, lambda path, arrays: self._write(path, "checkpoint", arrays), carried,
        )  # fmt: skip
        self.history.score_name = "accuracy" if self.coding.labels is not None else "R2"
        loop.fit(CallbackList(callbacks))

    # -- using

    @property
    def predictor(self) -> Predictor:
        """The forward pass with its buffers, kept between calls."""
        if self._predictor is None:
            state = self._state_now
            self._predictor = Predictor(self.model_spec, state.plan, state, self._threads)
        return self._predictor

    def outputs(self, X: Any) -> NDArray[Any]:
        """Outputs (rows, n_outputs) of the last layer, as they are."""
        return self.predictor.outputs(Rows(self._inputs(X), scale=self._scale))

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels, or numbers in the targets' units: (rows,) or (rows, targets).

        Raises
        ------
        DataError
            Wrong shape or dtype, or a value that is not finite (row and column are named).
        """
        return self.coding.decode(self.outputs(X))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probabilities (rows, classes), in the order of :attr:`classes`."""
        return self.coding.probabilities(self.outputs(X), self.model_spec.output)

    def evaluate(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> dict[str, float]:
        """Loss and measures on data.

        Returns
        -------
        dict
            ``loss`` (mean over the rows, without penalty); for classes ``error`` and
            ``accuracy`` as fractions; for numbers ``mean_squared_error``,
            ``mean_absolute_error`` and ``r2`` in the targets' units.
        """
        rows = self._rows(X, y, sample_weight)
        outputs, loss = self.predictor.outputs_and_loss(rows)
        return {"loss": loss, **self.coding.evaluate(y, outputs, sample_weight)}

    def loss_and_gradient(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Loss with penalty over the rows as one batch, and its gradient as one flat vector.

        Nothing is dropped or clipped; the order of the gradient is that of :meth:`get_flat`.
        """
        rows, state = self._rows(X, y, sample_weight), self._state_now
        engine = Engine(
            self.model_spec, self.train_spec, state, rows, self._threads, deterministic=True
        )
        loss, gradient = engine.loss_and_gradient()
        return loss, state.get_flat(gradient)

    def check_gradients(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, **options: Any
    ) -> GradientReport:
        """Compare the gradient with finite differences in float64; a model not fitted yet gets
        its first weights. Options: see :func:`nbmlp.diagnostics.gradients.check_gradients`."""
        if self._state is None:
            self._learn(X, y)
        rows = self._rows(X, y, sample_weight, "float64")
        return check_gradients(self.model_spec, self.train_spec, self._state_now, rows, **options)

    # -- files

    def _write(
        self, path: str | os.PathLike[str], kind: str, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        extra = {
            "coding": self.coding.to_dict(), "history": self.history.to_dict(),
            "columns": None if self._columns is None else self._columns.to_dict(),
            "task": self.task, "standardise": self.standardise, "scale": self._scale,
            "notes": self.notes,
        }  # fmt: skip
        stored = model_file.Stored(
            self.model_spec, self.train_spec, self._state_now, extra, dict(arrays)
        )
        model_file.save(path, stored, kind)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as safetensors with JSON metadata, whole or not at all.

        Raises
        ------
        ModelFileError
            It cannot be written; a file that was there is untouched.
        """
        self._write(path, "model", {})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """Read a model; nothing in the file is executed.

        Raises
        ------
        ModelFileError
            Missing, damaged, newer than this version, or no model.
        """
        return cls._from_stored(model_file.load(path, "model"))

    @classmethod
    def _from_stored(cls, stored: model_file.Stored) -> MLP:
        extra = stored.extra
        try:
            model = cls(task=extra["task"], standardise=extra["standardise"])
            model._settings = {k: getattr(stored.spec, k) for k in _MODEL}
            model.train_spec, model._spec, model._state = stored.train, stored.spec, stored.state
            model._coding = TargetCoding.from_dict(extra["coding"])
            model._scale = float(extra["scale"])
            model.history = History.from_dict(extra["history"])
            model.notes = dict(extra.get("notes", {}))
            if extra["columns"] is not None:
                model._columns = ColumnPlan.from_dict(extra["columns"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the model's description does not fit together: {error}"
            ) from error
        return model

    def _resume(self, path: str | os.PathLike[str], train: TrainSpec) -> dict[str, NDArray[Any]]:
        """Take a checkpoint's state; returns what the callbacks of its training carried."""
        stored = model_file.load(path, "checkpoint")
        other = self._from_stored(stored)
        was, coding = stored.spec, other.coding
        n_classes = 0 if coding.labels is None else len(coding.labels)
        model = self._specify(was.n_inputs, coding.task, n_classes, was.n_outputs)
        changed = [n for n in _MODEL if getattr(was, n) != getattr(model, n)]
        kept = stored.train.with_(epochs=train.epochs, threads=train.threads)
        changed += [n for n in _TRAIN if getattr(kept, n) != getattr(train, n)]
        if changed:
            raise SpecError(
                f"{os.fspath(path)} was written with another {', '.join(changed)}: resume with the"
                " settings of the first fit."
            )
        self._spec, self._state, self._coding = other._spec, other._state, other._coding
        self._columns, self._scale, self.history = other._columns, other._scale, other.history
        return stored.arrays


def _signature() -> inspect.Signature:
    """What help() shows: every setting with its default, from the specs themselves."""
    parameter = inspect.Parameter
    shown = [parameter("hidden", parameter.POSITIONAL_OR_KEYWORD, default=(100,))]
    own = {"task": "auto", "standardise": False, "learning_rate": None}
    defaults = {**own, "output": "auto", "loss": "auto"}
    train = TrainSpec()
    for f in fields(ModelSpec):
        if f.name in _MODEL and f.name != "hidden":
            defaults.setdefault(f.name, f.default)
    defaults |= {name: getattr(train, name) for name in _TRAIN}
    shown += [parameter(n, parameter.KEYWORD_ONLY, default=v) for n, v in defaults.items()]
    return inspect.Signature(shown)


MLP.__signature__ = _signature()  # type: ignore[attr-defined]
