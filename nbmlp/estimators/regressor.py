"""``MLPRegressor``, a drop-in for scikit-learn's."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import NDArray
from sklearn.callback import with_callbacks
from sklearn.neural_network import MLPRegressor as Original

from nbmlp.estimators.dropin import DropIn
from nbmlp.estimators.extensions import CONSTRAINTS

__all__ = ["MLPRegressor"]


class MLPRegressor(DropIn, Original):
    """scikit-learn's MLPRegressor, trained and evaluated by compiled kernels.

    With the same `random_state` and float64 input the weights agree to rounding.

    Parameters
    ----------
    loss : str
        ``"squared_error"`` or ``"poisson"`` as there; also ``"absolute_error"``, ``"huber"``,
        ``"huber(1.5)"``, ``"quantile(0.9)"``.
    hidden_layer_sizes, solver, alpha, ..., max_fun
        scikit-learn's, with its defaults.
    activation : str or sequence of str
        One for all hidden layers or one for each: scikit-learn's, and leaky_relu, elu, selu,
        gelu, silu, mish, softplus.
    dropout : float or sequence of float
        Share of each hidden layer's units that is dropped while training.
    input_dropout : float
        The same for inputs.
    layer_norm, residual, parametric_activation, input_scale : bool
        Further kinds of layers, see :class:`~nbmlp.ModelSpec`.
    number_embedding, n_numbers, code_counts, code_width
        Embeddings of numbers and of codes among the inputs, see :class:`~nbmlp.ModelSpec`.
    ema : float, optional
        Decay of a moving average of the weights, which is what is validated and kept.
    rate_factors, decay_factors : dict, optional
        Factors on learning rate and decay of parts, see :class:`~nbmlp.TrainSpec`.
    dropout_schedule, decay_schedule : str, dict or Schedule, optional
        Factors on dropout and on the decay of an `optimizer` such as AdamW over `max_iter` epochs.
    optimizer : str, dict or Optimizer, optional
        In place of the solver's rule and its settings, e.g. ``"rmsprop"``, ``AdamW(1e-3)``.
    shuffle : bool or "blocks"
        ``"blocks"`` draws neighbouring rows together: rows on a disk are read in long pieces.
    clip_norm : float, optional
        Upper bound on the norm of the whole gradient.
    metric : str or callable, optional
        What early stopping watches: any scorer of scikit-learn's; default accuracy or R2.
    callbacks : Callback, callable or sequence of them, optional
        nbmlp's callbacks (``CSVLog``, ``EarlyStopping``, ...), and functions that are called with
        the estimator after each epoch; one that returns True ends training. Callbacks of
        scikit-learn's own kind are set by ``set_callbacks``.
    on_nonfinite : {"raise", "warn", "drop_rows", "impute", "ignore"}
        When the weights leave the finite numbers: scikit-learn's error at the end (its cause says
        where), a warning at once and the last good weights, or that batch is ignored. Data with
        NaN or infinity are refused, as by scikit-learn, unless such rows are dropped before
        training or values get the column's median.
    n_jobs : int, optional
        Most threads; default all cores that the process may use. The result is the same.

    Attributes
    ----------
    coefs_, intercepts_, loss_curve_, ...
        scikit-learn's.
    vectors_ : dict of str to ndarray
        What further kinds of layers have learned, by names as ``"layer1.gain"``; only with them.
    validation_loss_curve_ : list of float
        Loss of the validation rows after each epoch, where there are any.

    Examples
    --------
    >>> from nbmlp import MLPRegressor
    >>> MLPRegressor(hidden_layer_sizes=(50,), random_state=0).fit(X, y).predict(X_new)
    """

    _original = Original
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Original._parameter_constraints,
        **CONSTRAINTS,
        "loss": [str],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: Any = 0.001,
        power_t: Any = 0.5,
        max_iter: Any = 200,
        shuffle: Any = True,
        random_state: Any = None,
        tol: Any = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: Any = 0.9,
        nesterovs_momentum: Any = True,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: Any = 15000,
        dropout: Any = 0.0,
        input_dropout: Any = 0.0,
        layer_norm: Any = False,
        residual: Any = False,
        parametric_activation: Any = False,
        input_scale: Any = False,
        number_embedding: Any = "none",
        n_numbers: Any = None,
        code_counts: Any = (),
        code_width: Any = 8,
        ema: Any = None,
        rate_factors: Any = None,
        decay_factors: Any = None,
        dropout_schedule: Any = None,
        decay_schedule: Any = None,
        optimizer: Any = None,
        clip_norm: Any = None,
        metric: Any = None,
        callbacks: Any = None,
        on_nonfinite: Any = "raise",
        n_jobs: Any = None,
    ) -> None:
        Original.__init__(
            self,
            loss=loss, hidden_layer_sizes=hidden_layer_sizes, activation=activation,
            solver=solver, alpha=alpha, batch_size=batch_size, learning_rate=learning_rate,
            learning_rate_init=learning_rate_init, power_t=power_t, max_iter=max_iter,
            shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose,
            warm_start=warm_start, momentum=momentum, nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping, validation_fraction=validation_fraction,
            beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )  # fmt: skip
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.layer_norm = layer_norm
        self.residual = residual
        self.parametric_activation = parametric_activation
        self.input_scale = input_scale
        self.number_embedding = number_embedding
        self.n_numbers = n_numbers
        self.code_counts = code_counts
        self.code_width = code_width
        self.ema = ema
        self.rate_factors = rate_factors
        self.decay_factors = decay_factors
        self.dropout_schedule = dropout_schedule
        self.decay_schedule = decay_schedule
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.metric = metric
        self.callbacks = callbacks
        self.on_nonfinite = on_nonfinite
        self.n_jobs = n_jobs

    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch more over these rows."""
        return super().partial_fit(X, y, sample_weight=sample_weight)

    def predict(self, X: Any) -> NDArray[Any]:
        """Values (n,), or (n, n_outputs) where there are several."""
        out = self._fast_outputs(X)
        if out is None:
            return super().predict(X)
        return out[:, 0] if self.n_outputs_ == 1 else out
