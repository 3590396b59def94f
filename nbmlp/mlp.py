"""class MLP: the native API, thin. Arrays in, settings checked, the work done elsewhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import tuning
from nbmlp.checks import number
from nbmlp.coding import TargetCoding
from nbmlp.data import (
    ColumnPlan,
    Given,
    Mended,
    describe_nonfinite,
    first_nonfinite,
)
from nbmlp.diagnostics.function_check import check_function
from nbmlp.diagnostics.gradients import GradientReport, check_gradients
from nbmlp.diagnostics.scan import scan_batch
from nbmlp.diagnostics.scan_result import BatchScan
from nbmlp.diagnostics.user_code import Function, FunctionReport, Problem
from nbmlp.diagnostics.why import Report, diagnose
from nbmlp.errors import DataError, ModelFileError, NotFittedError, SpecError, TrainingWarning
from nbmlp.io import model_file
from nbmlp.net import Net
from nbmlp.optimizers import LBFGS
from nbmlp.predict import Predictor, Rows
from nbmlp.settings import MODEL_SETTINGS, TRAIN_SETTINGS, Settings, signature
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.train.callbacks import CallbackList
from nbmlp.train.engine import Engine
from nbmlp.train.history import History
from nbmlp.train.loop import Loop, Validation, without_horizon

__all__ = ["MLP"]

Arrays = Mapping[str, NDArray[Any]]


def _finite(rows: Rows, name: str) -> Rows:
    """The rows, if all inputs are finite; raises DataError else."""
    if (place := first_nonfinite(rows.x)) is not None:
        raise DataError(describe_nonfinite(rows.x, place, name))
    return rows


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

    __signature__ = signature()

    def __init__(self, hidden: int | Iterable[int] = (100,), **settings: Any) -> None:
        self._settings = Settings.parse(hidden, settings)
        self.history = History()
        self.notes: dict[str, Any] = {}
        self._net: Net | None = None
        self._predictor: Predictor | None = None
        self._engine: Engine | None = None

    def __repr__(self) -> str:
        if self._net is None:
            return f"MLP(hidden={self._settings.model['hidden']}, not fitted)"
        spec, epochs = self._net.spec, self._net.state.epoch
        return (
            f"MLP({'-'.join(map(str, spec.layer_sizes))}, {spec.output}, {spec.loss},"
            f" {spec.n_parameters} parameters, {epochs} epochs)"
        )

    # -- settings and parameters

    @property
    def train_spec(self) -> TrainSpec:
        """How it is trained."""
        return self._settings.train

    @property
    def model_spec(self) -> ModelSpec:
        """The net's settings, shapes included; known after the first data."""
        return self.net.spec

    @property
    def net(self) -> Net:
        """Parameters, and how data become rows of inputs and targets."""
        if self._net is None:
            raise NotFittedError("this model has not seen data yet: call fit or load first.")
        return self._net

    @property
    def coding(self) -> TargetCoding:
        """How targets become outputs and back."""
        return self.net.coding

    @property
    def column_plan(self) -> ColumnPlan | None:
        """How raw columns become inputs; None when inputs are taken as they are."""
        return self.net.columns

    @property
    def weights(self) -> list[NDArray[Any]]:
        """Views W (inputs, outputs) of each layer; may be written to."""
        return self.net.state.weights()

    @property
    def biases(self) -> list[NDArray[Any]]:
        """Views b (outputs,) of each layer; empty without biases."""
        return self.net.state.biases()

    @property
    def classes(self) -> NDArray[Any] | None:
        """Labels in the order of the outputs; None for regression."""
        labels = self.coding.labels
        return None if labels is None else labels.decode(np.arange(len(labels)))

    def get_flat(self) -> NDArray[Any]:
        """Copy of all parameters in one vector: W1 row by row, b1, W2, b2, ..."""
        return self.net.state.get_flat()

    def set_flat(self, values: ArrayLike) -> None:
        """Set all parameters from one vector; raises DataError on a wrong length or a NaN."""
        self.net.state.set_flat(values)

    def build(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> MLP:
        """Shapes, labels and first weights from data, without training. Returns itself."""
        self._net = Net.learn(self._settings, X, y, classes)
        self.history, self._predictor, self._engine = History(), None, None
        return self

    @property
    def _threads(self) -> int:
        return self.train_spec.threads or tuning.available_threads()

    def with_(self, **changes: Any) -> MLP:
        """A model of these settings with some changed, not fitted.

        Raises
        ------
        SpecError
            An unknown setting or a wrong value.
        """
        model = MLP()
        model._settings = self._settings.with_(**changes)
        return model

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
        replay: str | os.PathLike[str] | None = None,
        row_numbers: ArrayLike | None = None,
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
        replay : path, optional
            Where to write an update that fails on NaN or infinity, for :func:`nbmlp.replay`.
        row_numbers : array-like of int (rows,), optional
            What messages call the rows, e.g. their numbers in a file; by default 0, 1, ...

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
        team = CallbackList(callbacks)
        given = Given(X, y, sample_weight)
        if row_numbers is not None or isinstance(validation, Real):
            given = Given.of(X, y, sample_weight, row_numbers)
        given, done = self._mended(given)
        given, X_val, y_val = self._divide(given, validation)
        with self._unchanged_by_errors():
            carried: Arrays = {}
            if resume is None:
                self.build(given.X, given.y)
            else:
                carried = self._resume(resume, train)
            rows = self._rows(given)
            held = None if X_val is None else self._validation(X_val, y_val)
            train.batch_rows(len(rows))
            self._settings.train = train
        self._tell(done)
        self._train(train, train.epochs, rows, held, team, carried, replay)
        self._engine = None  # its buffers are not needed until the next fit
        return self

    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        row_numbers: ArrayLike | None = None,
    ) -> MLP:
        """One more epoch over these rows; the first call builds the net.

        Parameters
        ----------
        X, y, sample_weight, row_numbers
            As for :meth:`fit`.
        classes : array-like, optional
            All labels that will ever come, at the first call.

        Notes
        -----
        Schedules over a whole training (cosine, one-cycle) do not apply: its end is unknown.
        """
        given = Given(X, y, sample_weight)
        if row_numbers is not None:
            given = Given.of(X, y, sample_weight, row_numbers)
        given, done = self._mended(given)
        with self._unchanged_by_errors():
            if self._net is None:
                self.build(given.X, given.y, classes)
            rows = self._rows(given)
        self._tell(done)
        train = without_horizon(self.train_spec)
        self._train(train, self.net.state.epoch + 1, rows, None, CallbackList(), {})
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What pickles and copies take along: all but the buffers, which are made anew."""
        return self.__dict__ | {"_predictor": None, "_engine": None}

    @contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        """What is wrong with the data is known before training: the model stays as it was."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.update(before)
            raise

    def _divide(self, given: Given, validation: Any) -> tuple[Given, Any, Any]:
        """Rows to train on, X and y to validate on (None without validation)."""
        if validation is None:
            return given, None, None
        if isinstance(validation, tuple | list) and len(validation) == 2:
            return given, *validation
        if not isinstance(validation, Real):
            raise SpecError("validation must be (X, y) or a share of the rows, e.g. 0.1.")
        number("validation", validation, high=1.0, closed_low=False)
        classes = self._settings.task == "classes"
        given, aside = given.set_aside(float(validation), self.train_spec.seed, classes)
        return given, aside.X, aside.y

    def _mended(self, given: Given) -> tuple[Given, Mended]:
        """The rows to train with, as the setting says about those with NaN and infinities."""
        policy, dtype = self.train_spec.on_nonfinite, self._settings.model.get("dtype", "float32")
        if policy not in ("drop_rows", "impute"):
            return given, Mended()
        given = Given.of(given.X, given.y, given.weights, given.numbers)
        return given.without_bad_rows(dtype) if policy == "drop_rows" else given.imputed(dtype)

    def _tell(self, done: Mended, name: str = "") -> None:
        self.history.rows_dropped += len(done.dropped)
        self.history.values_imputed += done.imputed
        if sentence := done.describe(name):
            warnings.warn(sentence, TrainingWarning, stacklevel=3)

    def _rows(self, given: Given) -> Rows:
        """Rows for the engine, which know their numbers and the names of their columns."""
        rows = self.net.rows(given.X, given.y, given.weights)
        names = () if self.column_plan is None else self.column_plan.feature_names
        return replace(rows, numbers=given.numbers, names=names)

    def _validation(self, X: Any, y: Any) -> Validation:
        if self.train_spec.on_nonfinite in ("drop_rows", "impute", "ignore"):
            given, done = Given.of(X, y).without_bad_rows(self.model_spec.dtype)
            X, y = given.X, given.y
            self._tell(done, "validation data: ")
        rows = _finite(self.net.rows(X, y), "validation X")
        return Validation(rows, lambda outputs: self.coding.score(y, outputs))

    def _train(
        self,
        train: TrainSpec,
        epochs: int,
        rows: Rows,
        held: Validation | None,
        callbacks: CallbackList,
        carried: Arrays,
        replay: str | os.PathLike[str] | None = None,
    ) -> None:
        self.history.score_name = "accuracy" if self.coding.labels is not None else "R2"

        def engine() -> Engine:
            if self._engine is None or not self._engine.rebind(train, rows):
                net, full = self.net, isinstance(train.optimizer, LBFGS)
                self._engine = Engine(
                    net.spec, train, net.state, rows, self._threads, deterministic=full
                )
            return self._engine

        def save(path: str | os.PathLike[str], arrays: Arrays) -> None:
            self._write(path, "checkpoint", arrays)

        loop = Loop(
            self, train, epochs, self.net.state, len(rows), engine, lambda: self.predictor, held,
            self.history, save, carried,
        )  # fmt: skip
        try:
            loop.fit(callbacks)
        except BaseException:
            self._engine = None
            raise
        finally:
            if replay is not None and loop.failure is not None:
                loop.failure.bundle.save(replay)

    # -- using

    @property
    def predictor(self) -> Predictor:
        """The forward pass with its buffers, kept between calls."""
        net = self.net
        if self._predictor is None or self._predictor.state is not net.state:
            self._predictor = Predictor(net.spec, net.state.plan, net.state, self._threads)
        return self._predictor

    def outputs(self, X: Any) -> NDArray[Any]:
        """Outputs (rows, n_outputs) of the last layer, as they are."""
        return self.predictor.outputs(self.net.rows(X))

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
        outputs, loss = self.predictor.outputs_and_loss(self.net.rows(X, y, sample_weight))
        return {"loss": loss, **self.coding.evaluate(y, outputs, sample_weight)}

    def loss_and_gradient(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Loss with penalty over the rows as one batch, and its gradient as one flat vector.

        Nothing is dropped or clipped; the order of the gradient is that of :meth:`get_flat`.
        """
        net, rows = self.net, self.net.rows(X, y, sample_weight)
        engine = Engine(
            net.spec, self.train_spec, net.state, rows, self._threads, deterministic=True
        )
        loss, gradient = engine.loss_and_gradient()
        return loss, net.state.get_flat(gradient)

    def check_gradients(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        function: Function | None = None,
        **options: Any,
    ) -> GradientReport | FunctionReport:
        """Check the net's gradient by finite differences, or somebody's own code by the net's.

        Takes the first 256 rows, in float64; a model not fitted yet gets its first weights.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.
        function : callable (theta, X, y), optional
            NumPy code that is meant to be this net. It returns ``(loss, gradient)``, and the
            report says which of its lines are wrong; or outputs, to be compared with the net's.
        **options
            See :func:`nbmlp.diagnostics.gradients.check_gradients`; with a function
            :func:`nbmlp.diagnostics.function_check.check_function`.
        """
        if self._net is None:
            self.build(X, y)
        net, train = self.net, self.train_spec
        rows = net.rows(X, y, sample_weight, "float64")
        if function is None:
            return check_gradients(net.spec, train, net.state, rows, **options)
        problem = Problem.of(net.spec, train, net.state, rows, options.get("seed", 0))
        return check_function(problem, function, **options)

    def why(
        self,
        X: Any,
        y: ArrayLike,
        *,
        validation: tuple[Any, ArrayLike] | float = 0.2,
        sample_weight: ArrayLike | None = None,
        **options: Any,
    ) -> Report:
        """Find out why training with these settings fails, stalls or disappoints.

        Trains for short times with and without each likely cure; this model stays as it is,
        fitted or not. Options (`seconds`, `progress`): see
        :func:`nbmlp.diagnostics.why.diagnose`.

        Returns
        -------
        Report
            Prints as text; :meth:`Report.cured` makes the model with the cure applied.
        """
        return diagnose(
            self._settings, X, y, validation=validation, sample_weight=sample_weight,
            rebuild=self.with_, **options,
        )  # fmt: skip

    def scan_batch(
        self,
        X: Any,
        y: ArrayLike,
        *,
        validation: tuple[Any, ArrayLike] | float | None = None,
        **options: Any,
    ) -> BatchScan:
        """Which batch size learns soonest: short trainings from first weights, on copies.

        The model is not changed, fitted or not.

        Parameters
        ----------
        X, y, validation
            As for :meth:`fit`; the loss of the validation rows is watched if there are any.
        **options
            sizes, target, seconds, progress: see :func:`nbmlp.diagnostics.scan.scan_batch`.

        Returns
        -------
        BatchScan
            Prints as a table; ``best``, ``to_dict()``, ``plot(path)``.

        Raises
        ------
        DataError, SpecError
        """
        given, X_val, y_val = self._divide(Given.of(X, y), validation)
        X, y = given.X, given.y
        net = Net.learn(self._settings, X, y)
        rows = _finite(net.rows(X, y), "X")
        held = None if X_val is None else _finite(net.rows(X_val, y_val), "validation X")
        return scan_batch(net, self.train_spec, rows, held, self._threads, **options)

    # -- files

    def _write(self, path: str | os.PathLike[str], kind: str, arrays: Arrays) -> None:
        net, settings = self.net, self._settings
        extra = {
            **net.to_dict(), "history": self.history.to_dict(), "notes": self.notes,
            "task": settings.task, "standardise": settings.standardise,
        }  # fmt: skip
        stored = model_file.Stored(net.spec, self.train_spec, net.state, extra, dict(arrays))
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
    def load(cls, path: str | os.PathLike[str], threads: int | None = None) -> MLP:
        """Read a model; nothing in the file is executed.

        Parameters
        ----------
        path : path-like
        threads : int, optional
            To use from now on; by default as many as when it was trained.

        Raises
        ------
        ModelFileError
            Missing, damaged, newer than this version, or no model.
        """
        model = cls._from_stored(model_file.load(path, "model"))
        if threads is not None:
            model._settings.train = model.train_spec.with_(threads=threads)
        return model

    @classmethod
    def _from_stored(cls, stored: model_file.Stored) -> MLP:
        extra = stored.extra
        try:
            model = cls(task=extra["task"], standardise=extra["standardise"])
            model._settings.model = {k: getattr(stored.spec, k) for k in MODEL_SETTINGS}
            model._settings.train = stored.train
            model._net = Net.from_dict(stored.spec, stored.state, extra)
            model.history = History.from_dict(extra["history"])
            model.notes = dict(extra["notes"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"the model's description does not fit together: {error}"
            raise ModelFileError(reason) from error
        return model

    def _resume(self, path: str | os.PathLike[str], train: TrainSpec) -> Arrays:
        """Take a checkpoint's state; returns what the callbacks of its training carried."""
        stored = model_file.load(path, "checkpoint")
        other = self._from_stored(stored)
        was, labels = stored.spec, other.coding.labels
        n_classes = 0 if labels is None else len(labels)
        now = self._settings.specify(was.n_inputs, other.coding.task, n_classes, was.n_outputs)
        changed = [n for n in MODEL_SETTINGS if getattr(was, n) != getattr(now, n)]
        kept = stored.train.with_(
            epochs=train.epochs, threads=train.threads, on_nonfinite=train.on_nonfinite
        )
        changed += [n for n in TRAIN_SETTINGS if getattr(kept, n) != getattr(train, n)]
        if changed:
            raise SpecError(
                f"{os.fspath(path)} was written with another {', '.join(changed)}: resume with the"
                " settings of the first fit."
            )
        self._net, self.history, self._engine = other.net, other.history, None
        return stored.arrays
