"""What processes that train together read of the data: each its own rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import ColumnPlan, Given, Mended, Table, Unread, as_table, check_X
from nbmlp.data.mend import bad_inputs, bad_targets, median_of
from nbmlp.net import Part
from nbmlp.rows import Names
from nbmlp.settings import Settings
from nbmlp.stream.ready import ReadyRows
from nbmlp.train.hosts.facts import compared, early_facts
from nbmlp.train.hosts.planning import Planning

__all__ = ["Reading"]


class Reading(Planning):
    """Data that are read where they are needed, and made ready for the net there."""

    def unread(self, given: Given, planned: bool = True) -> Given:
        """The data, of which nothing is read yet; as they are where each process needs them all.

        planned: there is a column plan for tables.
        """
        if self.size == 1 or isinstance(given.X, ReadyRows):
            return given
        if not planned and as_table(given.X) is not None:
            return given
        given = Given.of(given.X, given.y, given.weights, given.names)
        return replace(given, X=Unread.of(given.X))

    # -- values that are not finite

    def mended(self, given: Given, settings: Settings, dtype: str) -> tuple[Given, Mended]:
        """See :meth:`Given.mended`; each process looks at its own rows."""
        given, policy = self.unread(given), settings.train.on_nonfinite
        if self.size > 1:  # else they would meet at different places
            self.check_same(early_facts(given.X, settings))
        if not isinstance(given.X, Unread) or policy not in ("drop_rows", "impute"):
            return given.mended(policy, dtype)
        if policy == "drop_rows":
            return self.without_bad_rows(given, dtype)
        return self._imputed(given, dtype)

    def without_bad_rows(self, given: Given, dtype: str) -> tuple[Given, Mended]:
        """See :meth:`Given.without_bad_rows`; each process looks at its own rows."""
        X = given.X
        if not isinstance(X, Unread):
            return given.without_bad_rows(dtype)
        first, end = self.own(len(X))
        rows, columns = bad_inputs(X.read(first, end), dtype)
        said = self.agree((np.unique(rows) + first, np.unique(columns)))
        bad, columns = (np.concatenate(parts) for parts in zip(*said, strict=True))
        return given.without(np.union1d(bad, bad_targets(given.y, dtype)), columns)

    def _imputed(self, given: Given, dtype: str) -> tuple[Given, Mended]:
        """See :meth:`Given.imputed`; all get the values of columns that have gaps, one by one."""
        X = given.X
        part = X.read(*self.own(len(X)))
        rows, columns = bad_inputs(part, dtype)
        counts, found = zip(*self.agree((len(rows), np.unique(columns))), strict=True)
        medians = {}
        for j in np.unique(np.concatenate(found)).tolist():
            column = part[part.names[j]] if isinstance(part, Table) else part[:, j]
            rest = np.concatenate(self.agree(np.delete(column, rows[columns == j])))
            medians[j] = median_of(rest, given.names.column_words([j])[0])
        given = replace(given, X=replace(X, medians=medians, dtype=dtype))
        return given.without(bad_targets(given.y, dtype), np.array([*medians]), sum(counts))

    # -- rows as the net takes them

    def ready(
        self, given: Given, settings: Settings, plan: ColumnPlan | None, part: Part
    ) -> Given:
        """The data as the net takes them, but for rows that others look at.

        Parameters
        ----------
        given : Given
        settings : Settings
        plan : ColumnPlan or None
            How columns become inputs.
        part : callable
            :meth:`own` or :meth:`part`: of so many rows, the first one of this process's and the
            one behind the last.
        """
        X, names = given.X, given.names
        if not isinstance(X, Unread):
            return given

        def made(make: Callable[[Any], Any]) -> NDArray[Any]:
            return X.made(make, part(len(X)), compared(len(X)), names)

        if plan is not None:
            ready = ReadyRows(made(plan.transform), plan)
            return replace(given, X=ready, names=_named(X, plan, names))
        if isinstance(X.source, Table):  # refused by who wants numbers
            return replace(given, X=X.read(0, len(X)))
        make, first = partial(check_X, dtype=settings.dtype), X.source[:1]
        if X.whole and make(first) is first:  # the kernels read it where it lies
            return replace(given, X=X.source)
        return replace(given, X=made(make))


def _named(X: Unread, plan: ColumnPlan, names: Names) -> Names:
    """What the columns that a plan takes are called, in its order."""
    if not isinstance(X.source, Table):
        return names
    place = {name: number for number, name in enumerate(X.source.names)}
    return names.take_columns(np.array([place.get(name, -1) for name in plan.columns], np.int64))
