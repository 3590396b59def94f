"""Settings of a model as scikit-learn's tools get, set and copy them, without scikit-learn."""

from __future__ import annotations

import copy
from typing import Any, Self, Unpack

from numpy.typing import NDArray

from nbmlp.net import Net
from nbmlp.settings import Settings
from nbmlp.spec.keywords import Chosen

__all__ = ["Parameters"]


class Parameters:
    """What makes a model an estimator in pipelines and searches."""

    _settings: Settings
    _net: Net | None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every setting by name, as it was given, else its default.

        Parameters
        ----------
        deep : bool
            For scikit-learn's sake: no setting has settings of its own that could be named.
        """
        return self._settings.all()

    def set_params(self, **params: Unpack[Chosen]) -> Self:
        """Change settings; a net that is there stays until the next fit. Returns itself.

        Raises
        ------
        SpecError
            An unknown setting or a wrong value; nothing is changed then.
        """
        self._settings = Settings.parse({**self._settings.given, **params})
        return self

    def with_(self, **changes: Unpack[Chosen]) -> Self:
        """A model of these settings with some changed, not fitted.

        Another optimizer comes with its own learning rate, unless one is named beside it.

        Raises
        ------
        SpecError
            An unknown setting or a wrong value.
        """
        model = type(self)()
        model._settings = self._settings.with_(**changes)
        return model

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels in the order of the outputs; only a model that is fitted to classes has them."""
        if self._net is None or self._net.coding.labels is None:
            raise AttributeError("classes_: this model has not been fitted to classes.")
        return self._net.coding.labels.all()

    @property
    def n_features_in_(self) -> int:
        """Columns of X in training."""
        if self._net is None:
            raise AttributeError("n_features_in_: this model has not been fitted.")
        return self._net.n_columns

    def __sklearn_clone__(self) -> Self:
        model = type(self)()
        model._settings = Settings.parse(copy.deepcopy(self._settings.given))
        return model

    def __sklearn_is_fitted__(self) -> bool:
        return self._net is not None

    def __sklearn_tags__(self) -> Any:
        # Who asks has loaded scikit-learn, and wants objects of its classes: nobody else calls
        # this, so neither `import nbmlp` nor a training brings scikit-learn in.
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        settings, task = self._settings, self._settings.task
        if task == "auto" and self._net is not None:
            task = self._net.coding.task
        kind = {"classes": "classifier", "regression": "regressor"}.get(task)
        mends = settings.train.on_nonfinite in ("drop_rows", "impute")
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=True, multi_output=kind != "classifier"),
            classifier_tags=ClassifierTags() if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
            input_tags=InputTags(
                sparse=not settings.prepares, allow_nan=mends or settings.prepares
            ),
        )
