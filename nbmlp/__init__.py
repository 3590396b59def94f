"""nbmlp: multilayer perceptrons trained on CPUs by Numba-compiled kernels."""

__version__ = "0.1.0"
