"""Uses of MLP for a type checker, never run; a line that is wrong names the error that it is."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import nbmlp
from nbmlp import MLP, SGD, Adam, History

X, y = np.ones((9, 2)), np.arange(9)
settings: dict[str, Any] = {"hidden": 3}

model = MLP(3)
model = MLP((30, 20), activation=("relu", "tanh"), optimizer=Adam(1e-3), batch_size=None)
model = MLP(hidden=[3], optimizer="sgd(0.1)", class_weight={"yes": 5, "no": 1}, dtype="float64")
model = MLP(class_weight="balanced", dropout=0.1, reduction="sum", learning_rate=None)
model = MLP(**settings)
assert_type(model.fit(X, y, validation=0.1).set_params(epochs=3, hidden=9).with_(l2=1), MLP)
assert_type(model.predict(X), NDArray[Any])
assert_type(model.predict_proba(X), NDArray[Any])
assert_type(model.get_flat(), NDArray[Any])
assert_type(model.score(X, y), float)
assert_type(model.get_params(), dict[str, Any])
assert_type(model.history, History)
assert_type(MLP.load("m.safetensors"), MLP)
assert_type(model.fit("data/*.parquet", target="y", validation="val/*.parquet"), MLP)
assert_type(model.predict_files("data/*.parquet", "out.parquet", proba=True), int)

MLP(hiden=3)  # error: call-arg
MLP(activaton="relu")  # error: call-arg
MLP(3).set_params(epoch=3)  # error: call-arg
MLP(3).with_(optimiser="adam")  # error: call-arg
MLP("3")  # error: arg-type
MLP(epochs="3")  # error: arg-type
MLP(optimizer=3)  # error: arg-type
MLP(dtype="float16")  # error: arg-type
MLP(class_weight="balancd")  # error: arg-type
MLP(optimizer=SGD)  # error: arg-type
other = nbmlp.MPL  # error: attr-defined
