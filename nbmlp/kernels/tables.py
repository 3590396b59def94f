"""Records at an address, as compiled code reads them."""

from __future__ import annotations

from nbmlp.kernels._jit import spliced
from nbmlp.kernels.records import JOB, LAYER, PARAMETER, THREAD
from nbmlp.kernels.vecmath import vector_of

__all__ = ["job_at", "layers_at", "parameter_at", "parameters_at", "records_at", "threads_at"]

#: ``layers_at(address, n)``: n records, one after the other.
layers_at, parameters_at, threads_at = vector_of(LAYER), vector_of(PARAMETER), vector_of(THREAD)
_jobs = vector_of(JOB)


@spliced
def job_at(address):
    """The job's record."""
    return _jobs(address, 1)[0]


@spliced
def parameter_at(address):
    """One block of parameters."""
    return parameters_at(address, 1)[0]


@spliced
def records_at(job, layer, thread):
    """Those that a layer's pieces are given."""
    return _jobs(job, 1)[0], layers_at(layer, 1)[0], threads_at(thread, 1)[0]
