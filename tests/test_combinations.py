"""Features meet: kinds of layers x element types x kinds of rows x cuts x going on from a file.

Whatever the combination, one thread, several threads (which cut wide layers of small batches by
columns), and a training that goes on from a checkpoint in its middle end with the same bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_twin import FEATURES_ON

from bench.digests.data import make
from nbmlp import MLP, Callback
from nbmlp.names import ACTIVATIONS

EPOCHS = 4
BASE = {"hidden": (9, 5), "batch_size": 40, "epochs": EPOCHS, "seed": 4, "optimizer": "adam(0.01)"}
#: Each brings layers of its own kind.
NETS: dict[str, dict[str, Any]] = {
    "products and activations": {},
    "no hidden layer": {"hidden": ()},
    "few outputs": {"targets": "numbers", "width": 1},
    "few outputs behind a wide layer": {"hidden": (208,)},
    "dropout": {"dropout": 0.3, "input_dropout": 0.2, "ema": 0.9},
    "dropout of a function of z": {"activation": "gelu", "dropout": 0.3},
    "no bias": {"bias": False, "activation": "tanh"},
    "outputs that are no probabilities": {"output": "tanh", "loss": "squared_error"},
    "further kinds": {"hidden": (208, 208), "dropout": 0.2, **FEATURES_ON},
    "bounded": {"clip_norm": 0.5, "clip_value": 0.1, "max_norm": 1.0, "l1": 1e-4, "l2": 1e-3},
}
#: Rows of a batch by rows and by columns: few rows, and layers that are wide for two threads.
CUTS: dict[str, dict[str, Any]] = {
    "rows": {"batch_size": 40},
    "columns": {"batch_size": 7, "hidden": (208, 17, 208), "rows": 60},
}
#: Gathered, converted, read by their addresses, thin.
INPUTS: dict[str, dict[str, Any]] = {
    "dense": {"columns": 20},
    "long": {"columns": 150},
    "uint8": {"columns": 150, "kind": "uint8"},
    "csr": {"columns": 150, "density": 0.03},
}
DATA = ("columns", "kind", "density", "rows", "targets", "width")
DTYPES = ("float32", "float64")


class Halfway(Callback):
    """Writes a checkpoint in the middle of a training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch_end(self, run: Any, record: Any) -> None:
        if record.epoch == EPOCHS // 2:
            run.save_checkpoint(self.path)


def assert_one_result(path: Path, dtype: str, **settings: Any) -> None:
    """Of one thread, of two, and of both halves of a training."""
    data = {k: settings.pop(k) for k in DATA if k in settings}
    X, y = make(**{"rows": 130, "kind": dtype} | data)
    settings = BASE | {"dtype": dtype} | settings
    one, two = (MLP(threads=n, **settings) for n in (1, 2))
    one.fit(X, y)
    two.fit(X, y, callbacks=[Halfway(path)])
    resumed = MLP(threads=1, **settings).fit(X, y, resume=path)
    assert np.isfinite(one.get_flat()).all()
    assert np.ptp(one.outputs(X)) > 0
    for other in (two, resumed):
        assert len(other.history) == EPOCHS
        assert np.array_equal(other.get_flat(), one.get_flat())
        assert np.array_equal(other.outputs(X), one.outputs(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, dtype: str, tmp_path: Path) -> None:
    """With both cuts and, over both types, all inputs, of which activations see nothing."""
    small = {"init": "normal(0.01)", "optimizer": "adam(0.0001)"} if name == "exp" else {}
    inputs = list(INPUTS.values())[DTYPES.index(dtype) :: len(DTYPES)]
    for cut, rows in zip(CUTS.values(), inputs, strict=True):
        hidden = {"activation": name, **small}
        assert_one_result(tmp_path / "half", dtype, **hidden, **cut, **rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("name", NETS)
def test_layers(name: str, inputs: str, dtype: str, tmp_path: Path) -> None:
    further = dict(NETS[name])
    if inputs == "csr":  # refused in a sentence
        further = {k: v for k, v in further.items() if k not in ("number_embedding", "code_counts")}
    for cut in CUTS.values():
        settings = cut | INPUTS[inputs] | further
        assert_one_result(tmp_path / "half", dtype, **settings)


def test_what_does_not_go_together_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A file of one combination, gone on from with another."""
    X, y = make()
    MLP(**BASE).fit(X, y, callbacks=[Halfway(tmp_path / "half")])
    for other in ({"hidden": (9, 6)}, {"dtype": "float64"}, {"activation": "tanh"}):
        with pytest.raises(ValueError, match=r"half.*\.$") as told:
            MLP(**BASE | other).fit(X, y, resume=tmp_path / "half")
        assert str(told.value).count(". ") == 0
