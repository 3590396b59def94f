"""class MLP: the native API, thin. Arrays in, settings checked, the work done elsewhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike

from nbmlp.coding import Truth
from nbmlp.data import Given, Mended, check_in_portions
from nbmlp.data.dataset import ColumnRef
from nbmlp.data.outliers import tell_lone_values
from nbmlp.errors import SpecError, TrainingWarning
from nbmlp.examine import Examined
from nbmlp.failures.explain import explain
from nbmlp.io import model_file
from nbmlp.model import Arrays
from nbmlp.names import Function, Score, label_of
from nbmlp.net import converted
from nbmlp.optimizers import LBFGS
from nbmlp.predict import Rows
from nbmlp.rows import Names
from nbmlp.settings import Settings, signature
from nbmlp.spec import MODEL_SETTINGS, TRAIN_SETTINGS, TrainSpec
from nbmlp.spec.keywords import Chosen, Further
from nbmlp.state import first_slots
from nbmlp.stream import (
    FromFiles,
    ReadyRows,
    check_arrays,
    names_files,
    refuse_files,
)
from nbmlp.train.callbacks import CallbackList
from nbmlp.train.engine import Engine
from nbmlp.train.hosts import ALONE, Hosts
from nbmlp.train.hosts.watch import watching
from nbmlp.train.loop import Loop, Validation, without_horizon
from nbmlp.train.resume import check_rows

__all__ = ["MLP"]


class MLP(Examined):
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
        fit. Tables and data frames are always prepared so; text, booleans and dates become
        numbers, too.
    scaling : {"standard", "robust"}
        How numbers of prepared columns are scaled; see :meth:`nbmlp.ColumnPlan.fit`.
    bins : int
        So many piecewise linear bins of each number in prepared columns, beside it.
    category_embedding : bool
        Columns of more than 8 categories are embedded, as `code_width` numbers each.
    column_kinds : dict, optional
        What to take columns as, by name, e.g. ``{"shop": "category", "id": "drop"}``.
    class_weight : dict or "balanced", optional
        Weights that the rows of each class have in training, beside `sample_weight`; those of
        validation do not. ``"balanced"``: in inverse proportion to the rows that a class has.
    eval_metric : str, optional
        Score of the validation rows after each epoch, e.g. ``"roc_auc"``; accuracy or R2 unless
        named. Early stopping goes by it.
    tune_threshold : str, optional
        Score of two classes, e.g. ``"f1"``, that the validation rows get at its best when training
        has ended, see :meth:`tune_threshold`.
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

    def __init__(self, hidden: int | Iterable[int] = (100,), **settings: Unpack[Further]) -> None:
        super().__init__(hidden, **settings)
        self._engine: Engine | None = None

    # -- training

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        target: ColumnRef | None = None,
        columns: ColumnRef | None = None,
        validation: tuple[Any, ArrayLike] | Given | float | str | os.PathLike[str] | None = None,
        sample_weight: ArrayLike | None = None,
        callbacks: Iterable[object] = (),
        epochs: int | None = None,
        resume: str | os.PathLike[str] | None = None,
        replay: str | os.PathLike[str] | None = None,
        row_numbers: Names | ArrayLike | None = None,
        comm: Any = None,
    ) -> MLP:
        """Train from first weights, or on from a checkpoint.

        Parameters
        ----------
        X : array-like (rows, columns), Table, data frame or files
            float32, float64 and uint8 arrays are read where they lie, memory-mapped or not;
            a model fitted on uint8 divides its inputs by 255, then and ever after. Parquet files
            are named by a path, folder, pattern as ``"folder/*.parquet"`` or address, need not fit
            into memory, and are prepared as a frame would be: docs/large-data.md.
        y : array-like (rows,) or (rows, targets)
            Labels of any kind, or numbers; of files their column is named instead.
        target, columns : names or numbers, optional
            Of files: the columns to predict, and those to predict from; all others by default.
        validation : (X, y), Given, float or files, optional
            Data to validate on after each epoch, or the share of the rows to set aside.
        sample_weight : array-like (rows,), optional
            Of files also the name of the column where they are.
        callbacks : iterable of Callback or callable(run, record)
        epochs : int, optional
            Instead of the setting.
        resume : path, optional
            A checkpoint of the same settings and data; goes on where it was written.
        replay : path, optional
            Where to write an update that fails on NaN or infinity, for :func:`nbmlp.replay`.
        row_numbers : array-like of int (rows,) or Names, optional
            What messages call the rows, e.g. their numbers in a file; by default 0, 1, ... With
            :class:`~nbmlp.rows.Names` also what they call the columns.
        comm : mpi4py.MPI.Comm, optional
            Processes that train together, e.g. ``MPI.COMM_WORLD``: docs/many-machines.md.

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
        hosts = Hosts(comm, self.train_spec)
        with watching(comm), hosts.told():
            settings = self._settings if epochs is None else self._settings.with_(epochs=epochs)
            train, dtype, called = settings.train, settings.dtype, hosts.callbacks(callbacks)
            with self._unchanged_by_errors():
                if names_files(X) or isinstance(X, FromFiles):
                    asked = target, columns, sample_weight, validation
                    found = self._of_files(hosts, X, y, row_numbers, *asked)
                    given, aside, done = found.train, found.held, Mended()
                    self.notes = {**self.notes, "origin": found.origin.to_dict()}
                else:
                    check_arrays(y, target, columns, validation)
                    given = Given.named(X, y, sample_weight, row_numbers)
                    given, done = hosts.mended(given, settings, dtype)
                    given, aside = self._divide(given, validation)
                begun = self._begin(settings, given, aside, resume, hosts)
                given, rows, held, carried = begun
            hosts.check_alike(self.model_spec, train, rows)
            self._tell(done)
            if sentence := tell_lone_values(*hosts.own_rows(given)):
                warnings.warn(sentence, TrainingWarning, stacklevel=2)
            self._train(train, train.epochs, rows, held, called, carried, replay, hosts)
            if (wanted := self._settings.target.tune_threshold) and held is not None:
                outputs = hosts.outputs(self.predictor, held.rows)
                self._set_threshold(wanted, held.rows, outputs)
            self._engine = None  # its buffers are not needed until the next fit
            if resume is None and (sentence := self.history.describe_stall()):
                warnings.warn(sentence, TrainingWarning, stacklevel=2)
            return self

    def _begin(
        self, settings: Settings, given: Given, aside: Given | None, resume: Any, hosts: Hosts
    ) -> tuple[Given, Rows, Validation | None, Arrays]:
        """The net, new or of a checkpoint, and what it trains on; last, what that one carried.

        First, the data as they are looked through for odd values: before columns are prepared.
        """
        train = settings.train
        carried: Arrays = {} if resume is None else self._resume(resume, train)
        plan = hosts.plan(given, settings) if resume is None else self.net.columns
        ready = hosts.ready(given, settings, plan, hosts.own)
        if resume is None:
            ready = self._build(ready)
        rows = self._weighted(self.net.rows_of(ready, hosts.finite))
        check_rows(carried, len(rows))
        held = None if aside is None else self._validation(aside, hosts)
        train.batch_rows(len(rows))
        label_of(self._watched)  # refused before training, or never
        self._check_threshold(held is not None)
        self._settings = settings
        return given if isinstance(ready.X, ReadyRows) else ready, rows, held, carried

    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        row_numbers: Names | ArrayLike | None = None,
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
        check_in_portions(self._settings.class_weight)
        refuse_files(X, "partial_fit", "fit takes files")
        given = Given.named(X, y, sample_weight, row_numbers)
        given, done = given.mended(self.train_spec.on_nonfinite, self.dtype)
        with self._unchanged_by_errors():
            if first := self._net is None:
                given = self._build(given, classes)
            visit = self.net.visit(given, not first and self.train_spec.on_nonfinite == "raise")
            visit.rows = self._weighted(visit.rows)
            label_of(self._watched)
        self._tell(done)
        train = without_horizon(self.train_spec)
        with visit as rows:
            self._train(train, self.net.state.epoch + 1, rows, None, CallbackList(), {})
        return self

    def set_params(self, **params: Unpack[Chosen]) -> Self:
        """Change settings; a net that is there stays until the next fit. Returns itself.

        ``partial_fit`` trains it on with the new settings of training; another rule for the
        updates begins without memory.

        Raises
        ------
        SpecError
            An unknown setting or a wrong value; nothing is changed then.
        """
        before = self.train_spec.optimizer
        super().set_params(**params)
        after = self.train_spec.optimizer
        if self._net is not None and after.slots != before.slots:
            first_slots(self._net.state, after)
            self._engine = None
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

    def _build(self, given: Given, classes: ArrayLike | None = None) -> Given:
        """Make the net; returns the data as it has taken them."""
        with given.names.telling():
            given = converted(given, self._settings)
            self.build(given.X, given.y, classes)
        return given

    def _tell(self, done: Mended, name: str = "") -> None:
        self.history.rows_dropped += len(done.dropped)
        self.history.values_imputed += done.imputed
        if sentence := done.describe(name):
            warnings.warn(sentence, TrainingWarning, stacklevel=3)

    def _validation(self, held: Given, hosts: Hosts) -> Validation:
        policy, ready = self.train_spec.on_nonfinite, isinstance(held.X, ReadyRows)
        held = hosts.unread(held, self.net.columns is not None)
        if policy in ("drop_rows", "impute", "ignore") and not ready:
            held = Given.of(held.X, held.y, numbers=held.names)
            held, done = hosts.without_bad_rows(held, self.model_spec.dtype)
            self._tell(done, "validation data: ")
        held = replace(held, y=np.asarray(held.y))
        held = hosts.ready(held, self._settings, self.net.columns, hosts.part)
        rows = self.net.finite_rows(held, hosts.part)
        truth = Truth(self.coding, held.y, self.model_spec.output)
        watched = {"": self._watched}
        return Validation(rows, lambda outputs: truth.scores(outputs, watched)[""])

    def _check_threshold(self, validated: bool) -> None:
        """Begin with the usual one, and refuse one that can't be tuned in the end."""
        self.net.coding = replace(self.coding, threshold=0.5)
        if wanted := self._settings.target.tune_threshold:
            self.coding.tunable(wanted, self.model_spec.output)
            if not validated:
                raise SpecError("tune_threshold needs validation data: give validation=.")

    @property
    def _watched(self) -> Function[Score]:
        """The score of each epoch."""
        return self.coding.watched(self._settings.target.eval_metric, self.model_spec.output)

    def _bound(self, train: TrainSpec, rows: Rows, hosts: Hosts) -> Engine:
        """The last fit's engine where it can take these rows, else a new one."""
        net, kept = self.net, self._engine
        alone = hosts.size == 1 and kept is not None and kept.state is net.state
        if kept is None or not alone or not kept.rebind(train, rows):
            kept = self._engine = None  # its memory goes before the new one's comes
            full = isinstance(train.optimizer, LBFGS)
            kept = hosts.engine(
                net.spec, train, net.state, rows, self._threads, full, explain, self.history
            )
        self._engine = kept
        return kept

    def _train(
        self,
        train: TrainSpec,
        epochs: int,
        rows: Rows,
        held: Validation | None,
        callbacks: CallbackList,
        carried: Arrays,
        replay: str | os.PathLike[str] | None = None,
        hosts: Hosts = ALONE,
    ) -> None:
        self.history.score_name = label_of(self._watched)
        loop = Loop(
            self, train, epochs, self.net.state, len(rows),
            lambda: self._bound(train, rows, hosts), lambda: self.predictor, held, self.history,
            lambda path, arrays: self._write(path, "checkpoint", arrays), carried, hosts,
        )  # fmt: skip
        try:
            loop.fit(callbacks)
        except BaseException:
            self._engine = None
            raise
        finally:
            if replay is not None and loop.failure is not None:
                loop.failure.bundle.save(replay)

    def _resume(self, path: str | os.PathLike[str], train: TrainSpec) -> Arrays:
        """Take a checkpoint's state; returns what the callbacks of its training carried."""
        stored = model_file.load(path, "checkpoint")
        other = self._from_stored(stored)
        was, labels = stored.spec, other.coding.labels
        n_classes = 0 if labels is None else len(labels)
        now = self._settings.specify(
            was.n_inputs, other.coding.task, n_classes, was.n_outputs, other.net.columns
        )
        changed = [n for n in MODEL_SETTINGS if getattr(was, n) != getattr(now, n)]
        kept = stored.train.with_(
            epochs=train.epochs, threads=train.threads, on_nonfinite=train.on_nonfinite
        )
        changed += [n for n in TRAIN_SETTINGS if getattr(kept, n) != getattr(train, n)]
        changed += [
            name for name in ("class_weight", "eval_metric")
            if getattr(other._settings.target, name) != getattr(self._settings.target, name)
        ]  # fmt: skip
        if changed:
            raise SpecError(
                f"{os.fspath(path)} was written with another {', '.join(changed)}: resume with the"
                " settings of the first fit."
            )
        self._net, self.history, self._engine = other.net, other.history, None
        self.history.rows_dropped = self.history.values_imputed = 0  # the data tell them again
        return stored.arrays
