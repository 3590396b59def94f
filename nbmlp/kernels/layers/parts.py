"""The sum of products over parts of the inputs, which threads have computed each on its own.

The products are layers by themselves: threads that cut a wide layer by columns multiply their own
units alone, and only these few sums travel from core to core. There is nothing to do on the way
back: the delta of a sum is that of each of its parts.
"""

from __future__ import annotations

from typing import Any

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector

__all__: list[str] = []


@piece("parts.forward", abi.layer_pass)
def _make_forward(T: type) -> Any:
    vector = make_vector(T)

    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """From the first part on; they lie `own` bytes apart."""
        _, s, _ = records_at(job, layer, thread)
        for r in range(first, first + rows):
            out = vector(s.a + r * s.a_row, s.n)
            for j in range(s.n):
                total = vector(s.x + r * s.x_row, s.n)[j]
                for c in range(1, tuning.CHUNKS):
                    total += vector(s.x + c * s.own + r * s.x_row, s.n)[j]
                out[j] = total
        return -1

    return forward
