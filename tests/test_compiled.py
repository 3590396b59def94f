"""What is compiled, how often, and where it is kept: each in child processes.

They share the cache folder of all tests, in which much of what they need may lie already: what a
net has a use for is the same then, and other tests need it, too. Run as a script, this file is the
child: it trains the specs that are named and tells what it compiled.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

#: One set of functions; what differs below is only shape, cut, data and threads.
BASE = {"activation": "relu", "optimizer": "adam", "epochs": 2, "batch_size": 20}
TOPOLOGIES = {
    "base": {"hidden": (8,)},
    "deep": {"hidden": (7, 6, 5, 4, 3)},
    "wide": {"hidden": (513,)},
    "narrow": {"hidden": (1, 1)},
    "whole batch": {"hidden": (16, 17), "batch_size": None},
    "single rows": {"hidden": (8,), "batch_size": 1},
    "left over": {"hidden": (8,), "batch_size": 33},
    "sub-batches": {"hidden": (8,), "batch_size": 3000, "rows": 3100},
    "three targets": {"hidden": (8,), "outputs": 3},
    "no bias": {"hidden": (8, 5), "bias": False},
    "in order": {"hidden": (8,), "shuffle": False, "schedule": "exponential", "warmup": 1},
    "many columns": {"hidden": (8,), "columns": 300, "weighted": True},
    "two threads": {"hidden": (96, 96), "batch_size": 500, "rows": 2000, "threads": 2},
}
#: Each brings functions of its own.
OTHERS = {
    "no hidden layer, double": {"hidden": (), "dtype": "float64"},
    "bytes": {"hidden": (8,), "inputs": "uint8", "activation": "tanh"},
    "single precision data": {"hidden": (8,), "inputs": "float32", "activation": "silu"},
    "momentum, penalties": {"hidden": (8,), "optimizer": "sgd(momentum=0.9)", "l1": 0.1, "l2": 0.1},
    "two activations": {"hidden": (8, 4), "activation": ("elu", "mish"), "optimizer": "adamw"},
    "huber, clipped": {"hidden": (8,), "loss": "huber", "clip_norm": 1.0, "clip_value": 0.5},
    "max_norm, dropout": {"hidden": (8,), "max_norm": 1.0, "dropout": 0.2, "output": "softplus"},
    "sparse data": {"hidden": (8,), "inputs": "csr_float64_int32"},
    "poisson, norms": {"hidden": (8,), "loss": "poisson", "gradient_norms": True},
}
SPECS = {name: {**BASE, **settings} for name, settings in (TOPOLOGIES | OTHERS).items()}
#: No training, only what puts rows into an order: one small piece.
ORDER = "an order"


# ------------------------------------------------------------------------------- the child


def train(settings):
    """Fit and predict; returns the sum of the outputs."""
    from scipy.sparse import csr_array

    from nbmlp import MLP

    settings = dict(settings)
    shape = settings.pop("rows", 100), settings.pop("columns", 5)
    rng = np.random.default_rng(0)
    inputs = settings.pop("inputs", "float64")
    X = rng.integers(0, 256, shape).astype("float64" if "csr" in inputs else inputs)
    X = X if X.dtype == np.uint8 else X / 255
    X = csr_array(X) if "csr" in inputs else X
    y = rng.random((shape[0], settings.pop("outputs", 1)))
    weights = rng.random(shape[0]) if settings.pop("weighted", False) else None
    model = MLP(task="regression", **settings).fit(X, y, sample_weight=weights)
    model.evaluate(X, y)
    return float(model.predict(X).sum())


def order():
    """Rows 0 to 9 as the first epoch would have them."""
    from nbmlp.kernels.pieces import in_order, piece_function

    rows = np.zeros(10, np.int64)
    arguments = in_order("shuffle", order=rows.ctypes.data, n=10, seed=1, epoch=0, stream=0)
    piece_function("shuffle", np.float64)(*arguments)
    return rows.tolist()


def child(names):
    """Train the specs; tell each one's result and all pieces known after it."""
    from nbmlp.kernels import _jit
    from nbmlp.kernels.epoch import run_parallel
    from nbmlp.kernels.pieces import cache_folder, compiled_pieces

    results, known = {}, {}
    for name in names:
        results[name] = order() if name == ORDER else train(SPECS[name])
        known[name] = compiled_pieces()
    return {
        "results": results,
        "known": known,
        "compiled": sorted(".".join(k) for k, piece in _jit._KEEP.items() if not piece.cache_hits),
        "loaded": sorted(".".join(k) for k, piece in _jit._KEEP.items() if piece.cache_hits),
        "loops": [len(run_parallel.signatures), sum(run_parallel.stats.cache_misses.values())],
        "folder": str(cache_folder()),
    }


def python(*arguments, root=ROOT, cache=None, **env):
    """What a child prints; `cache`: a cache folder of its own."""
    env = os.environ | {"PYTHONPATH": str(root), "NUMBA_NUM_THREADS": "2"} | env
    env |= {"NUMBA_CACHE_DIR": str(cache)} if cache else {}
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def run(*names, cache=None):
    """What a child says of the specs."""
    return json.loads(python(__file__, *names, cache=cache))


def folder(cache, root=ROOT, **env):
    """Where a child would keep what it compiles."""
    program = "from nbmlp.kernels.code_folder import cache_folder; print(cache_folder())"
    return python("-c", program, root=root, cache=cache, **env).strip()


# -------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def first():
    """All specs, one after the other; afterwards all that they need is compiled."""
    return run(*SPECS, ORDER)


def added(report):
    """Pieces that each spec added to those before it."""
    before, new = set(), {}
    for name in SPECS:
        now = {tuple(piece) for piece in report["known"][name]}
        new[name] = now - before
        before = now
    return new


#: The few small pieces that depend on the shape: outputs behind a wide layer, narrow ones, and long
#: rows of inputs.
SHAPES = {
    "parts.forward", "narrow.forward", "narrow.gradient", "by_address.write", "by_address.point",
    "by_address.forward",
}  # fmt: skip


def test_another_topology_compiles_nothing(first):
    """Nothing but a few pieces for few outputs, outputs behind a wide layer, and long rows."""
    new = added(first)
    assert new["base"]
    for name in TOPOLOGIES:
        assert name == "base" or {piece for piece, _ in new[name]} <= SHAPES, name


def test_one_loop_serves_all(first):
    """The training and the prediction loop exist once, whatever the element type."""
    known = [tuple(piece) for piece in first["known"][list(SPECS)[-1]]]
    assert len(known) == len(set(known))
    assert [name for name, _ in known].count("train") == 1
    assert [name for name, _ in known].count("infer") == 1
    assert first["loops"][0] == 1


#: Pieces that any training or prediction may need.
ANY = {
    "gemm", "transpose", "train", "infer", "shuffle", "all_finite", "copy_rows", "inputs.forward",
    "dense.forward", "dense.gradient", "loss.forward", "activation.forward",
}  # fmt: skip
#: Pieces that hidden layers need.
HIDDEN = {"dense.backward", "activation.backward"}
#: Pieces that a setting needs.
NEEDS = {
    "l1": {"penalise"}, "l2": {"penalise"}, "clip_value": {"clip_values"}, "max_norm": {"max_norm"},
    "clip_norm": {"sum_squares", "scale"}, "gradient_norms": {"sum_squares"},
    "dropout": {"dropout", "dropout.forward", "dropout.backward"},
}  # fmt: skip
#: Pieces that are the same for all element types: those that touch none.
WITHOUT_TYPE = {
    "train", "infer", "shuffle", *ANY, *HIDDEN, *NEEDS["dropout"],
    "by_address.write", "by_address.point",
} - {"gemm", "transpose", "all_finite", "copy_rows", "dropout"}  # fmt: skip


def used_by(settings):
    """Pieces that a spec has a use for."""
    activations = settings["activation"]
    names = {activations} if isinstance(activations, str) else set(activations)
    loss = settings.get("loss", "squared_error")
    names |= {settings.get("output", "exp" if loss == "poisson" else "identity")}
    names = names if settings["hidden"] else names - {activations}
    rule = settings["optimizer"].partition("(")[0].replace("adamw", "adam")
    pieces = ANY | SHAPES | (HIDDEN if settings["hidden"] else set())
    pieces |= {f"{name}.{way}" for name in names for way in ("forward", "backward")}
    pieces |= {f"{loss}.loss", f"{rule}.rule", f"inputs.{settings.get('inputs', 'float64')}"}
    pieces |= {f"targets.{settings.get('dtype', 'float32')}"}
    return pieces.union(*(NEEDS[name] for name in settings if name in NEEDS))


def test_a_spec_compiles_what_it_uses_and_no_more(first):
    for name, pieces in added(first).items():
        settings = SPECS[name]
        assert {piece for piece, _ in pieces} <= used_by(settings), name
        kinds = {kind for piece, kind in pieces if piece not in WITHOUT_TYPE}
        assert kinds <= {settings.get("dtype", "float32")}, name


def test_a_second_process_compiles_nothing(first):
    second = run(*SPECS, ORDER)
    assert second["compiled"] == []
    assert second["loops"] == [1, 0]
    assert second["loaded"] == sorted(first["compiled"] + first["loaded"])
    assert second["results"] == first["results"]


def test_pieces_work_where_nothing_can_be_written(first, tmp_path):
    """A file where the folder should be: not even root can make one there."""
    (tmp_path / "file").write_text("no folder")
    report = run(ORDER, cache=tmp_path / "file")
    assert report["results"][ORDER] == first["results"][ORDER]
    assert sorted(report["results"][ORDER]) == list(range(10))
    assert report["compiled"] == ["shuffle.float64"]


def empty(path):
    path.write_bytes(b"")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path):
    path.write_bytes(bytes(255 - b for b in path.read_bytes()))


#: Small pieces of the base, which take little time to be compiled again.
TORN = [
    "shuffle.float64", "adam.rule.float32", "relu.forward.float32",
    "relu.backward.float32", "transpose.float32", "copy_rows.float32",
]  # fmt: skip


def test_a_damaged_cache_is_renewed(first, tmp_path):
    """Files torn in one of three ways, of some pieces the index, of others the code."""
    full, copy = Path(first["folder"]), tmp_path / "cache"
    for part in (copy, copy / full.parent.name):
        part.mkdir(mode=0o700)
    unfinished = shutil.ignore_patterns("*.tmp.*")  # files of others at work
    shutil.copytree(full, copy / full.parent.name / full.name, ignore=unfinished)
    for i, name in enumerate(TORN):
        index = next(copy.rglob(f"{name}-*.nbi"))
        code = next(index.parent.glob(f"{index.stem}.*.nbc"))
        (empty, halve, scramble)[i // 2]((index, code)[i % 2])
    report = run("base", cache=copy)
    assert report["results"]["base"] == first["results"]["base"]
    assert report["compiled"] == sorted(TORN)
    healed = run("base", cache=copy)
    assert healed["compiled"] == []
    assert healed["results"]["base"] == first["results"]["base"]


FEATURES = ["+sse2", "+sse2,+avx2,+fma", "+sse2,+avx2,+fma,+avx512f,+avx512vl"]


def test_each_instruction_set_has_its_own_folder(tmp_path):
    folders = [folder(tmp_path, NUMBA_CPU_FEATURES=features) for features in FEATURES]
    assert len(set(folders)) == len(FEATURES)
    assert folder(tmp_path, NUMBA_CPU_FEATURES=FEATURES[0]) == folders[0]
    assert all(folder.startswith(str(tmp_path)) for folder in folders)


def test_other_sources_have_their_own_folder(tmp_path):
    shutil.copytree(ROOT / "nbmlp", tmp_path / "nbmlp", ignore=shutil.ignore_patterns("*.pyc"))
    before = folder(tmp_path / "cache", tmp_path)
    assert folder(tmp_path / "cache", ROOT) == before
    with open(tmp_path / "nbmlp" / "kernels" / "optim.py", "a") as file:
        file.write("# a change\n")
    assert folder(tmp_path / "cache", tmp_path) != before


if __name__ == "__main__":
    print(json.dumps(child(sys.argv[1:])))
