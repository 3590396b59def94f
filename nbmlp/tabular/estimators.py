"""``TabularClassifier`` and ``TabularRegressor``: scikit-learn's interface over raw tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from nbmlp.data.columns import Told
from nbmlp.importance import Importance
from nbmlp.stream import refuse_files
from nbmlp.tabular import files
from nbmlp.tabular.alone import why
from nbmlp.tabular.given import checked_inputs, checked_numbers, is_plain, seed_of, threads_of
from nbmlp.tabular.model import TabularModel
from nbmlp.tabular.options import Extras, Options
from nbmlp.tabular.team import trained_by
from nbmlp.train.history import History

if TYPE_CHECKING:
    from nbmlp.diagnostics.why import Report

__all__ = ["TabularClassifier", "TabularRegressor"]


class _Tabular(BaseEstimator):  # type: ignore[misc]
    """What both have in common."""

    model_: TabularModel

    def _task(self, y: Any) -> tuple[str, NDArray[Any]]:
        """What y holds, and y as an array; nothing is remembered."""
        raise NotImplementedError

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None,
        groups: Any = None, checkpoint: Any = None, resume: Any = None, comm: Any = None,
    ) -> Self:  # fmt: skip
        """Train nets on a table and choose among them.

        Parameters
        ----------
        X : data frame, mapping of columns, or array-like (rows, columns)
            Numbers, text, categories, booleans and dates, with gaps.
        y : array-like (rows,) or (rows, targets)
        sample_weight : array-like (rows,), optional
            Rows of weight 0 are left out.
        X_val, y_val : optional
            Rows to hold out, instead of some of the others.
        groups : array-like (rows,), optional
            Rows of one group are held out together.
        checkpoint : path, optional
            Where to write now and then what going on later takes.
        resume : path, optional
            Such a file, of the same settings and data, to go on from.
        comm : mpi4py.MPI.Comm, optional
            Processes that train together, each some of the nets: docs/many-machines.md.

        Raises
        ------
        ValueError
            Wrong settings or data.
        """
        refuse_files(X, type(self).__name__, "MLP(...).fit takes files")
        validation = None if X_val is None else (X_val, y_val)
        to, since = (None if path is None else Path(path) for path in (checkpoint, resume))
        with trained_by(comm) as hosts:
            extras = Extras(self.callbacks, to, since, self, hosts=hosts)
            return self._fit(X, y, sample_weight, validation, groups, extras)

    def _fit(
        self, X: Any, y: Any, weights: Any, validation: Any, groups: Any, extras: Extras
    ) -> Self:
        X = checked_inputs(self, X, y, reset=True)
        task, targets = self._task(y)
        if task != "regression":
            labels = task == "labels"
            self.classes_ = np.arange(targets.shape[1]) if labels else np.unique(targets)
        if validation is not None:
            X_val, y_val = validation
            y_val = column_or_1d(y_val) if targets.ndim == 1 else np.asarray(y_val)
            validation = (checked_inputs(self, X_val, y_val, reset=False), y_val)
        model, found = TabularModel.fit(
            X, targets, task, self._options(), sample_weight=weights, validation=validation,
            groups=groups, extras=extras,
        )  # fmt: skip
        self.model_, self.members_, self.validation_score_ = model, found.members(), found.score
        self.stopped_by_, self.remarks_ = found.cut, found.remarks
        return self

    def _options(self) -> Options:
        return Options(
            preset=self.preset, n_members=self.n_members, epochs=self.epochs,
            patience=self.patience, time_limit=self.time_limit, eval_metric=self.eval_metric,
            categorical_features=self.categorical_features, column_kinds=self.column_kinds,
            class_weight=getattr(self, "class_weight", None),
            tune_threshold=getattr(self, "tune_threshold", None), seed=seed_of(self.random_state),
            jobs=threads_of(self.n_jobs), validation_fraction=self.validation_fraction,
            n_folds=self.n_folds, time_ordered=self.time_ordered,
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model as one file, for :func:`nbmlp.load`; whole or not at all.

        Settings go along as far as they are plain values.

        Raises
        ------
        ModelFileError
            It cannot be written; a file that was there is untouched.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        self.model_.notes["estimator"] = {
            "settings": {k: v for k, v in self.get_params().items() if is_plain(v)},
            "n_features": self.n_features_in_, "members": self.members_,
            "feature_names": None if names is None else names.tolist(),
            "validation_score": self.validation_score_, "stopped_by": self.stopped_by_,
            "remarks": self.remarks_,
        }  # fmt: skip
        files.save(self.model_, path)

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels, or numbers within the range of training."""
        check_is_fitted(self)
        return self.model_.predict(checked_inputs(self, X, reset=False))

    @property
    def columns(self) -> list[Told]:
        """What became of each column of the table, and why."""
        check_is_fitted(self)
        return self.model_.columns

    @property
    def history_(self) -> History:
        """Epochs of all nets that were trained; none, if it was read from an older file."""
        check_is_fitted(self)
        return self.model_.history

    def importance(self, X: Any, y: Any, metric: str | None = None, **given: Any) -> Importance:
        """What each column of the table is worth: how much worse a score gets when it is shuffled.

        Parameters
        ----------
        X, y
            Rows that the model has not learned from.
        metric : str, optional
            `eval_metric` unless named, else accuracy or R2.
        **given
            See :func:`nbmlp.permutation_importance`.
        """
        check_is_fitted(self)
        X = checked_inputs(self, X, y, reset=False)
        return self.model_.importance(X, y, metric or self.eval_metric, **given)

    def why(self, X: Any, y: Any, member: int | None = None, **given: Any) -> Report:
        """Find out why one of the nets fails, stalls or disappoints, by itself; nothing is changed.

        Parameters
        ----------
        X, y
            As for :meth:`fit`.
        member : int, optional
            Which; by default the one of most weight, or the first before any is trained.
        **given
            `validation`, `sample_weight`, `seconds`, `progress`: see :meth:`nbmlp.MLP.why`.

        Raises
        ------
        ValueError
            No such net, wrong data, or several labels a row.
        """
        fitted = self.__sklearn_is_fitted__()
        X = checked_inputs(self if fitted else type(self)(), X, y, reset=not fitted)
        task, targets = self._task(y)
        members = getattr(self, "members_", None) or [{"member": 0, "weight": 0.0}]
        if member is None:
            member = max(members, key=lambda net: net["weight"])["member"]
        drawn = next((net.get("settings") for net in members if net["member"] == member), None)
        return why(X, targets, task, self._options(), member=member, drawn=drawn, **given)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.target_tags.required = tags.target_tags.multi_output = True
        return tags


class TabularClassifier(ClassifierMixin, _Tabular):  # type: ignore[misc]
    """Classes from a table: an ensemble of nets, chosen on held-out rows.

    Parameters
    ----------
    preset : {"fast", "default", "best"}
        One net on all cores; some dozens of nets, one a core; four times as many, for longer.
    n_members : int, optional
        Nets to train, instead of the preset's.
    time_limit : float, optional
        Seconds of training after which what there is counts.
    eval_metric : str, optional
        By which nets are compared and chosen, e.g. ``"roc_auc"``: any score that `MLP` can watch;
        log loss by default.
    categorical_features : "auto" or sequence of str
        Columns of numbers that are codes of categories, beside those of text.
    column_kinds : dict of str to str, optional
        What to take columns as, by name, instead of what they seem to hold: ``drop``,
        ``number``, ``standard``, ``robust``, ``boolean``, ``date``, ``category``, ``one-hot``,
        ``embedded``.
    class_weight : dict or "balanced", optional
        What the rows of each class weigh, in training and where nets are compared.
    tune_threshold : str, optional
        Of two classes: the score, e.g. ``"f1"``, that the held-out rows are to have at its best,
        once the ensemble is chosen, by choice of the probability beyond which the second class is
        answered; 0.5 unless named.
    random_state : int, RandomState or None
    n_jobs : int, optional
        Cores to use, all by default. The result does not depend on it.
    callbacks : Callback, callable or sequence of them, optional
        Told of each epoch of any net; ``ProgressBar()`` shows all as one.
    validation_fraction : float, optional
        Share of the rows that are held out, instead of the preset's.
    n_folds : int, optional
        Times that a net is trained, so that each row is held out once. 1 by default, but 5 for 50
        to 5,000 rows if nothing is said of the number of nets and of held-out rows.
    time_ordered : bool
        The rows are in order of time: later ones are held out.
    epochs, patience : int, optional
        Most epochs of a net, and those without a better score; instead of the preset's.

    Attributes
    ----------
    classes_ : ndarray
    threshold_ : float
        Probability of the second of two classes beyond which it is the answer.
    model_ : TabularModel
    members_ : list of dict
        What became of each net: settings, score, epochs, weight, why it ended; where it left the
        finite numbers, the update and the reason.
    remarks_ : list of str
        How nets ended, the first that failed and why, a rare class that is never predicted.
    history_ : History
        Epochs of all nets; ``history_.plot()`` draws a line for each.
    validation_score_ : float
        `eval_metric` of the ensemble on the held-out rows, with a threshold of 0.5.
    stopped_by_ : str
        ``"time limit"`` or ``"interrupted"``, if either has cut the training.
    """

    def __init__(
        self,
        preset: Any = "default",
        *,
        n_members: Any = None,
        time_limit: Any = None,
        eval_metric: Any = None,
        categorical_features: Any = "auto",
        column_kinds: Any = None,
        class_weight: Any = None,
        tune_threshold: Any = None,
        random_state: Any = None,
        n_jobs: Any = None,
        callbacks: Any = None,
        validation_fraction: Any = None,
        n_folds: Any = None,
        time_ordered: Any = False,
        epochs: Any = None,
        patience: Any = None,
    ) -> None:
        self.preset = preset
        self.n_members = n_members
        self.time_limit = time_limit
        self.eval_metric = eval_metric
        self.categorical_features = categorical_features
        self.column_kinds = column_kinds
        self.class_weight = class_weight
        self.tune_threshold = tune_threshold
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.callbacks = callbacks
        self.validation_fraction = validation_fraction
        self.n_folds = n_folds
        self.time_ordered = time_ordered
        self.epochs = epochs
        self.patience = patience

    def _task(self, y: Any) -> tuple[str, NDArray[Any]]:
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            return "labels", np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        return "classes", column_or_1d(y, warn=True)

    @property
    def threshold_(self) -> float:
        """Probability of the second of two classes beyond which it is the answer."""
        check_is_fitted(self)
        return self.model_.threshold

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (rows, classes), or of each label (rows, labels)."""
        check_is_fitted(self)
        return self.model_.predict_proba(checked_inputs(self, X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class TabularRegressor(RegressorMixin, _Tabular):  # type: ignore[misc]
    """Numbers from a table: an ensemble of nets, chosen on held-out rows.

    Parameters
    ----------
    preset, n_members, ..., patience
        As for :class:`TabularClassifier`; `eval_metric` is RMSE by default.

    Attributes
    ----------
    model_, members_, remarks_, history_, validation_score_, stopped_by_
        As for :class:`TabularClassifier`.
    """

    def __init__(
        self,
        preset: Any = "default",
        *,
        n_members: Any = None,
        time_limit: Any = None,
        eval_metric: Any = None,
        categorical_features: Any = "auto",
        column_kinds: Any = None,
        random_state: Any = None,
        n_jobs: Any = None,
        callbacks: Any = None,
        validation_fraction: Any = None,
        n_folds: Any = None,
        time_ordered: Any = False,
        epochs: Any = None,
        patience: Any = None,
    ) -> None:
        self.preset = preset
        self.n_members = n_members
        self.time_limit = time_limit
        self.eval_metric = eval_metric
        self.categorical_features = categorical_features
        self.column_kinds = column_kinds
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.callbacks = callbacks
        self.validation_fraction = validation_fraction
        self.n_folds = n_folds
        self.time_ordered = time_ordered
        self.epochs = epochs
        self.patience = patience

    def _task(self, y: Any) -> tuple[str, NDArray[Any]]:
        return "regression", checked_numbers(y)

    def predict_interval(
        self, X: Any, coverage: float = 0.9
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends, between which so many of rows like the held-out ones lie.

        Parameters
        ----------
        X : as for :meth:`predict`
        coverage : float
            Calibrated on the held-out rows, by how far the nets are apart at each row.
        """
        check_is_fitted(self)
        return self.model_.predict_interval(checked_inputs(self, X, reset=False), coverage)
