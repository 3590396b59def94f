"""Looks at a net and its settings instead of training it: gradients, diagnosis, batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from nbmlp.data import Given
from nbmlp.failures.explain import explain
from nbmlp.importance import Importance, permutation_importance
from nbmlp.net import Net, converted
from nbmlp.overfiles import OverFiles
from nbmlp.predict import Rows
from nbmlp.train.engine import Engine

if TYPE_CHECKING:  # else loaded by those who ask: most trainings need no diagnosis
    from nbmlp.diagnostics.gradients import GradientReport
    from nbmlp.diagnostics.scan_result import BatchScan
    from nbmlp.diagnostics.user_code import Function, FunctionReport
    from nbmlp.diagnostics.why import Report

__all__ = ["Examined"]


class Examined(OverFiles):
    """What :class:`~nbmlp.MLP` tells of its gradients and of trainings that it might do."""

    def _divide(self, given: Given, validation: Any) -> tuple[Given, Given | None]:
        seed, classes = self.train_spec.seed, self._settings.task == "classes"
        return given.divided(validation, seed, classes)

    def _weighted(self, rows: Rows) -> Rows:
        """As they are trained on."""
        return self.net.weighted(rows, self._settings.class_weight)

    def loss_and_gradient(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, NDArray[Any]]:
        """Loss with penalty over the rows as one batch, and its gradient as one flat vector.

        Nothing is dropped or clipped; the order of the gradient is that of :meth:`get_flat`.
        """
        net, rows = self.net, self._weighted(self.net.rows(X, y, sample_weight))
        engine = Engine(
            net.spec, self.train_spec, net.state, rows, self._threads, True, explain=explain
        )
        loss, gradient = engine.loss_and_gradient()
        return loss, net.state.get_flat(gradient)

    def importance(
        self,
        X: Any,
        y: ArrayLike,
        metric: str | None = None,
        *,
        repeats: int = 5,
        seed: int = 0,
        sample_weight: ArrayLike | None = None,
        names: Sequence[str] = (),
        progress: Callable[[float, str], object] | None = None,
    ) -> Importance:
        """How much worse a score gets when a column of X is shuffled, column by column.

        Parameters
        ----------
        X, y, sample_weight
            Rows that the model has not learned from. Columns are those of X as it is given: what
            becomes of one moves together.
        metric : str, optional
            A score; `eval_metric` unless named, else accuracy or R2.
        repeats, seed, names, progress
            See :func:`nbmlp.permutation_importance`.

        Returns
        -------
        Importance
            Prints as a table; ``plot(path)`` draws it.
        """
        return permutation_importance(
            self, X, y, metric or self._settings.target.eval_metric, repeats=repeats, seed=seed,
            sample_weight=sample_weight, names=names, progress=progress,
        )  # fmt: skip

    def check_gradients(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        function: Function | None = None,
        **options: Any,
    ) -> GradientReport | FunctionReport:
        """Check the net's gradient by finite differences, or somebody's own code by the net's.

        Takes the first 256 rows, in float64; a model not fitted yet gets its first weights.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.
        function : callable (theta, X, y), optional
            NumPy code that is meant to be this net. It returns ``(loss, gradient)``, and the
            report says which of its lines are wrong; or outputs, to be compared with the net's.
        **options
            See :func:`nbmlp.diagnostics.gradients.check_gradients`; with a function
            :func:`nbmlp.diagnostics.function_check.check_function`.
        """
        from nbmlp.diagnostics.function_check import check

        if self._net is None:
            self.build(X, y)
        net = self.net
        rows = self._weighted(net.rows(X, y, sample_weight, "float64"))
        return check(net.spec, self.train_spec, net.state, rows, function, **options)

    def why(
        self,
        X: Any,
        y: ArrayLike,
        *,
        validation: tuple[Any, ArrayLike] | Given | float = 0.2,
        sample_weight: ArrayLike | None = None,
        **options: Any,
    ) -> Report:
        """Find out why training with these settings fails, stalls or disappoints.

        Trains for short times with and without each likely cure; this model stays as it is,
        fitted or not. Options (`seconds`, `progress`, `row_numbers`): see
        :func:`nbmlp.diagnostics.why.diagnose`.

        Returns
        -------
        Report
            Prints as text; :meth:`Report.cured` makes the model with the cure applied.
        """
        from nbmlp.diagnostics.why import diagnose

        return diagnose(
            self._settings, X, y, validation=validation, sample_weight=sample_weight,
            rebuild=self.with_, **options,
        )  # fmt: skip

    def scan_batch(
        self,
        X: Any,
        y: ArrayLike,
        *,
        validation: tuple[Any, ArrayLike] | float | None = None,
        **options: Any,
    ) -> BatchScan:
        """Which batch size learns soonest: short trainings from first weights, on copies.

        The model is not changed, fitted or not.

        Parameters
        ----------
        X, y, validation
            As for :meth:`fit`; the loss of the validation rows is watched if there are any.
        **options
            sizes, target, seconds, progress: see :func:`nbmlp.diagnostics.scan.scan_batch`.

        Returns
        -------
        BatchScan
            Prints as a table; ``best``, ``to_dict()``, ``plot(path)``.

        Raises
        ------
        DataError, SpecError
        """
        from nbmlp.diagnostics.scan import scan_batch

        given, aside = self._divide(Given.of(X, y), validation)
        with given.names.telling():
            given = converted(given, self._settings)
            net = Net.learn(self._settings, given.X, given.y)
        rows = net.weighted(net.finite_rows(given), self._settings.class_weight)
        held = None if aside is None else net.finite_rows(aside)
        return scan_batch(net, self.train_spec, rows, held, self._threads, **options)
