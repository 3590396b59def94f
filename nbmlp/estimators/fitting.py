"""What both estimators share: scikit-learn's fit with the engine in place of its NumPy loops.

Validation of parameters and data, first weights, messages and the meaning of every attribute are
scikit-learn's own, inherited; the order in which random numbers are drawn is kept.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, issparse
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer
from sklearn.utils.validation import validate_data

from nbmlp.errors import DataError, NonFiniteError, SpecError, TrainingWarning
from nbmlp.estimators.extensions import (
    OF_EMBEDDINGS,
    OF_NET,
    OF_TRAINING,
    further,
    mended,
    score_by,
    threads_of,
)
from nbmlp.estimators.held import Held, compressed, own_rows, readable, rows_of, set_aside
from nbmlp.estimators.orders import orders_of
from nbmlp.estimators.places import names_of, with_place
from nbmlp.estimators.rules import own_optimizer, rule_of, shown_optimizer
from nbmlp.estimators.run import as_callbacks, epochs_of
from nbmlp.estimators.updates import Updates, loss_name
from nbmlp.estimators.weights import Weights
from nbmlp.init import initialise
from nbmlp.rows import PLAIN, Names
from nbmlp.schedules import Constant
from nbmlp.spec import ModelSpec, TrainSpec, check_layers
from nbmlp.train.epochs import Epochs
from nbmlp.train.loop import without_horizon
from nbmlp.tuning import available_threads

__all__ = ["CompiledPerceptron"]

Array = NDArray[Any]


def _refuse_sparse(X: Any, spec: ModelSpec) -> None:
    if spec.embeds and issparse(X):
        raise SpecError(
            f"{spec.embeds} does not go with sparse rows: give them as a dense array."
        )


class CompiledPerceptron(CallbackSupportMixin, BaseMultilayerPerceptron):
    """Comes before scikit-learn's estimator in the bases."""

    #: Made at need from `coefs_`; never pickled.
    _weights: Weights

    # -- parameters

    def _compiled(self) -> Weights:
        """The arena, with what `coefs_` and `intercepts_` hold now."""
        spec = self._model_spec(self.coefs_[0].dtype.name)
        threads = threads_of(self.n_jobs, available_threads())
        weights, trained = self.__dict__.get("_weights"), None
        if weights is None or weights.spec != spec or weights.threads != threads:
            memory = weights.memory() if weights is not None and weights.spec == spec else None
            memory = self.__dict__.pop("_memory", memory)
            weights = self._weights = Weights(spec, threads)
            if memory is not None:
                step, slots, *rest = memory  # older pickles hold no more
                weights.remember(rule_of(self), step, slots)
                trained = rest[0] if rest else None
            weights.take_vectors(self.__dict__.pop("vectors_", {}))
            if weights.vectors:
                self.vectors_ = weights.vectors
        weights.activation = self.activation
        weights.take(self.coefs_, self.intercepts_)
        if trained is not None:
            weights.go_on_from(trained)
        return weights

    def _initialize(self, y: Array, layer_units: list[int], dtype: Any) -> None:
        """First weights go into an arena of their own: who kept the last ones keeps them."""
        embeddings = further(self, OF_EMBEDDINGS)
        first = ModelSpec(self.n_features_in_, 1, hidden=(), **embeddings).n_embedded
        super()._initialize(y, [first, *layer_units[1:]], dtype)
        for name in ("_weights", "_memory", "validation_loss_curve_", "vectors_"):
            self.__dict__.pop(name, None)
        spec = self._model_spec(np.dtype(dtype).name)
        if spec.embeds:
            made = Weights(spec, 1)
            initialise(made.state, spec, int(self._random_state.randint(np.iinfo(np.int32).max)))
            self.vectors_ = {name: values.copy() for name, values in made.vectors.items()}

    def _model_spec(self, dtype: str) -> ModelSpec:
        hidden = tuple(W.shape[1] for W in self.coefs_[:-1])
        activation: Any = self.activation
        if not isinstance(activation, str):
            activation = tuple(activation)
        dropout = self.dropout
        return ModelSpec(
            self.n_features_in_, self.n_outputs_, hidden=hidden,
            activation=activation,
            output=self.out_activation_, loss=loss_name(self.loss, self.out_activation_, dtype),
            dropout=dropout if np.ndim(dropout) == 0 else tuple(dropout),
            dtype=dtype, **further(self, OF_NET),
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Plain arrays only, so that a pickle is read on any machine."""
        state = dict(super().__getstate__())
        weights = state.pop("_weights", None)
        state.pop("_whole", None)
        for name in ("coefs_", "intercepts_", "_best_coefs", "_best_intercepts"):
            if name in state:
                state[name] = [np.array(a) for a in state[name]]
        for name in {"vectors_", "_best_vectors"} & state.keys():
            state[name] = {k: np.array(v) for k, v in state[name].items()}
        if weights is not None and hasattr(self, "_optimizer"):
            state["_memory"] = weights.memory()
        return state

    # -- prediction

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> Array:
        if check_input:
            X = self._validated(X)
        weights = self._compiled()
        _refuse_sparse(X, weights.spec)
        out = weights.outputs(readable(X, weights.spec.dtype))
        wanted = np.result_type(X.dtype, out.dtype)
        return out if out.dtype == wanted else out.astype(wanted)

    def _validated(self, X: Any) -> Any:
        try:
            return validate_data(self, compressed(X), accept_sparse=["csr", "csc"], reset=False)
        except ValueError as error:
            raise with_place(error, names_of(X), X) from None

    def _fast_outputs(self, X: Any) -> Array | None:
        """Outputs of what needs no validation beyond the kernels' own; None for all else."""
        if (
            type(X) not in (np.ndarray, csr_array, csr_matrix)
            or X.ndim != 2
            or not X.shape[0]
            or "_weights" not in self.__dict__
            or "feature_names_in_" in self.__dict__
            or X.dtype != self._weights.spec.dtype
            or (self._weights.spec.embeds and type(X) is not np.ndarray)
            or X.shape[1] != self.n_features_in_
            or self._weights.activation is not self.activation
            or not self._weights.hold(self.coefs_, self.intercepts_)
        ):
            return None
        try:
            return self._weights.outputs(readable(X, self._weights.spec.dtype))
        except DataError:  # scikit-learn's words for it
            return None

    def _score(self, X: Any, y: Any, sample_weight: Array | None = None) -> float:
        if self.metric is None:
            return super()._score(X, y, sample_weight=sample_weight)
        names = self.__dict__.pop("feature_names_in_", None)  # validation has dropped those of X
        try:
            return score_by(self.metric, self, X, y, sample_weight)
        finally:
            if names is not None:
                self.feature_names_in_ = names

    # -- training

    def _updates(
        self,
        X: Any,
        y: Array,
        sample_weight: Array | None,
        batch: int | None,
        whole: bool = False,
        names: Names = PLAIN,
        endless: bool = False,
    ) -> Updates:
        weights = self._compiled()
        _refuse_sparse(X, weights.spec)
        seed = 0
        if any(weights.spec.dropout) or weights.spec.input_dropout:
            seed = int(self._random_state.randint(np.iinfo(np.int32).max))
        rule = rule_of(self)
        train = TrainSpec(
            optimizer=rule, schedule=Constant(), batch_size=batch, l2=self.alpha,
            shuffle=bool(self.shuffle), seed=seed, **({} if whole else further(self, OF_TRAINING)),
            threads=self.n_jobs and weights.threads,
            on_nonfinite="ignore" if self.on_nonfinite == "ignore" else "raise",
        )  # fmt: skip
        for name in ("rate_factors", "decay_factors"):
            check_layers(name, getattr(train, name), len(self.coefs_))
        train = without_horizon(train) if endless else train
        weights.state.begin_updates(train.ema is not None)
        rows = rows_of(self, X, y, sample_weight, names)
        return Updates(weights, rows, train, whole, self.on_nonfinite != "warn")

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False
    ) -> CompiledPerceptron:
        steps = 0 if self.solver == "lbfgs" else 1 if incremental else self.max_iter
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        told: dict[str, Any] = {"estimator": self, "X": X, "y": y, "metadata": metadata}
        context = self._init_callback_context(max_subtasks=steps)
        context.call_on_fit_task_begin(**told)
        X, y, sample_weight, self._names = mended(self.on_nonfinite, X, y, sample_weight)
        self._failure: NonFiniteError | None = None
        try:
            super()._fit(compressed(X), y, sample_weight, incremental)
        except (ValueError, TypeError) as error:
            placed = with_place(error, self._names, X, y, sample_weight)
            raise placed from self._failure or error.__cause__
        finally:
            del self._names, self._failure
        context.call_on_fit_task_end(**told, reconstruction_attributes={})
        return self

    def _row_weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        """Weights of rows, by class too where there are classes."""
        return sample_weight

    def _fit_stochastic(
        self, X: Any, y: Array, sample_weight: Array | None, activations: Any, deltas: Any,
        coef_grads: Any, intercept_grads: Any, layer_units: Any, incremental: bool,
    ) -> None:  # fmt: skip
        known = self.__dict__.get("_optimizer")
        if not incremental or known is None or known.given != self.optimizer:
            self._optimizer = shown_optimizer(self)
            self._compiled().start(rule_of(self))
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        train, held = (X, y, self._row_weights(y, sample_weight), self._names), self._own_rows()
        if self.early_stopping and held is None:
            train, held = set_aside(self, *train)
        X, y, sample_weight, names = train
        batch = self._batch(X.shape[0])
        updates = self._updates(X, y, sample_weight, batch, names=names, endless=incremental)
        run = epochs_of(self, updates, 1 if incremental else self.max_iter)
        with run.callbacks.around(run):
            try:
                self._epochs(updates, held, run, incremental)
            except KeyboardInterrupt:
                run.stop("interrupted")
                warnings.warn("Training interrupted by user.", stacklevel=2)
            finally:
                updates.weights.state.end_updates()
            run.finish()
        run.warn_of_skipped(stacklevel=2)
        if self.early_stopping:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts
            self._compiled().take_vectors(self.__dict__.pop("_best_vectors", {}))

    def _own_rows(self) -> Held | None:
        return own_rows(self, *self.__dict__.get("_given_validation", (None, None)))

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

    def _epochs(self, updates: Updates, held: Held | None, run: Epochs, incremental: bool) -> None:
        self.n_iter_ = 0
        for order in orders_of(self.shuffle, self._random_state, run.n_samples, run.epochs):
            task = self._begin_task()
            self._epoch(updates, run, order)
            self.t_ += run.n_samples
            with updates.weights.state.between_updates():
                self._look_back(updates, held, run)
            self._end_epoch(updates, run)
            self._failure = updates.failure
            if updates.stopped:
                run.stop(updates.stopped)
                warnings.warn(f"Training stopped: {updates.stopped}", TrainingWarning, stacklevel=2)
            if self._end_task(task) or run.stop_reason:
                return
            if self.n_iter_ == self.max_iter and not incremental:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )

    def _look_back(self, updates: Updates, held: Held | None, run: Epochs) -> None:
        """Validate after an epoch, keep the best one, and tell of it."""
        val_loss = None if held is None else self._validate(updates, held)
        known = (None, None, None) if held is None else held[:3]
        best = self.__dict__.get("_best_coefs")
        self._update_no_improvement_count(self.early_stopping, *known)
        if updates.weights.vectors and self.__dict__.get("_best_coefs") is not best:
            self._best_vectors = {k: v.copy() for k, v in updates.weights.vectors.items()}
        val_score = self.validation_scores_[-1] if self.early_stopping else None
        if run.callbacks.callbacks:  # nobody else sees the record
            run.record(self.loss_ - updates.penalty, updates.penalty, val_loss, val_score)

    def _epoch(self, updates: Updates, run: Epochs, order: Array | None) -> None:
        # scikit-learn's Adam shows another rate than the one that it is given.
        shown, keeps = self._optimizer, isinstance(self._optimizer, AdamOptimizer)
        rate = shown.learning_rate_init if keeps else shown.learning_rate
        self.loss_ = updates.epoch(run, rate, order, self.n_iter_)
        self.n_iter_ += 1
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

    def _validate(self, updates: Updates, held: Held) -> float:
        loss = updates.loss_of(held.rows)
        self.__dict__.setdefault("validation_loss_curve_", []).append(loss)
        return loss

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

    def _end_epoch(self, updates: Updates, run: Epochs) -> None:
        """Let the learning rate follow, and stop where scikit-learn does."""
        optimizer = self._optimizer
        before = optimizer.learning_rate
        optimizer.iteration_ends(self.t_)
        if self._no_improvement_count > self.n_iter_no_change:
            self._stop_or_slow_down(run)
        if isinstance(optimizer, AdamOptimizer):
            self._show_adam_rate(updates.weights.state.step)
        elif optimizer.learning_rate != before and self.optimizer is None:
            # There the velocity holds the learning rates of its past; here it is multiplied by
            # the present one.
            updates.weights.scale_velocity(before / optimizer.learning_rate)

    def _stop_or_slow_down(self, run: Epochs) -> None:
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for"
            f" {self.n_iter_no_change} consecutive epochs."
        )
        if self._optimizer.trigger_stopping(message, self.verbose):
            run.stop(message)
        else:
            self._no_improvement_count = 0

    def _show_adam_rate(self, step: int) -> None:
        """The attribute that scikit-learn's Adam leaves behind."""
        shown = self._optimizer
        shown.t = step
        correction = np.sqrt(1 - shown.beta_2**step) / (1 - shown.beta_1**step)
        shown.learning_rate = shown.learning_rate_init * correction

    # -- L-BFGS

    def _fit_lbfgs(self, X: Any, y: Array, sample_weight: Array | None, *args: Any) -> None:
        own_optimizer(self.optimizer, self.solver)
        beyond = further(self, ("dropout", *OF_NET, *OF_TRAINING))
        if beyond:
            raise SpecError(f"{next(iter(beyond))} needs solver='sgd' or 'adam', not 'lbfgs'.")
        if as_callbacks(self.callbacks).callbacks or self._own_rows():
            raise SpecError("callbacks and X_val need solver='sgd' or 'adam', not 'lbfgs'.")
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
            names = self.__dict__.get("_names", PLAIN)
            updates = self._updates(X, y, sample_weight, None, whole=True, names=names)
            self._whole = given, updates
        loss, coef_grads[:], intercept_grads[:] = updates.loss_and_gradient()
        return loss, coef_grads, intercept_grads
