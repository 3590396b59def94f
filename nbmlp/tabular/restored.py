"""Estimators around models of files."""

from __future__ import annotations

import numpy as np

from nbmlp.errors import ModelFileError
from nbmlp.tabular.estimators import TabularClassifier, TabularRegressor
from nbmlp.tabular.model import TabularModel

__all__ = ["restored"]


def restored(model: TabularModel) -> TabularClassifier | TabularRegressor:
    """The estimator around a model of a file.

    Raises
    ------
    ModelFileError
        What the file says of it does not fit together.
    """
    regression = model.targets.task == "regression"
    found = model.notes.get("estimator", {})
    try:
        made = (TabularRegressor if regression else TabularClassifier)(**found.get("settings", {}))
        made.n_features_in_ = int(found.get("n_features", len(model.plans[0].columns)))
        if found.get("feature_names") is not None:
            made.feature_names_in_ = np.array([str(n) for n in found["feature_names"]], object)
        made.members_ = list(found.get("members", ()))
        made.validation_score_ = float(found.get("validation_score", "nan"))
        made.stopped_by_ = str(found.get("stopped_by", ""))
        made.remarks_ = [str(remark) for remark in found.get("remarks", ())]
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelFileError(f"the model's description does not fit together: {error}") from error
    if not regression:
        classes = model.targets.classes
        made.classes_ = np.arange(model.targets.n_outputs) if classes is None else classes
    made.model_ = model
    return made
