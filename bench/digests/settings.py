"""What is trained in one call of fit: a name, settings of :class:`nbmlp.MLP`, and of the data.

Whatever has code of its own in some commit's kernels should be here: a row for every function and
rule, for every way to read rows, and for every way to share out a step.
"""

from __future__ import annotations

from itertools import product
from typing import Any

__all__ = ["BASE", "DATA", "SETTINGS"]

Settings = dict[str, Any]

#: Of every training, unless it says otherwise. Large enough that five threads share a step, and
#: the last batch of an epoch is smaller than the others.
BASE: Settings = {"hidden": (30, 24), "batch_size": 50, "epochs": 3, "seed": 4}
#: Settings of the data (see data.py); `weighted` rows have weights, some of them zero.
DATA = ("rows", "columns", "kind", "targets", "width", "density", "indices", "layout", "weighted")

_DTYPES = ("float32", "float64")
_FUNCTIONS = (
    "identity", "logistic", "tanh", "relu", "leaky_relu", "leaky_relu(0.2)", "elu", "elu(0.5)",
    "selu", "gelu", "silu", "mish", "softplus", "exp",
)  # fmt: skip
#: A unit in each hidden layer may be exp: small weights keep it finite.
_SMALL = {"init": "normal(0.05)"}


def _double(settings: Settings) -> Settings:
    return {"dtype": "float64", "kind": "float64", **settings}


def _activations() -> dict[str, Settings]:
    found: dict[str, Settings] = {
        f"activation {name}": {"activation": name, **(_SMALL if name == "exp" else {})}
        for name in _FUNCTIONS
    }
    for part in (_FUNCTIONS[:7], _FUNCTIONS[7:]):
        mixed = {"activation": part, "hidden": (16,) * 7, "optimizer": "adam(0.01)"}
        found[f"activations from {part[0]} to {part[-1]}, float64"] = _double(mixed | _SMALL)
    return found


def _outputs() -> dict[str, Settings]:
    three = {"targets": "numbers", "width": 3, "loss": "squared_error"}
    return {
        f"output {name}, {dtype}": {"output": name, "dtype": dtype, **three, **_SMALL}
        for name, dtype in product((*_FUNCTIONS, "softmax"), _DTYPES)
    }


_LOSSES: dict[str, Settings] = {
    "absolute_error": {"targets": "numbers", "loss": "absolute_error"},
    "absolute_error, logistic": {
        "targets": "numbers", "loss": "absolute_error", "output": "logistic",
    },
    "huber": {"targets": "numbers", "loss": "huber", "width": 1},
    "huber(0.3), tanh": {"targets": "numbers", "loss": "huber(0.3)", "output": "tanh"},
    "quantile": {"targets": "numbers", "loss": "quantile", "width": 1},
    "quantile(0.9), softplus": {
        "targets": "numbers", "loss": "quantile(0.9)", "output": "softplus",
    },
    "poisson": {"targets": "counts", "loss": "poisson", "width": 1},
    "poisson, three": {"targets": "counts", "loss": "poisson", "width": 3},
    "squared_error of classes": {"loss": "squared_error"},
    "squared_error, softmax, classes": {"loss": "squared_error", "output": "softmax"},
    "binary_cross_entropy": {"width": 2},
    "binary_cross_entropy, three flags": {
        "targets": "flags", "task": "regression", "loss": "binary_cross_entropy",
        "output": "logistic",
    },
    "binary_cross_entropy, three classes": {"loss": "binary_cross_entropy"},
    "binary_cross_entropy(0.7)": {"width": 2, "loss": "binary_cross_entropy(0.7)"},
    "binary_cross_entropy, smoothed": {"width": 2, "label_smoothing": 0.1},
    "cross_entropy of words": {"targets": "words"},
    "cross_entropy, two units": {"width": 2, "output": "softmax"},
    "cross_entropy, shares": {
        "targets": "shares", "task": "regression", "loss": "cross_entropy", "output": "softmax",
    },
    "cross_entropy(0.7)": {"loss": "cross_entropy(0.7)"},
    "cross_entropy, smoothed": {"label_smoothing": 0.1, "width": 5},
    "cross_entropy, 70 classes": {"width": 70},
    "cross_entropy, 300 shares": {
        "targets": "shares", "width": 300, "task": "regression", "loss": "cross_entropy",
        "output": "softmax",
    },
}  # fmt: skip


def _losses() -> dict[str, Settings]:
    return {
        f"loss {name}, {dtype}": {**settings, "dtype": dtype}
        for (name, settings), dtype in product(_LOSSES.items(), _DTYPES)
    }


_RULES = (
    "sgd", "sgd(0.1, momentum=0.9)", "sgd(0.1, momentum=0.8, nesterov=True)", "rmsprop",
    "rmsprop(0.01, rho=0.8, epsilon=1e-6)", "rmsprop_gains",
    "rmsprop_gains(0.01, increase=1.5, decrease=0.7, min_gain=0.5, max_gain=2.0)", "rprop",
    "rprop(0.02, increase=1.4, decrease=0.6, min_step=0.001, max_step=0.1)", "adagrad",
    "adagrad(0.1, epsilon=1e-6)", "adam", "adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-6)",
    "adam(0.01, epsilon_hat=True)", "adamw", "adamw(0.01, weight_decay=0.1)", "lamb(0.01)", "lbfgs",
    "lbfgs(history=1, tolerance=0.001)",
)  # fmt: skip


def _rules() -> dict[str, Settings]:
    found = {
        f"{rule}, {dtype}": {"optimizer": rule, "dtype": dtype, "epochs": 4}
        for rule, dtype in product(_RULES, _DTYPES)
    }
    for name, settings in found.items():
        if name.startswith("rprop"):
            settings["batch_size"] = None
    return found


#: Between gradient and weights, with the rules that take a path of their own there.
_LIMITS: dict[str, Settings] = {
    "clip_norm": {"clip_norm": 0.05},
    "clip_value": {"clip_value": 0.002},
    "both clips": {"clip_norm": 0.05, "clip_value": 0.02},
    "max_norm": {"max_norm": 0.5},
    "l1": {"l1": 1e-3},
    "l2": {"l2": 1e-2},
    "weight_decay": {"weight_decay": 0.1},
    "all limits": {
        "clip_norm": 0.05, "clip_value": 0.02, "max_norm": 0.7, "l1": 1e-4, "l2": 1e-3,
        "weight_decay": 0.1, "gradient_norms": True,
    },
    "gradient_norms": {"gradient_norms": True},
    "reduction sum": {"reduction": "sum", "learning_rate": 0.002},
    "average": {"ema": 0.9},
    "factors of parts": {
        "rate_factors": {"bias": 0.1, "layer2": 3}, "decay_factors": {"layer1": 0.5},
        "weight_decay": 0.1, "layer_norm": True,
    },
    "schedules of dropout and decay": {
        "dropout": 0.3, "input_dropout": 0.1, "weight_decay": 0.1, "dropout_schedule": "flat_cos",
        "decay_schedule": "flat_cos(0.2)",
    },
}  # fmt: skip


def _limits() -> dict[str, Settings]:
    rules = ("sgd", "sgd(0.1, momentum=0.9)", "adam")
    found = {
        f"{name}, {rule}": {"optimizer": rule, **settings}
        for (name, settings), rule in product(_LIMITS.items(), rules)
    }
    return found | {f"{name}, float64": _double(settings) for name, settings in _LIMITS.items()}


def _plans() -> dict[str, Settings]:
    schedules = (
        "constant", "inverse_scaling", "inverse_scaling(0.3)", "step(1, gamma=0.5)", "exponential",
        "exponential(0.7)", "cosine", "cosine(0.1)", "coslog", "flat_cos", "one_cycle",
        "one_cycle(rise=0.5, start=10, end=100)", "on_plateau(0.5, patience=1, threshold=0.3)",
    )  # fmt: skip
    found: dict[str, Settings] = {
        f"schedule {name}": {"schedule": name, "optimizer": "sgd", "epochs": 5}
        for name in schedules
    }
    found |= {f"warmup, {rule}": {"warmup": 1.5, "optimizer": rule} for rule in ("sgd", "adam")}
    return found | {
        f"base_batch, {rule}": {"base_batch": 32, "optimizer": rule} for rule in ("sgd", "adam")
    }


def _first_weights() -> dict[str, Settings]:
    inits = (
        "auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
        "lecun_normal", "uniform(-0.3, 0.2)", "normal(0.1)", "orthogonal", "zeros",
        "glorot_uniform(2.0)", "he_normal(0.5)", "orthogonal(1.4)",
    )  # fmt: skip
    return {f"init {name}": {"init": name, "activation": "tanh"} for name in inits}


_DROPOUT: dict[str, Settings] = {
    "dropout": {"dropout": 0.3},
    "dropout of each layer": {"dropout": (0.5, 0.1)},
    "dropout of one layer": {"dropout": (0.0, 0.4)},
    "input_dropout": {"input_dropout": 0.2},
    "both dropouts, gelu": {"dropout": 0.3, "input_dropout": 0.1, "activation": "gelu"},
    "both dropouts, tanh, no bias": {
        "dropout": 0.3, "input_dropout": 0.1, "activation": "tanh", "bias": False,
    },
    "dropout, scaled at predict": {
        "dropout": 0.3, "input_dropout": 0.1, "dropout_scale_at": "predict",
    },
    "dropout, float64": _double({"dropout": 0.2, "input_dropout": 0.1, "activation": "elu"}),
    "dropout of bytes": {"kind": "uint8", "input_dropout": 0.2, "dropout": 0.1},
    "dropout of thin rows": {"columns": 300, "density": 0.02, "input_dropout": 0.2, "dropout": 0.1},
    "dropout of long rows": {"columns": 150, "input_dropout": 0.2, "dropout": 0.1},
    "dropout in sub-batches": {
        "rows": 1300, "batch_size": 1200, "dropout": 0.2, "input_dropout": 0.1,
    },
    "dropout and limits": {
        "dropout": 0.2, "clip_norm": 0.1, "max_norm": 0.8, "l2": 1e-3, "optimizer": "adamw",
    },
}  # fmt: skip


def _inputs() -> dict[str, Settings]:
    """Each kind of rows; short and long, with and without biases."""
    found: dict[str, Settings] = {}
    for kind, dtype in product(("float32", "float64", "uint8", "int64"), _DTYPES):
        for columns, bias in ((20, True), (150, True), (150, False)):
            name = f"{kind} into {dtype}, {columns} columns{'' if bias else ', no bias'}"
            found[name] = {"kind": kind, "dtype": dtype, "columns": columns, "bias": bias}
    kinds = product((0.02, 0.3), _DTYPES, ("int32", "int64"), _DTYPES)
    for density, kind, indices, dtype in kinds:
        name = f"{'thin' if density < 0.1 else 'sparse'} {kind}, {indices} into {dtype}"
        sparse = {"columns": 300, "density": density, "kind": kind, "indices": indices}
        found[name] = {**sparse, "dtype": dtype}
    return found


_ROWS: dict[str, Settings] = {
    "in Fortran's order": {"layout": "columns"},
    "part of wider rows": {"layout": "wider", "columns": 33},
    "part of wider long rows": {"layout": "wider", "columns": 150},
    "standardised": {"standardise": True},
    "standardised numbers": {"standardise": True, "targets": "numbers", "width": 2},
    "thin, no bias": {"columns": 300, "density": 0.02, "bias": False},
    "thin, float64 from float32": {"columns": 300, "density": 0.02, "dtype": "float64"},
    "thin, one layer": {"columns": 900, "density": 0.02, "hidden": (), "batch_size": 30},
    "thin, all limits": {"columns": 300, "density": 0.02, **_LIMITS["all limits"]},
    "thin, full batch": {"columns": 300, "density": 0.02, "batch_size": None, "rows": 700},
    "thin, lbfgs": {"columns": 300, "density": 0.02, "optimizer": "lbfgs"},
    "thin, weights": {"columns": 300, "density": 0.02, "weighted": True},
    "sparse, few columns": {"columns": 30, "density": 0.3},
    "long, 129 columns": {"columns": 129, "hidden": (45,), "optimizer": "sgd"},
    "long, 513 columns": {"columns": 513, "hidden": (300, 1, 45), "activation": "silu"},
    "long, many blocks": {"columns": 700, "hidden": (129,), "optimizer": "adagrad"},
    "long, one layer": {"columns": 150, "hidden": ()},
    "long, full batch": {"columns": 150, "batch_size": None, "l2": 0.01, "optimizer": "sgd"},
    "long, sub-batches": {"columns": 150, "batch_size": 1100, "rows": 1200},
    "long, clipped": {"columns": 150, "hidden": (64, 2), "clip_norm": 0.5, "l1": 1e-3},
    "long, max_norm": {"columns": 150, "max_norm": 0.3, "weight_decay": 0.1, "optimizer": "sgd"},
    "long, lbfgs": {"columns": 150, "optimizer": "lbfgs"},
    "weights": {"weighted": True},
    "weights, sum": {"weighted": True, "reduction": "sum", "learning_rate": 1e-4},
    "weights of numbers": {"weighted": True, "targets": "numbers", "optimizer": "sgd"},
    "not shuffled": {"shuffle": False},
    "not shuffled, long": {"shuffle": False, "columns": 150},
    "not shuffled, thin": {"shuffle": False, "columns": 300, "density": 0.02},
    "another seed": {"seed": 2**40 + 1},
}

_BATCHES: dict[str, Settings] = {
    "batch 1": {"batch_size": 1, "rows": 90},
    "batch 1, dropout": {"batch_size": 1, "rows": 90, "dropout": 0.2, "optimizer": "sgd"},
    "batch 3": {"batch_size": 3, "rows": 100},
    "batch 7, left over 6": {"batch_size": 7, "rows": 230},
    "batch 97, left over 36": {"batch_size": 97, "optimizer": "sgd"},
    "left over 1": {"batch_size": 100, "rows": 201},
    "full batch": {"batch_size": None},
    "full batch, 1500 rows": {"batch_size": None, "rows": 1500},
    "sub-batches": {"batch_size": 1200, "rows": 1300},
    "sub-batches, left over 600": {"batch_size": 700, "rows": 1300, "hidden": (45, 17)},
    "sub-batches, float64": _double({"batch_size": 1200, "rows": 1300, "activation": "tanh"}),
    "sub-batches, all limits": {"batch_size": 1200, "rows": 1300, **_LIMITS["all limits"]},
    "sub-batches, plain sgd": {"batch_size": 1200, "rows": 1300, "optimizer": "sgd"},
    "sub-batches, weights": {"batch_size": 600, "rows": 1300, "weighted": True},
    "sub-batches of thin rows": {
        "batch_size": 1200, "rows": 1300, "columns": 300, "density": 0.02,
    },
    "sub-batches of bytes": {"batch_size": 1200, "rows": 1300, "kind": "uint8"},
    "lbfgs, sub-batches": {"optimizer": "lbfgs", "rows": 1100, "l2": 1e-3},
    "lbfgs, weights": {"optimizer": "lbfgs", "weighted": True, "l1": 1e-4},
    "lbfgs, numbers": {"optimizer": "lbfgs", "targets": "numbers", "width": 1},
    "default batch of few rows": {"batch_size": 32, "rows": 25},
}  # fmt: skip

_SHAPES: dict[str, Settings] = {
    "one layer": {"hidden": ()},
    "one layer, no bias": {"hidden": (), "bias": False, "targets": "numbers"},
    "one unit": {"hidden": (1,)},
    "odd widths": {"hidden": (17, 33, 15), "columns": 31},
    "no bias": {"bias": False},
    "no bias, float64": _double({"bias": False}),
    "deep": {"hidden": (24,) * 6, "activation": "selu"},
    "more outputs than inputs": {"columns": 5, "targets": "numbers", "width": 70},
    "large": {"hidden": (300, 200), "columns": 200, "rows": 160},
    "large, float64": _double({"hidden": (300, 200), "columns": 200, "rows": 160}),
    "flat": {"columns": 5, "hidden": (200, 150)},
    "flat, all limits": {"columns": 5, "hidden": (200, 150), **_LIMITS["all limits"]},
    **{
        f"{width} outputs behind {units}, {dtype}": {
            "hidden": (units,), "targets": "numbers", "width": width, "dtype": dtype,
        }
        for width, units, dtype in product((1, 2, 4, 5, 10, 17), (300, 80), _DTYPES)
    },
    "two outputs, no bias": {"hidden": (270,), "width": 2, "bias": False, "dropout": 0.1},
    "one output, bytes": {"hidden": (300,), "width": 2, "kind": "uint8", "optimizer": "rmsprop"},
}  # fmt: skip

#: Layers so wide and batches so small that some commits cut them by columns: for two threads ...
_TWO = {"hidden": (130, 17, 140), "columns": 30, "batch_size": 20, "rows": 130}
#: ... and for five.
_FIVE = {"hidden": (300, 17, 260), "columns": 30, "batch_size": 6, "rows": 80}
_WIDE: dict[str, Settings] = {
    "plain": {"optimizer": "sgd", "activation": "gelu"},
    "all at once": {
        "dropout": 0.2, "input_dropout": 0.1, "optimizer": "adamw", "l1": 1e-4, "l2": 1e-3,
        "clip_value": 0.01, "max_norm": 2.0,
    },
    "clip_norm": {"clip_norm": 0.1},
    "wide output": {"width": 250, "targets": "numbers", "bias": False, "activation": "silu"},
    "chunks": {"hidden": (33, 300), "optimizer": "sgd(0.1, momentum=0.9)"},
    "one output": {"hidden": (300,), "width": 2, "optimizer": "rmsprop", "kind": "uint8"},
    "one output, no bias": {"hidden": (270,), "width": 2, "bias": False},
    "float64": _double({"optimizer": "sgd(0.1, momentum=0.9)", "loss": "squared_error"}),
    "thin": {"columns": 300, "density": 0.02, "optimizer": "sgd"},
    "long": {"columns": 150, "optimizer": "sgd"},
    "long, no bias": {"columns": 150, "bias": False, "optimizer": "rmsprop_gains"},
    "weights": {"weighted": True, "max_norm": 1.0},
}  # fmt: skip


def _wide() -> dict[str, Settings]:
    kinds = {"wide for two": _TWO, "wide for five": _FIVE}
    return {
        f"{kind}, {name}": {**common, **settings}
        for (kind, common), (name, settings) in product(kinds.items(), _WIDE.items())
    }


def _joined(*groups: dict[str, Settings]) -> dict[str, Settings]:
    found: dict[str, Settings] = {}
    for group in groups:
        assert not found.keys() & group.keys(), "two trainings have one name"
        found |= group
    return found


#: Every training by its name.
SETTINGS: dict[str, Settings] = _joined(
    _activations(), _outputs(), _losses(), _rules(), _limits(), _plans(), _first_weights(),
    _DROPOUT, _inputs(), {f"rows {name}": settings for name, settings in _ROWS.items()},
    _BATCHES, {f"net {name}": settings for name, settings in _SHAPES.items()}, _wide(),
)  # fmt: skip
