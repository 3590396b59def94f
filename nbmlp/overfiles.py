"""class OverFiles(Model): rows of Parquet files that need not fit into memory, in and out."""

from __future__ import annotations

import os
import secrets
import warnings
from typing import Any

from numpy.typing import ArrayLike, NDArray

from nbmlp.data import Table
from nbmlp.data.dataset import ColumnRef
from nbmlp.data.origin import Origin
from nbmlp.errors import SpecError, TrainingWarning
from nbmlp.model import Model
from nbmlp.predictions import prediction_columns
from nbmlp.stream import (
    FromFiles,
    Making,
    Progress,
    check_files,
    from_files,
    write_predictions,
)
from nbmlp.train.hosts import Hosts
from nbmlp.train.hosts.watch import watching

__all__ = ["OverFiles"]


class OverFiles(Model):
    """What :class:`~nbmlp.MLP` does with files."""

    def read_files(
        self, files: str | os.PathLike[str], *, target: ColumnRef | None = None,
        columns: ColumnRef | None = None, validation: Any = None,
        sample_weight: ArrayLike | None = None, progress: Progress | None = None, comm: Any = None,
    ) -> FromFiles:  # fmt: skip
        """Make the rows of Parquet files ready, for one or more trainings with these settings.

        Parameters
        ----------
        files, target, columns, validation, sample_weight
            As for :meth:`fit`, which takes what this returns as its X.
        progress : callable, optional
            Called with the share of a stage that is done, from 0 to 1, and its name.
        comm : mpi4py.MPI.Comm, optional
            Processes that will train together: one for each folder of ready rows makes them.

        Raises
        ------
        DataError, SpecError
            Something is wrong with the files or their folder of ready rows.
        """
        hosts, asked = Hosts(comm, self.train_spec), (target, columns, sample_weight, validation)
        with watching(comm), hosts.told():
            return self._read(3, hosts, progress, files, *asked)

    def _of_files(self, hosts: Hosts, X: Any, y: Any, row_numbers: Any, *asked: Any) -> FromFiles:
        """What `fit` takes of files, or of rows that :meth:`read_files` has made ready.

        asked: target, columns, sample_weight, validation.
        """
        check_files(isinstance(X, FromFiles), y, row_numbers, *asked)
        return X if isinstance(X, FromFiles) else self._read(4, hosts, None, X, *asked)

    def _read(
        self, level: int, hosts: Hosts, progress: Progress | None, files: str | os.PathLike[str],
        *asked: Any,
    ) -> FromFiles:  # fmt: skip
        """level: how far above the caller is who is warned."""
        task, train = self._settings.target, self.train_spec
        token = hosts.agree(secrets.token_hex(8))[0]
        with Making(progress if hosts.rank == 0 else None, token) as making:
            found = from_files(files, task, train, making, *asked)
            hosts.agree()  # all have mapped what may be removed behind this
        if found.remark and hosts.rank == 0:
            warnings.warn(found.remark, TrainingWarning, stacklevel=level)
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

        def predicted(rows: Table) -> dict[str, NDArray[Any]]:
            return prediction_columns(self.coding, output, self.outputs(rows), targets, proba)

        return write_predictions(files, plan.needed, predicted, out)
