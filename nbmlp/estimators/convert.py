"""Estimators to and from scikit-learn's own, and to and from the native model."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from nbmlp.coding import TargetCoding
from nbmlp.data.encode import Labels
from nbmlp.errors import SpecError
from nbmlp.estimators.extensions import OF_NET, OF_TRAINING, further
from nbmlp.estimators.rules import rule_of
from nbmlp.estimators.weights import Weights
from nbmlp.mlp import MLP
from nbmlp.net import Net
from nbmlp.plan import make_plan
from nbmlp.spec import MODEL_SETTINGS
from nbmlp.state import new_state

__all__ = ["copy_fitted", "fill_from_mlp", "to_mlp"]

Estimator = TypeVar("Estimator", bound=BaseEstimator)

#: What the optimizer has kept is in scikit-learn's own form there, in the engine's here.
_NOT_COPIED = ("_optimizer", "_memory", "_weights", "_whole")


def copy_fitted(source: Any, kind: type[Estimator]) -> Estimator:
    """An estimator of the class `kind` with the parameters and weights of another one.

    Parameters that `kind` does not have must be at their defaults. The optimizer's memory stays
    behind: the next ``partial_fit`` starts it anew.

    Raises
    ------
    NotFittedError
        The source is not fitted.
    SpecError
        It is no estimator of this kind, or a parameter is set that `kind` does not have.
    """
    suits = isinstance(source, BaseMultilayerPerceptron)
    if not suits or is_classifier(source) != is_classifier(kind()):
        raise SpecError(f"{source!r} is no {kind.__name__}, and none can be made of it.")
    check_is_fitted(source)
    known, given = kind().get_params(), source.get_params()
    default = type(source)().get_params()
    for name in set(given) - set(known):
        if given[name] is not default[name] and given[name] != default[name]:
            where = kind.__module__.partition(".")[0]
            raise SpecError(f"{name}={given[name]!r} is not known to {where}'s estimator.")
    copied = kind(**{name: value for name, value in given.items() if name in known})
    state = {k: v for k, v in source.__getstate__().items() if k not in given}
    copied.__dict__.update({k: v for k, v in state.items() if k not in _NOT_COPIED})
    copied.coefs_ = [np.array(W) for W in source.coefs_]
    copied.intercepts_ = [np.array(b) for b in source.intercepts_]
    return copied


def to_mlp(model: Any, weights: Weights) -> MLP:
    """The native model with the estimator's net; predictions are the same.

    Raises
    ------
    SpecError
        Several labels a row: the native model tells one class from others.
    """
    spec = weights.spec
    batch = 200 if model.batch_size == "auto" else int(model.batch_size)
    rule = rule_of(model)
    if model.optimizer is None:
        rule = rule.with_learning_rate(model.learning_rate_init)
    net: dict[str, Any] = {name: getattr(spec, name) for name in MODEL_SETTINGS}
    native = MLP(
        **net, optimizer=rule, schedule="constant", batch_size=batch, epochs=model.max_iter,
        l2=model.alpha / batch, **further(model, OF_TRAINING),
        threads=model.n_jobs and weights.threads,
        class_weight=getattr(model, "class_weight", None),
    )  # fmt: skip
    state = new_state(make_plan(spec, 1), rule)
    state.set_flat(weights.state.get_flat())
    native._net = Net(spec, state, _coding(model))
    return native


def _coding(model: Any) -> TargetCoding:
    if not is_classifier(model):
        return TargetCoding("regression", model.n_outputs_, vector=model.n_outputs_ == 1)
    if model._label_binarizer.y_type_.startswith("multilabel"):
        raise SpecError("a net of several labels a row has no native form: MLP takes one a row.")
    return TargetCoding("classes", model.n_outputs_, Labels.fit(model.classes_))


def fill_from_mlp(model: Any, native: MLP) -> None:
    """Give a new estimator the net of a fitted native model.

    Raises
    ------
    SpecError
        What only the native model has: a column plan, 8-bit inputs, no biases, another output.
    """
    net, spec, classes = native.net, native.model_spec, native.classes
    loss = spec.loss_function.row
    output = "identity" if loss.classes else loss.canonical or "identity"
    if classes is not None:
        output = "softmax" if len(classes) > 2 else "logistic"
    if (classes is None) == is_classifier(model):
        raise SpecError("classes go with MLPClassifier, numbers with MLPRegressor.")
    if net.columns is not None or net.scale != 1.0 or not spec.bias or spec.output != output:
        raise SpecError(
            "this model has what scikit-learn's estimators do not: prepared columns, 8-bit inputs,"
            f" no biases, or an output other than {output!r}."
        )
    model.set_params(hidden_layer_sizes=spec.hidden)
    model.set_params(**{name: getattr(spec, name) for name in OF_NET})
    if spec.hidden:
        layers = {"activation": spec.activation, "dropout": spec.dropout}
        model.set_params(**{name: _one_or_all(values) for name, values in layers.items()})
    if classes is None:
        model.set_params(loss=spec.loss)
    else:
        model._label_binarizer = LabelBinarizer().fit(classes)
        model.classes_ = model._label_binarizer.classes_
        weight = native.get_params()["class_weight"]
        model.set_params(label_smoothing=spec.label_smoothing, class_weight=weight)
    model.n_features_in_, model.n_outputs_ = spec.n_inputs, spec.n_outputs
    model.n_layers_, model.out_activation_ = len(spec.hidden) + 2, output
    model.coefs_ = [np.array(W) for W in native.weights]
    model.intercepts_ = [np.array(b) for b in native.biases]
    if spec.features:
        weights = Weights(spec, 1)
        weights.state.set_flat(net.state.get_flat())
        model.vectors_ = {name: values.copy() for name, values in weights.vectors.items()}
    _start_counting(model)


def _one_or_all(values: tuple[Any, ...]) -> Any:
    return values[0] if len(set(values)) == 1 else list(values)


def _start_counting(model: Any) -> None:
    """What scikit-learn counts over the calls of `partial_fit`, as before the first."""
    model.n_iter_ = model.t_ = model._no_improvement_count = 0
    model.loss_curve_, model.best_loss_ = [], np.inf
    model.validation_scores_ = model.best_validation_score_ = None
