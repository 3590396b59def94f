"""The pieces by name. Importing this module registers all of them and compiles none."""

from __future__ import annotations

from nbmlp.kernels import (
    activations,
    epoch,
    gather,
    gemm,
    losses,
    optim,
    rng,
    tree,
)
from nbmlp.kernels._jit import (
    compiled_pieces,
    in_order,
    piece_address,
    piece_function,
    registered_pieces,
)
from nbmlp.kernels.code_folder import cache_folder
from nbmlp.kernels.layers import (
    activation,
    by_address,
    codes,
    dense,
    dropout,
    embedding,
    inputs,
    loss,
    narrow,
    norm,
    parametric,
    parts,
    residual,
    scale,
    sparse,
    sums,
)

__all__ = [
    "activation",
    "activations",
    "by_address",
    "cache_folder",
    "codes",
    "compiled_pieces",
    "dense",
    "dropout",
    "embedding",
    "epoch",
    "gather",
    "gemm",
    "in_order",
    "inputs",
    "loss",
    "losses",
    "narrow",
    "norm",
    "optim",
    "parametric",
    "parts",
    "piece_address",
    "piece_function",
    "registered_pieces",
    "residual",
    "rng",
    "scale",
    "sparse",
    "sums",
    "tree",
]
