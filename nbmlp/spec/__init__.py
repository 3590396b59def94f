"""What to build, what to learn and how to train: frozen, printable settings, checked at once."""

from nbmlp.spec.factors import check_layers, factor_of
from nbmlp.spec.fields import Setting, described
from nbmlp.spec.net import FEATURES, FLAGS, ModelSpec
from nbmlp.spec.table import MODEL_SETTINGS, SETTINGS, TASK_SETTINGS, TRAIN_SETTINGS
from nbmlp.spec.task import TASKS, ClassWeight, TaskSpec
from nbmlp.spec.training import ON_NONFINITE, TrainSpec
from nbmlp.spec.values import several

__all__ = [
    "FEATURES",
    "FLAGS",
    "MODEL_SETTINGS",
    "ON_NONFINITE",
    "SETTINGS",
    "TASKS",
    "TASK_SETTINGS",
    "TRAIN_SETTINGS",
    "ClassWeight",
    "ModelSpec",
    "Setting",
    "TaskSpec",
    "TrainSpec",
    "check_layers",
    "described",
    "factor_of",
    "several",
]
