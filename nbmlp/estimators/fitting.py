"""What both estimators share: scikit-learn's fit with the engine in place of its NumPy loops.

Validation of parameters and data, first weights, messages and the meaning of every attribute are
scikit-learn's own, inherited; the order in which random numbers are drawn is kept.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils.validation import validate_data

from nbmlp.errors import DataError
from nbmlp.estimators.updates import Updates, loss_name
from nbmlp.estimators.weights import Weights
from nbmlp.optimizers import SGD, Adam, Optimizer
from nbmlp.schedules import Constant
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.tuning import available_threads

__all__ = ["CompiledPerceptron"]

Array = NDArray[Any]


class CompiledPerceptron(BaseMultilayerPerceptron):
    """Comes before scikit-learn's estimator in the bases."""

    #: Made at need from `coefs_`; never pickled.
    _weights: Weights

    # -- parameters

    def _compiled(self) -> Weights:
        """The arena, with what `coefs_` and `intercepts_` hold now."""
        spec = self._model_spec(self.coefs_[0].dtype.name)
        weights = self.__dict__.get("_weights")
        if weights is None or weights.spec != spec:
            weights = self._weights = Weights(spec, available_threads())
            memory = self.__dict__.pop("_memory", None)
            if memory is not None:
                weights.remember(self._rule(), *memory)
        weights.take(self.coefs_, self.intercepts_)
        return weights

    def _model_spec(self, dtype: str) -> ModelSpec:
        return ModelSpec(
            self.coefs_[0].shape[0], self.n_outputs_,
            hidden=tuple(W.shape[1] for W in self.coefs_[:-1]), activation=self.activation,
            output=self.out_activation_, loss=loss_name(self.loss, self.out_activation_, dtype),
            dtype=dtype,
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
        out = weights.outputs(_dense(X, weights.spec.dtype))
        wanted = np.result_type(X.dtype, out.dtype)
        return out if out.dtype == wanted else out.astype(wanted)

    def _fast_outputs(self, X: Any) -> Array | None:
        """Outputs of what needs no validation beyond the kernels' own; None for all else."""
        if (
            type(X) is not np.ndarray
            or X.ndim != 2
            or not len(X)
            or "_weights" not in self.__dict__
            or "feature_names_in_" in self.__dict__
            or X.dtype != self._weights.spec.dtype
            or X.shape[1] != self.n_features_in_
            or X.strides[1] != X.itemsize
        ):
            return None
        self._weights.take(self.coefs_, self.intercepts_)
        try:
            return self._weights.outputs(X)
        except DataError:  # scikit-learn's words for it
            return None

    # -- training

    def _rule(self) -> Optimizer:
        """The engine's optimizer; its learning rate is set epoch by epoch."""
        if self.solver == "adam":
            return Adam(1.0, self.beta_1, self.beta_2, self.epsilon, epsilon_hat=True)
        return SGD(1.0, self.momentum, bool(self.nesterovs_momentum and self.momentum))

    def _new_optimizer(self) -> SGDOptimizer | AdamOptimizer:
        """scikit-learn's own, of no parameters: it keeps the learning rate."""
        if self.solver == "adam":
            return AdamOptimizer(
                [], self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon
            )
        return SGDOptimizer(
            [], self.learning_rate_init, self.learning_rate, self.momentum,
            self.nesterovs_momentum, self.power_t,
        )  # fmt: skip

    def _updates(
        self, X: Any, y: Array, sample_weight: Array | None, batch: int | None, whole: bool = False
    ) -> Updates:
        weights = self._compiled()
        train = TrainSpec(
            optimizer=self._rule(), schedule=Constant(), batch_size=batch, l2=self.alpha,
            shuffle=bool(self.shuffle),
        )  # fmt: skip
        x = _dense(X, weights.spec.dtype)
        return Updates(weights, x, self._targets(y, weights.spec), sample_weight, train, whole)

    def _targets(self, y: Array, spec: ModelSpec) -> Array:
        if spec.output == "softmax":
            return np.argmax(y, axis=1).astype(np.int32)
        return np.ascontiguousarray(y, spec.dtype)

    def _fit_stochastic(
        self, X: Any, y: Array, sample_weight: Array | None, activations: Any, deltas: Any,
        coef_grads: Any, intercept_grads: Any, layer_units: Any, incremental: bool,
    ) -> None:  # fmt: skip
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
            self._compiled().start(self._rule())
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        train, validation = (X, y, sample_weight), (None, None, None)
        if self.early_stopping:
            train, validation = self._split(X, y, sample_weight)
        updates = self._updates(*train, self._batch(train[0].shape[0]))
        try:
            self._epochs(updates, validation, train[0].shape[0], incremental)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if self.early_stopping:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts

    def _split(self, X: Any, y: Array, sample_weight: Array | None) -> tuple[tuple[Any, ...], ...]:
        """Rows to train on and rows to validate with."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(
            *arrays, random_state=self._random_state, test_size=self.validation_fraction,
            stratify=stratify,
        )  # fmt: skip
        train, validation = parts[::2], parts[1::2]
        if validation[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        if is_classifier(self):
            validation[1] = self._label_binarizer.inverse_transform(validation[1])
        none = () if sample_weight is not None else (None,)
        return (*train, *none), (*validation, *none)

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

    def _epochs(
        self, updates: Updates, validation: tuple[Any, ...], n_rows: int, incremental: bool
    ) -> None:
        order, self.n_iter_ = np.arange(n_rows), 0
        for _ in range(1 if incremental else self.max_iter):
            if self.shuffle:
                # As sklearn.utils.shuffle, without its validation.
                moved = np.arange(n_rows)
                self._random_state.shuffle(moved)
                order = order[moved]
            self._epoch(updates, order if self.shuffle else None)
            self.t_ += n_rows
            self._update_no_improvement_count(self.early_stopping, *validation)
            if self._end_epoch(updates):
                return
            if self.n_iter_ == self.max_iter and not incremental:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _epoch(self, updates: Updates, order: Array | None) -> None:
        rate = self.learning_rate_init if self.solver == "adam" else self._optimizer.learning_rate
        self.loss_ = updates.epoch(rate, order)
        self.n_iter_ += 1
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

    def _end_epoch(self, updates: Updates) -> bool:
        """Let the learning rate follow; whether to stop."""
        optimizer = self._optimizer
        before = optimizer.learning_rate
        optimizer.iteration_ends(self.t_)
        stops = self._no_improvement_count > self.n_iter_no_change and self._stop_or_slow_down()
        if self.solver == "adam":
            self._show_adam_rate(updates.weights.state.step)
        elif optimizer.learning_rate != before:
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

    def _fit_lbfgs(self, *args: Any) -> None:
        try:
            super()._fit_lbfgs(*args)
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


def _dense(X: Any, dtype: str) -> Array:
    """Rows as the kernels read them: float32 or float64, each row in one piece."""
    if issparse(X):
        X = X.toarray()
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(dtype)
    return X if X.strides[1] == X.itemsize else np.ascontiguousarray(X)
