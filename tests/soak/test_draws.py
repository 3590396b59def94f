"""What `make test` draws fewer of, and a benchmark with real jobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity
import pytest

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("first", range(100, 200, 20))
def test_the_same_weights_as_scikit_learn(first: int) -> None:
    found = [parity.compare(seed) for seed in range(first, first + 20)]
    assert [f for f in found if f not in ("same", "chaotic")] == []
    assert found.count("chaotic") <= 2


def test_both_sides_train_the_same(tmp_path: Path) -> None:
    from bench.server_throughput import measure

    rng = np.random.default_rng(0)
    path = tmp_path / "small.npz"
    np.savez(path, X=rng.integers(0, 256, (400, 9), dtype=np.uint8), y=np.arange(400) % 10)
    outcome = measure(path, 2, 1, 1)
    for turn in (*outcome.server, *outcome.here):
        assert turn.epochs > turn.whole > 0
        assert turn.training > turn.whole
