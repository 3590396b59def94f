"""What to build and how to train it: frozen, printable, comparable settings, checked at once."""

from nbmlp.spec.net import FEATURES, ModelSpec
from nbmlp.spec.training import ON_NONFINITE, TrainSpec

__all__ = ["FEATURES", "ON_NONFINITE", "ModelSpec", "TrainSpec"]
