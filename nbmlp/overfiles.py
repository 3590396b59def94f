"""class OverFiles(Model): rows of Parquet files that need not fit into memory, in and out."""

from __future__ import annotations

import os
import warnings
from typing import Any

from numpy.typing import ArrayLike, NDArray

from nbmlp.answers import answers
from nbmlp.data import Table
from nbmlp.data.dataset import ColumnRef
from nbmlp.data.origin import Origin
from nbmlp.errors import SpecError, TrainingWarning
from nbmlp.model import Model
from nbmlp.stream import FromFiles, from_files, write_answers

__all__ = ["OverFiles"]


class OverFiles(Model):
    """What :class:`~nbmlp.MLP` does with files."""

    def read_files(
        self, files: str | os.PathLike[str], *, target: ColumnRef | None = None,
        columns: ColumnRef | None = None, validation: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> FromFiles:  # fmt: skip
        """Make the rows of Parquet files ready, for one or more trainings with these settings.

        Parameters
        ----------
        files, target, columns, validation, sample_weight
            As for :meth:`fit`, which takes what this returns as its X.

        Raises
        ------
        DataError, SpecError
            Something is wrong with the files or their folder of ready rows.
        """
        task, train = self._settings.target, self.train_spec
        found = from_files(files, task, train, target, columns, sample_weight, validation)
        if found.remark:
            warnings.warn(found.remark, TrainingWarning, stacklevel=3)
        return found

    def predict_files(
        self, files: str | os.PathLike[str], out: str | os.PathLike[str], *, proba: bool = False
    ) -> int:
        """Predict all rows of Parquet files; a part of them is in memory at a time.

        Parameters
        ----------
        files : path, folder, pattern or address
            With the columns that the model was fitted on; others are left alone.
        out : path
            Parquet file of the predictions, a row for each, in order; whole or not at all.
        proba : bool
            Add a column with each class's probability.

        Returns
        -------
        int
            Rows.

        Raises
        ------
        DataError
            Something is wrong with the files, or `out` cannot be written.
        SpecError
            The model's columns have no names, or there are no probabilities.
        """
        plan, output = self.column_plan, self.model_spec.output
        if plan is None:
            raise SpecError("predict_files needs a model that was fitted on a table or on files.")
        known = Origin.noted(self.notes)
        targets = known.target_names if known else ()

        def answered(rows: Table) -> dict[str, NDArray[Any]]:
            return answers(self.coding, output, self.outputs(rows), targets, proba)

        return write_answers(files, plan.needed, answered, out)
