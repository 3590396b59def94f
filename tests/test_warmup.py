from __future__ import annotations

import io

from nbmlp.kernels.pieces import compiled_pieces
from nbmlp.warmup import COMMON, warm_up


def test_warm_up_compiles_and_says_what() -> None:
    said = io.StringIO()
    warm_up(said)
    lines = said.getvalue().splitlines()
    assert len(lines) == len(COMMON) + 1
    for line, net in zip(lines, COMMON, strict=False):
        assert net.name in line
    pieces = {name for name, _ in compiled_pieces()}
    assert {"train", "infer", "gemm", "inputs.uint8", "relu.forward", "by_address.point"} <= pieces
