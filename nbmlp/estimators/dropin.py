"""Methods that both estimators have: `fit`, and the ways to other classes and back."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from sklearn.base import _fit_context
from sklearn.callback import with_callbacks
from sklearn.utils.validation import check_is_fitted

from nbmlp.errors import SpecError
from nbmlp.estimators.convert import copy_fitted, fill_from_mlp, to_mlp
from nbmlp.estimators.extensions import NOT_TAKEN
from nbmlp.estimators.fitting import CompiledPerceptron
from nbmlp.estimators.places import names_of, with_place
from nbmlp.mlp import MLP
from nbmlp.stream import refuse_files

__all__ = ["DropIn"]


class DropIn(CompiledPerceptron):
    """Comes before scikit-learn's estimator in the bases."""

    #: scikit-learn's class.
    _original: ClassVar[type]

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Refuse settings of MLP with the reason. Raises TypeError, as for any unknown name."""
        for name in (named.keys() & NOT_TAKEN.keys()) - {*cls._get_param_names()}:
            raise TypeError(f"{cls.__name__} takes no {name}: {NOT_TAKEN[name]}.")
        made: Self = super().__new__(cls)
        return made

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None,
        comm: Any = None,
    ) -> Self:  # fmt: skip
        """Train.

        Parameters
        ----------
        X : array-like or sparse matrix (n, n_features)
        y : array-like (n,) or (n, n_outputs)
        sample_weight : array-like (n,), optional
        X_val, y_val : optional
            Rows of your own for `validation_loss_curve_`, and for early stopping in place of
            `validation_fraction` of the others.
        comm : None
            No communicator: a training like scikit-learn's is one process's.

        Raises
        ------
        ValueError
            Wrong parameters or data, or weights that have left the finite numbers.
        """
        refuse_files(X, type(self).__name__, "MLP(...).fit takes files")
        if comm is not None:
            raise SpecError(
                f"{type(self).__name__} takes no comm: rows come in scikit-learn's order, which"
                " cannot be divided among processes; MLP(shards=...).fit(X, y, comm=comm) can."
            )
        self._given_validation = (X_val, y_val)
        try:
            return self._fit(X, y, sample_weight)
        finally:
            del self._given_validation

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The mean accuracy, or R².

        Parameters
        ----------
        X : array-like or sparse matrix (n, n_features)
        y : array-like (n,) or (n, n_outputs)
        sample_weight : array-like (n,), optional

        Raises
        ------
        ValueError
            Values that are none, with their row.
        """
        try:
            return float(super().score(X, y, sample_weight=sample_weight))
        except (TypeError, ValueError) as error:
            raise with_place(error, names_of(X), X, y, sample_weight) from None

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """scikit-learn's fitted estimator as one of these; predictions are the same."""
        return copy_fitted(model, cls)

    def to_sklearn(self) -> Any:
        """This fitted estimator as scikit-learn's; SpecError if it uses what that does not have."""
        return copy_fitted(self, self._original)

    @classmethod
    def from_mlp(cls, model: MLP) -> Self:
        """An estimator with the net of a fitted :class:`nbmlp.MLP`."""
        made = cls()
        fill_from_mlp(made, model)
        return made

    def to_mlp(self) -> MLP:
        """This fitted estimator's net as an :class:`nbmlp.MLP`, which saves to safetensors."""
        check_is_fitted(self)
        return to_mlp(self, self._compiled())
