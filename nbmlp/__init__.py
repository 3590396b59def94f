"""nbmlp: multilayer perceptrons trained on CPUs by Numba-compiled kernels.

Names are loaded when first used: ``import nbmlp`` brings in neither Numba nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "nbmlp.mlp": ("MLP",),
    "nbmlp.client": ("Client", "ServerError", "WaitError"),
    "nbmlp.estimators": ("MLPClassifier", "MLPRegressor"),
    "nbmlp.tabular.estimators": ("TabularClassifier", "TabularRegressor"),
    "nbmlp.tabular.loading": ("load",),
    "nbmlp.spec": ("ModelSpec", "TrainSpec"),
    "nbmlp.optimizers": (
        "LAMB", "LBFGS", "SGD", "Adagrad", "Adam", "AdamW", "RMSprop", "RMSpropGains", "Rprop",
    ),
    "nbmlp.schedules": (
        "Constant", "Cosine", "CosineLog", "Exponential", "FlatCosine", "InverseScaling",
        "OnPlateau", "OneCycle", "Step",
    ),
    "nbmlp.train.callbacks": ("Callback", "Progress"),
    "nbmlp.train.standard": ("CSVLog", "Checkpoint", "EarlyStopping", "ProgressBar"),
    "nbmlp.train.watch": ("Watch",),
    "nbmlp.train.history": ("EpochRecord", "History"),
    "nbmlp.importance": ("Importance", "permutation_importance"),
    "nbmlp.data": ("ColumnPlan", "Dataset", "Table", "read"),
    "nbmlp.diagnostics.replay": ("ReplayReport", "replay"),
    "nbmlp.errors": (
        "DataError", "MissingPackageError", "ModelFileError", "NbmlpError", "NonFiniteError",
        "NotFittedError", "SpecError", "TrainingWarning",
    ),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ("datasets",)

__all__ = ["__version__", *_MODULES, *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"nbmlp.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nbmlp' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
