"""What both estimators share: scikit-learn's fit with the engine in place of its NumPy loops.

Validation of parameters and data, first weights, messages and the meaning of every attribute are
scikit-learn's own, inherited; the order in which random numbers are drawn is kept.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, issparse
from sklearn.base import is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils.validation import check_consistent_length, validate_data

from nbmlp.data.sparse import SparseRows, check_sparse
from nbmlp.errors import DataError, SpecError, TrainingWarning
from nbmlp.estimators.extensions import own_optimizer, score_by, tell, threads_of
from nbmlp.estimators.updates import Updates, loss_name
from nbmlp.estimators.weights import Weights
from nbmlp.optimizers import SGD, Adam, Optimizer
from nbmlp.schedules import Constant
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.tuning import available_threads

__all__ = ["CompiledPerceptron"]

Array = NDArray[Any]


class Held(NamedTuple):
    """Rows to validate with; y as the user gave it, `encoded` as the net's outputs are."""

    X: Any
    y: Any
    sample_weight: Array | None
    encoded: Array


class CompiledPerceptron(CallbackSupportMixin, BaseMultilayerPerceptron):
    """Comes before scikit-learn's estimator in the bases."""

    #: Made at need from `coefs_`; never pickled.
    _weights: Weights

    # -- parameters

    def _compiled(self) -> Weights:
        """The arena, with what `coefs_` and `intercepts_` hold now."""
        spec = self._model_spec(self.coefs_[0].dtype.name)
        threads = threads_of(self.n_jobs, available_threads())
        weights = self.__dict__.get("_weights")
        if weights is None or weights.spec != spec or weights.threads != threads:
            memory = weights.memory() if weights is not None and weights.spec == spec else None
            memory = self.__dict__.pop("_memory", memory)
            weights = self._weights = Weights(spec, threads)
            if memory is not None:
                weights.remember(self._rule(), *memory)
        weights.take(self.coefs_, self.intercepts_)
        return weights

    def _model_spec(self, dtype: str) -> ModelSpec:
        hidden = tuple(W.shape[1] for W in self.coefs_[:-1])
        activation: Any = self.activation
        if not isinstance(activation, str):
            activation = tuple(activation)
        dropout = self.dropout
        return ModelSpec(
            self.coefs_[0].shape[0], self.n_outputs_, hidden=hidden,
            activation=activation,
            output=self.out_activation_, loss=loss_name(self.loss, self.out_activation_, dtype),
            dropout=dropout if np.ndim(dropout) == 0 else tuple(dropout),
            input_dropout=self.input_dropout, dtype=dtype,
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Plain arrays only, so that a pickle is read on any machine."""
        state = dict(super().__getstate__())
        weights = state.pop("_weights", None)
        state.pop("_whole", None)
        for name in ("coefs_", "intercepts_"):
            if name in state:
                state[name] = [np.array(a) for a in state[name]]
        if weights is not None and hasattr(self, "_optimizer"):
            state["_memory"] = weights.memory()
        return state

    # -- prediction

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> Array:
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        weights = self._compiled()
        out = weights.outputs(_readable(X, weights.spec.dtype))
        wanted = np.result_type(X.dtype, out.dtype)
        return out if out.dtype == wanted else out.astype(wanted)

    def _fast_outputs(self, X: Any) -> Array | None:
        """Outputs of what needs no validation beyond the kernels' own; None for all else."""
        if (
            type(X) not in (np.ndarray, csr_array, csr_matrix)
            or X.ndim != 2
            or not X.shape[0]
            or "_weights" not in self.__dict__
            or "feature_names_in_" in self.__dict__
            or X.dtype != self._weights.spec.dtype
            or X.shape[1] != self.n_features_in_
        ):
            return None
        self._weights.take(self.coefs_, self.intercepts_)
        try:
            return self._weights.outputs(_readable(X, self._weights.spec.dtype))
        except DataError:  # scikit-learn's words for it
            return None

    def _score(self, X: Any, y: Any, sample_weight: Array | None = None) -> float:
        if self.metric is None:
            return super()._score(X, y, sample_weight=sample_weight)
        return score_by(self.metric, self, X, y, sample_weight)

    # -- training

    def _rule(self) -> Optimizer:
        """The engine's optimizer; its learning rate is set epoch by epoch."""
        own = own_optimizer(self.optimizer, self.solver)
        if own is not None:
            return own
        if self.solver == "adam":
            return Adam(1.0, self.beta_1, self.beta_2, self.epsilon, epsilon_hat=True)
        return SGD(1.0, self.momentum, bool(self.nesterovs_momentum and self.momentum))

    def _new_optimizer(self) -> SGDOptimizer | AdamOptimizer:
        """scikit-learn's own, of no parameters: it keeps the learning rate."""
        own = own_optimizer(self.optimizer, self.solver)
        if self.solver == "adam" and own is None:
            return AdamOptimizer(
                [], self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon
            )
        return SGDOptimizer(
            [], self.learning_rate_init if own is None else own.learning_rate,
            self.learning_rate, self.momentum, self.nesterovs_momentum, self.power_t,
        )  # fmt: skip

    def _updates(
        self, X: Any, y: Array, sample_weight: Array | None, batch: int | None, whole: bool = False
    ) -> Updates:
        weights = self._compiled()
        seed = 0
        if any(weights.spec.dropout) or weights.spec.input_dropout:
            seed = int(self._random_state.randint(np.iinfo(np.int32).max))
        rule = self._rule()
        train = TrainSpec(
            optimizer=rule, schedule=Constant(), batch_size=batch, l2=self.alpha,
            shuffle=bool(self.shuffle), clip_norm=None if whole else self.clip_norm, seed=seed,
            threads=self.n_jobs and weights.threads,
        )  # fmt: skip
        rows = _readable(X, weights.spec.dtype), self._targets(y), sample_weight
        return Updates(weights, *rows, train, whole, self.on_nonfinite == "raise")

    def _targets(self, y: Array) -> Array:
        if self.out_activation_ == "softmax":
            return np.argmax(y, axis=1).astype(np.int32)
        return np.ascontiguousarray(y, self.coefs_[0].dtype)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False
    ) -> CompiledPerceptron:
        steps = 0 if self.solver == "lbfgs" else 1 if incremental else self.max_iter
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        told: dict[str, Any] = {"estimator": self, "X": X, "y": y, "metadata": metadata}
        context = self._init_callback_context(max_subtasks=steps)
        context.call_on_fit_task_begin(**told)
        super()._fit(X, y, sample_weight, incremental)
        context.call_on_fit_task_end(**told, reconstruction_attributes={})
        return self

    def _row_weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        """Weights of rows, by class too where there are classes."""
        return sample_weight

    def _fit_stochastic(
        self, X: Any, y: Array, sample_weight: Array | None, activations: Any, deltas: Any,
        coef_grads: Any, intercept_grads: Any, layer_units: Any, incremental: bool,
    ) -> None:  # fmt: skip
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
            self._compiled().start(self._rule())
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        train, held = (X, y, self._row_weights(y, sample_weight)), self._own_validation()
        if self.early_stopping and held is None:
            train, held = self._split(*train)
        updates = self._updates(*train, self._batch(train[0].shape[0]))
        try:
            self._epochs(updates, held, train[0].shape[0], incremental)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if self.early_stopping:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts

    def _split(self, X: Any, y: Array, sample_weight: Array | None) -> tuple[tuple[Any, ...], Held]:
        """Rows to train on and rows to validate with."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(
            *arrays, random_state=self._random_state, test_size=self.validation_fraction,
            stratify=stratify,
        )  # fmt: skip
        X_val, encoded = parts[1], parts[3]
        if X_val.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        decode = self._label_binarizer.inverse_transform if is_classifier(self) else np.asarray
        weights = (None, None) if sample_weight is None else (parts[4], parts[5])
        return (parts[0], parts[2], weights[0]), Held(X_val, decode(encoded), weights[1], encoded)

    def _own_validation(self) -> Held | None:
        """The data that `fit` was given to validate with."""
        X, y = self.__dict__.get("_given_validation", (None, None))
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val belong together: give both or none.")
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        y = np.asarray(y)
        check_consistent_length(X, y)
        return Held(X, y, None, self._encode(y))

    def _encode(self, y: Array) -> Array:
        if is_classifier(self):
            unknown = np.setdiff1d(y, self.classes_)
            if y.ndim == 1 and len(unknown):
                label = unknown.tolist()[0]
                raise ValueError(f"y_val has the label {label!r}, which y does not have.")
            return self._label_binarizer.transform(y)
        y = y.reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(f"y_val has {y.shape[1]} columns, y has {self.n_outputs_}.")
        return y

    def _batch(self, n_rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, n_rows)
        if self.batch_size > n_rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=2,
            )
        return int(np.clip(self.batch_size, 1, n_rows))

    def _epochs(self, updates: Updates, held: Held | None, n_rows: int, incremental: bool) -> None:
        order, self.n_iter_ = np.arange(n_rows), 0
        for _ in range(1 if incremental else self.max_iter):
            if self.shuffle:
                # As sklearn.utils.shuffle, without its validation.
                moved = np.arange(n_rows)
                self._random_state.shuffle(moved)
                order = order[moved]
            task = self._begin_task()
            self._epoch(updates, order if self.shuffle else None)
            self.t_ += n_rows
            if held is not None:
                self._validate(updates, held)
            known = (None, None, None) if held is None else held[:3]
            self._update_no_improvement_count(self.early_stopping, *known)
            if self._end_epoch(updates) | tell(self.callbacks, self) | self._end_task(task):
                return
            if updates.stopped:
                warnings.warn(f"Training stopped: {updates.stopped}", TrainingWarning, stacklevel=2)
                return
            if self.n_iter_ == self.max_iter and not incremental:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _epoch(self, updates: Updates, order: Array | None) -> None:
        # scikit-learn's Adam shows another rate than the one that it is given.
        shown = isinstance(self._optimizer, AdamOptimizer)
        rate = self.learning_rate_init if shown else self._optimizer.learning_rate
        self.loss_ = updates.epoch(rate, order)
        self.n_iter_ += 1
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

    def _validate(self, updates: Updates, held: Held) -> None:
        x = _readable(held.X, updates.weights.spec.dtype)
        loss = updates.loss_of(x, self._targets(held.encoded), held.sample_weight)
        if self.n_iter_ == 1 and not self.warm_start:
            self.validation_loss_curve_ = []
        self.validation_loss_curve_ = [*getattr(self, "validation_loss_curve_", []), loss]

    def _begin_task(self) -> Any:
        """Tell scikit-learn's callbacks; None where there are none."""
        if not hasattr(self, "_skl_callbacks"):
            return None
        task = self._callback_fit_ctx.subcontext(task_name="epoch")
        return task.call_on_fit_task_begin(estimator=self)

    def _end_task(self, task: Any) -> bool:
        if task is None:
            return False
        return bool(task.call_on_fit_task_end(estimator=self, reconstruction_attributes={}))

    def _end_epoch(self, updates: Updates) -> bool:
        """Let the learning rate follow; whether to stop."""
        optimizer = self._optimizer
        before = optimizer.learning_rate
        optimizer.iteration_ends(self.t_)
        stops = self._no_improvement_count > self.n_iter_no_change and self._stop_or_slow_down()
        if isinstance(optimizer, AdamOptimizer):
            self._show_adam_rate(updates.weights.state.step)
        elif optimizer.learning_rate != before and self.optimizer is None:
            # There the velocity holds the learning rates of its past; here it is multiplied by
            # the present one.
            updates.weights.scale_velocity(before / optimizer.learning_rate)
        return stops

    def _stop_or_slow_down(self) -> bool:
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for"
            f" {self.n_iter_no_change} consecutive epochs."
        )
        if self._optimizer.trigger_stopping(message, self.verbose):
            return True
        self._no_improvement_count = 0
        return False

    def _show_adam_rate(self, step: int) -> None:
        """The attribute that scikit-learn's Adam leaves behind."""
        self._optimizer.t = step
        correction = np.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        self._optimizer.learning_rate = self.learning_rate_init * correction

    # -- L-BFGS

    def _fit_lbfgs(self, X: Any, y: Array, sample_weight: Array | None, *args: Any) -> None:
        own_optimizer(self.optimizer, self.solver)
        if np.any(self.dropout) or self.input_dropout or self.clip_norm:
            raise SpecError("dropout and clip_norm need solver='sgd' or 'adam', not 'lbfgs'.")
        try:
            super()._fit_lbfgs(X, y, self._row_weights(y, sample_weight), *args)
            self._compiled()
        finally:
            self.__dict__.pop("_whole", None)

    def _backprop(
        self, X: Any, y: Array, sample_weight: Array | None, activations: Any, deltas: Any,
        coef_grads: list[Array], intercept_grads: list[Array],
    ) -> tuple[float, list[Array], list[Array]]:  # fmt: skip
        """Loss and gradient of all rows; the engine stays for the next call with the same ones."""
        given = (X, y, sample_weight)
        known, updates = self.__dict__.get("_whole", (given, None))
        self._compiled()
        if updates is None or any(a is not b for a, b in zip(known, given, strict=True)):
            updates = self._updates(X, y, sample_weight, None, whole=True)
            self._whole = given, updates
        loss, coef_grads[:], intercept_grads[:] = updates.loss_and_gradient()
        return loss, coef_grads, intercept_grads


def _readable(X: Any, dtype: str) -> Array | SparseRows:
    """Rows as the kernels read them: float32 or float64, each row in one piece, or sparse."""
    if issparse(X):
        return check_sparse(X, None, "X", dtype)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(dtype)
    return X if X.strides[1] == X.itemsize else np.ascontiguousarray(X)
