"""The pieces by name. Importing this module registers all of them and compiles none."""

from __future__ import annotations

from nbmlp.kernels import (
    activations,
    epoch,
    gather,
    gemm,
    listed,
    losses,
    narrow,
    optim,
    rng,
    sparse,
)
from nbmlp.kernels._jit import (
    compiled_pieces,
    in_order,
    piece_address,
    piece_function,
    registered_pieces,
)
from nbmlp.kernels.code_folder import cache_folder

__all__ = [
    "activations",
    "cache_folder",
    "compiled_pieces",
    "epoch",
    "gather",
    "gemm",
    "in_order",
    "listed",
    "losses",
    "narrow",
    "optim",
    "piece_address",
    "piece_function",
    "registered_pieces",
    "rng",
    "sparse",
]
