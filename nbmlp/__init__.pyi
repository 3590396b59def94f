"""What type checkers see of ``nbmlp``, whose names are loaded when first used."""

from nbmlp import datasets
from nbmlp.client import Client, ServerError, WaitError
from nbmlp.data import ColumnPlan, Dataset, Table, read
from nbmlp.diagnostics.replay import ReplayReport, replay
from nbmlp.errors import (
    DataError,
    MissingPackageError,
    ModelFileError,
    NbmlpError,
    NonFiniteError,
    NotFittedError,
    SpecError,
    TrainingWarning,
)
from nbmlp.estimators import MLPClassifier, MLPRegressor
from nbmlp.importance import Importance, permutation_importance
from nbmlp.mlp import MLP
from nbmlp.optimizers import LAMB, LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop, RMSpropGains, Rprop
from nbmlp.schedules import (
    Constant,
    Cosine,
    CosineLog,
    Exponential,
    FlatCosine,
    InverseScaling,
    OneCycle,
    OnPlateau,
    Step,
)
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.tabular.estimators import TabularClassifier, TabularRegressor
from nbmlp.tabular.loading import load
from nbmlp.train.callbacks import Callback, Progress
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.standard import Checkpoint, CSVLog, EarlyStopping, ProgressBar
from nbmlp.train.watch import Watch

__all__ = [
    "LAMB",
    "LBFGS",
    "MLP",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "Client",
    "ColumnPlan",
    "Constant",
    "Cosine",
    "CosineLog",
    "DataError",
    "Dataset",
    "EarlyStopping",
    "EpochRecord",
    "Exponential",
    "FlatCosine",
    "History",
    "Importance",
    "InverseScaling",
    "MLPClassifier",
    "MLPRegressor",
    "MissingPackageError",
    "ModelFileError",
    "ModelSpec",
    "NbmlpError",
    "NonFiniteError",
    "NotFittedError",
    "OnPlateau",
    "OneCycle",
    "Progress",
    "ProgressBar",
    "RMSprop",
    "RMSpropGains",
    "ReplayReport",
    "Rprop",
    "ServerError",
    "SpecError",
    "Step",
    "Table",
    "TabularClassifier",
    "TabularRegressor",
    "TrainSpec",
    "TrainingWarning",
    "WaitError",
    "Watch",
    "__version__",
    "datasets",
    "load",
    "permutation_importance",
    "read",
    "replay",
]

__version__: str
