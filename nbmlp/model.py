"""class Model(Parameters): a net with its settings: parameters, predictions, files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import metrics, tuning
from nbmlp.coding import TargetCoding
from nbmlp.data import ColumnPlan, Told, as_taken
from nbmlp.errors import ModelFileError, NotFittedError
from nbmlp.io import model_file
from nbmlp.names import PROBABLE
from nbmlp.net import Net
from nbmlp.parameters import Parameters
from nbmlp.plots import evaluation
from nbmlp.predict import Predictor, Rows
from nbmlp.settings import Settings
from nbmlp.spec import ModelSpec, TaskSpec, TrainSpec
from nbmlp.spec.keywords import Further
from nbmlp.train.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Arrays", "Model"]

Arrays = Mapping[str, NDArray[Any]]


class Model(Parameters):
    """What :class:`~nbmlp.MLP` is before and after training.

    Parameters
    ----------
    hidden, **settings
        See :class:`~nbmlp.MLP`.

    Attributes
    ----------
    history : History
    notes : dict
    """

    def __init__(self, hidden: int | Iterable[int] = (100,), **settings: Unpack[Further]) -> None:
        self._settings = Settings.parse({"hidden": hidden, **settings})
        self.history = History()
        self.notes: dict[str, Any] = {}
        self._net: Net | None = None
        self._predictor: Predictor | None = None

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
    def dtype(self) -> str:
        """Element type of its net, known before the net is."""
        return self._settings.dtype if self._net is None else self._net.spec.dtype

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
    def columns(self) -> list[Told]:
        """What became of each column of the data, and why.

        ``print(nbmlp.data.table_of(model.columns))`` shows it as a table.
        """
        net = self.net
        if net.columns is not None:
            return net.columns.told()
        origin = self.notes.get("origin")
        named = origin.get("feature_names", ()) if isinstance(origin, Mapping) else ()
        fits = isinstance(named, list | tuple) and len(named) == net.n_columns
        names = map(str, named) if fits else (f"x{j}" for j in range(net.n_columns))
        return as_taken(tuple(names), net.scale != 1.0)

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
        return None if labels is None else labels.all()

    @property
    def gives_probabilities(self) -> bool:
        """Whether :meth:`predict_proba` has an answer."""
        return self.classes is not None and self.model_spec.output in PROBABLE

    def get_flat(self) -> NDArray[Any]:
        """Copy of all parameters in one vector: W1 row by row, b1, W2, b2, ..."""
        return self.net.state.get_flat()

    def set_flat(self, values: ArrayLike) -> None:
        """Set all parameters from one vector; raises DataError on a wrong length or a NaN."""
        self.net.state.set_flat(values)

    def build(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Shapes, labels and first weights from data, without training. Returns itself."""
        self._net = Net.learn(self._settings, X, y, classes)
        self.history, self._predictor = History(), None
        return self

    @property
    def _threads(self) -> int:
        return self.train_spec.threads or tuning.available_threads()

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
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        metrics: str | Iterable[str] | None = None,
    ) -> dict[str, float]:
        """Loss and scores on data.

        Parameters
        ----------
        X, y, sample_weight
        metrics : str or iterable of str, optional
            Names of scores, e.g. ``"f1"`` or ``["roc_auc", "pr_auc", "pinball(0.9)"]``.

        Returns
        -------
        dict
            ``loss`` (mean over the rows, without penalty) and the scores, by the names that were
            asked for. By default, for classes ``error``, ``accuracy``, ``balanced_accuracy``,
            ``log_loss``, ``roc_auc``, ``f1`` and ``mcc``; for numbers
            ``root_mean_squared_error``, ``mean_squared_error``, ``mean_absolute_error`` and
            ``r2`` in the targets' units. NaN where one is not defined on these rows.

        Raises
        ------
        SpecError
            An unknown score, or one that does not go with what is predicted.
        """
        names = [metrics] if isinstance(metrics, str) else metrics
        coding, output = self.coding, self.model_spec.output
        wanted = None if names is None else {name: coding.watched(name, output) for name in names}
        y = np.asarray(y)
        outputs, loss = self.predictor.outputs_and_loss(self.net.rows(X, y, sample_weight))
        return {"loss": loss, **coding.evaluate(y, outputs, output, sample_weight, wanted)}

    def plot_evaluation(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        names: Sequence[object] = (),
        title: str = "",
        path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Draw how good predictions are.

        Of classes the confusion matrix, and how often what is predicted comes true over the
        probability that it is given; of numbers predicted over true values.

        Parameters
        ----------
        X, y, sample_weight
        names : sequence, optional
            Of the targets, where they are numbers.
        title : str
        path : path-like, optional
            File to write; its ending chooses the format.

        Raises
        ------
        MissingPackageError
            matplotlib is not installed.
        """
        y = np.asarray(y)
        outputs = self.predictor.outputs(self.net.rows(X, y, sample_weight))
        shown = self.coding.shown(y, outputs, self.model_spec.output, sample_weight)
        return evaluation(shown, names=names, title=title, path=path)

    @property
    def threshold(self) -> float:
        """Probability of the second of two classes beyond which it is the answer."""
        return self.coding.threshold

    def tune_threshold(
        self, X: Any, y: ArrayLike, metric: str = "f1", sample_weight: ArrayLike | None = None
    ) -> float:
        """Choose from which probability on the second of two classes is answered.

        Parameters
        ----------
        X, y, sample_weight
            Rows that the model has not learned from, of both classes.
        metric : str
            The score that they shall have at its best: ``"f1"``, ``"balanced_accuracy"``,
            ``"mcc"``, ``"accuracy"`` or another one of labels.

        Returns
        -------
        float
            Also :attr:`threshold` from now on, which `predict` goes by and files keep; training
            anew puts it back to 0.5.

        Raises
        ------
        SpecError
            There are not two classes with probabilities, or the score is none of labels.
        DataError
            The rows are all of one class.
        """
        self.coding.tunable(metric, self.model_spec.output)
        rows = self.net.rows(X, np.asarray(y), sample_weight)
        self._set_threshold(metric, rows, self.predictor.outputs(rows))
        return self.threshold

    def _set_threshold(self, metric: str, rows: Rows, outputs: NDArray[Any]) -> None:
        assert rows.y is not None
        output, truth = self.model_spec.output, rows.y.ravel() > 0
        self.net.coding = self.coding.tuned(metric, output, outputs, truth, rows.weights)

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Share of the rows whose label is right, or R2 of numbers (the mean over targets).

        A label that was not there in training is a miss, as for scikit-learn's estimators.
        """
        measure = metrics.r2 if self.coding.labels is None else metrics.accuracy
        return measure(y, self.predict(X), sample_weight)

    # -- files

    def _write(self, path: str | os.PathLike[str], kind: str, arrays: Arrays) -> None:
        net, settings = self.net, self._settings
        extra = {
            **net.to_dict(), "history": self.history.to_dict(), "notes": self.notes,
            **settings.target.to_dict(),
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
    def load(cls, path: str | os.PathLike[str], threads: int | None = None) -> Self:
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
            model.set_params(threads=threads)
        return model

    @classmethod
    def _from_stored(cls, stored: model_file.Stored) -> Self:
        extra = stored.extra
        try:
            model = cls()
            task, prepared = TaskSpec.from_dict(extra), extra["columns"] is not None
            model._settings = Settings.of(stored.spec, stored.train, task, prepared)
            model._net = Net.from_dict(stored.spec, stored.state, extra)
            model.history = History.from_dict(extra["history"])
            model.notes = dict(extra["notes"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"the model's description does not fit together: {error}"
            raise ModelFileError(reason) from error
        return model
