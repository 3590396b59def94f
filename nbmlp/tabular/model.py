"""class TabularModel: an ensemble of nets over one table, from rows to predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import tuning
from nbmlp.data import ColumnPlan, Table
from nbmlp.data.columns import Told
from nbmlp.errors import DataError, NotFittedError, SpecError
from nbmlp.importance import Importance, permutation_importance
from nbmlp.io.metadata import decode, encode
from nbmlp.plots import evaluation
from nbmlp.predict import Predictor, Rows
from nbmlp.tabular.fitting import Trained, train
from nbmlp.tabular.intervals import half_width, spread
from nbmlp.tabular.options import NOTHING, Extras, Options
from nbmlp.tabular.packing import Contents, Kept, bare_state, packed, unpacked
from nbmlp.tabular.rows import Sample, inputs_of
from nbmlp.tabular.targets import Targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TabularModel"]

#: Bytes of prepared columns that a prediction holds at once.
_PORTION = 64_000_000


class TabularModel(Contents):
    """Nets over a table whose average predicts."""

    def __init__(
        self, targets: Targets, plans: tuple[ColumnPlan, ...], kept: list[Kept],
        notes: dict[str, Any] | None = None, threads: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(targets, plans, kept, notes or {}, np.empty((0, 0)))
        self.threads = threads
        self._predictors: list[Predictor] | None = None

    def __repr__(self) -> str:
        return f"TabularModel({self.targets.task}, {len(self.kept)} nets)"

    def __getstate__(self) -> dict[str, Any]:
        """Arrays and text alone, as in a file: pickles and skops take no other types along."""
        arrays, metadata = packed(self)
        return {"arrays": arrays, "metadata": encode(metadata), "threads": self.threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = unpacked(state["arrays"], decode(state["metadata"]))
        self.__dict__.update(TabularModel.of(found, state["threads"]).__dict__)

    @classmethod
    def of(cls, found: Contents, threads: int | None = None) -> TabularModel:
        """A model of such contents."""
        model = cls(found.targets, found.plans, found.kept, found.notes, threads)
        model.calibration, model.history = found.calibration, found.history
        return model

    @property
    def classes(self) -> NDArray[Any] | None:
        """Labels in the order of the probabilities; None for numbers and several labels a row."""
        return self.targets.classes

    @property
    def classes_(self) -> NDArray[Any]:
        """The same for those who ask whether classes are predicted at all."""
        if self.classes is None:
            raise AttributeError("classes_: this model does not predict one class a row.")
        return self.classes

    @property
    def gives_probabilities(self) -> bool:
        """Whether :meth:`predict_proba` has an answer."""
        return self.targets.task != "regression"

    @property
    def threshold(self) -> float:
        """Probability of the second of two classes beyond which it is the answer."""
        coding = self.targets.coding
        return 0.5 if coding is None else coding.threshold

    @property
    def columns(self) -> list[Told]:
        """What became of each column of the table, and why."""
        return self.plans[0].told()

    # -- training

    @classmethod
    def fit(
        cls, X: Any, y: Any, task: str, options: Options, *, sample_weight: Any = None,
        validation: tuple[Any, Any] | None = None, groups: Any = None, extras: Extras = NOTHING,
    ) -> tuple[TabularModel, Trained]:  # fmt: skip
        """Train members on rows and choose among them.

        Returns
        -------
        TabularModel, Trained
            The model, and what became of each member.
        """
        sample = Sample.of(X, y, sample_weight, groups, extras.names)
        held = None if validation is None else Sample.of(*validation)
        found = train(sample, held, task, options, extras)
        model = cls(found.targets, found.plans, [], threads=options.jobs)
        model.calibration, model.history = found.calibration(), found.history
        for trainee, weight in found.chosen:
            assert trainee.weights is not None
            state = bare_state(trainee.spec)
            state.set_flat(trainee.weights)
            drawn = found.settings[trainee.member], found.prepared[trainee.plan]
            model.kept.append(Kept(trainee.plan, weight, trainee.spec, state, *drawn))
        return model, found

    # -- using

    @property
    def _running(self) -> list[Predictor]:
        if not self.kept:
            raise NotFittedError("this model has no nets.")
        if self._predictors is None:
            threads = self.threads or tuning.available_threads()
            self._predictors = [
                Predictor(k.spec, k.state.plan, k.state, threads) for k in self.kept
            ]
        return self._predictors

    def each(self, X: Any) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
        """Outputs of all kept nets, some rows at a time; columns are prepared once a plan."""
        X, predictors = inputs_of(X), self._running
        n = len(X)
        if n == 0:
            raise DataError("X has no rows: at least one is needed.")
        widest = max(k.spec.n_inputs for k in self.kept) * len(self.plans)
        step = max(1024, _PORTION // (4 * widest))
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            part = X if step >= n else X.take(rows) if isinstance(X, Table) else X[rows]
            used = {k.plan for k in self.kept}
            ready = {p: Rows(self.plans[p].transform(part)) for p in used}
            yield (
                rows,
                [
                    predictor.outputs(ready[k.plan])
                    for k, predictor in zip(self.kept, predictors, strict=True)
                ],
            )

    def spread(self, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weighted mean of the nets' outputs, and their deviation, (rows, outputs)."""
        weights = [kept.weight for kept in self.kept]
        parts = [spread(each, weights) for _, each in self.each(X)]
        mean, deviation = (np.concatenate(part) for part in zip(*parts, strict=True))
        return mean, deviation

    def outputs(self, X: Any) -> NDArray[np.float64]:
        """Weighted mean of the nets' outputs (rows, outputs)."""
        return self.spread(X)[0]

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels, or numbers within the range of training."""
        return self.targets.decode(self.outputs(X))

    def predict_interval(
        self, X: Any, coverage: float = 0.9
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends, between which so many of rows like the held-out ones lie.

        Raises
        ------
        SpecError
            Targets are classes, or too few rows were held out for this coverage.
        """
        outputs, deviations = self.spread(X)
        half = half_width(self.calibration, deviations * self.targets.scale, coverage)
        centre = self.targets.decode(outputs)
        half = half[:, 0] if centre.ndim == 1 else half
        return centre - half, centre + half

    def evaluate(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        metrics: str | Iterable[str] | None = None,
    ) -> dict[str, float]:
        """Loss (log loss, or the mean squared error) and scores on data; see :class:`MLP`."""
        names = [metrics] if isinstance(metrics, str) else metrics
        return self.targets.evaluate(np.asarray(y), self.outputs(X), sample_weight, names)

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
        """Draw how good predictions are; see :meth:`nbmlp.MLP.plot_evaluation`."""
        coding, outputs = self.targets.coding, self.targets.clipped(self.outputs(X))
        if coding is None:
            raise SpecError("there is no picture of several labels a row.")
        shown = coding.shown(np.asarray(y), outputs, self.targets.output, sample_weight)
        return evaluation(shown, names=names, title=title, path=path)

    def tune_threshold(
        self, X: Any, y: ArrayLike, metric: str = "f1", sample_weight: ArrayLike | None = None
    ) -> float:
        """Choose from which probability on the second of two classes is answered.

        See :meth:`nbmlp.MLP.tune_threshold`.
        """
        outputs = self.outputs(X)
        codes = self.targets.encode(y, len(outputs))
        self.targets = self.targets.tuned(metric, outputs, codes, sample_weight)
        return self.threshold

    def importance(
        self,
        X: Any,
        y: ArrayLike,
        metric: str | None = None,
        *,
        repeats: int = 5,
        seed: int = 0,
        sample_weight: ArrayLike | None = None,
        names: Sequence[str] = (),
        progress: Callable[[float, str], object] | None = None,
    ) -> Importance:
        """What each column of the table is worth; see :meth:`nbmlp.MLP.importance`."""
        return permutation_importance(
            self, X, y, metric, repeats=repeats, seed=seed, sample_weight=sample_weight,
            names=names, progress=progress,
        )  # fmt: skip

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (rows, classes)."""
        return self.targets.probabilities(self.outputs(X))
