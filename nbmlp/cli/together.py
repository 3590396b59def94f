"""Commands that several processes run together, as mpiexec starts them."""

from __future__ import annotations

import os
from typing import Any

from nbmlp.errors import missing_package

__all__ = ["communicator"]

#: How many processes there are, as MPICH's and Open MPI's launchers tell each of them.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


def communicator() -> Any:
    """MPI's for all processes that were started together; None where this one is alone.

    Raises
    ------
    MissingPackageError
        There are several, and mpi4py is not installed.
    """
    if all(os.environ.get(name, "1") == "1" for name in _SIZES):
        return None
    try:
        from mpi4py import MPI
    except ImportError:
        raise missing_package("training with mpiexec", "mpi4py", "mpi") from None
    return MPI.COMM_WORLD
