"""Somebody's forward pass against the net's, and its numerical derivative against the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from nbmlp.diagnostics.algebra import Tape
from nbmlp.diagnostics.formulas import Array, activate, loss_slope
from nbmlp.diagnostics.gradients import BlockError, five_point, relative_error
from nbmlp.diagnostics.slips import Finding
from nbmlp.diagnostics.user_code import FunctionReport, Problem, UserCode
from nbmlp.names import OUTPUTS, Function

__all__ = ["check_forward"]

#: Entries of each block by which the code is differentiated, and the step of the differences.
_ENTRIES, _STEP = 20, 1e-3


def check_forward(problem: Problem, code: UserCode, tolerance: float, seed: int) -> FunctionReport:
    """Compare outputs; where they agree, also the outputs' derivative with the net's gradient.

    Parameters
    ----------
    problem : Problem
    code : UserCode
        Its function returns outputs.
    tolerance, seed
        As for :func:`nbmlp.diagnostics.function_check.check_function`.
    """
    tape, given = problem.at(problem.flat), code.outputs(problem.flat)
    layers = range(len(tape.a)) if len(given) == len(tape.a) else [len(tape.a) - 1]
    outputs: list[BlockError] = []
    findings: list[Finding] = []
    for k, a in zip(layers, given, strict=True):
        error = relative_error(a, tape.a[k])
        outputs.append(BlockError(f"a{k + 1}", error, a.size, 0))
        if not error <= tolerance and not findings:  # what follows from it differs too
            findings.append(_forward_slip(tape, k, a, tolerance))
    if findings:
        return FunctionReport("", tuple(outputs), tuple(findings), (), tolerance)
    blocks = tuple(_compare(problem, code, tape, seed))
    note = "the net's gradient was compared with differences of your outputs"
    return FunctionReport("", (*outputs, *blocks), (), (note,), tolerance)


# -- outputs that differ


def _forward_slip(tape: Tape, k: int, given: Array, tolerance: float) -> Finding:
    name, function = (f"a{k + 1}",), tape.functions[k]
    for kind, what, fix, a in _wrong_outputs(tape, k):
        if relative_error(given, a) <= tolerance:
            return Finding(name, kind, what, fix)
    rows = np.flatnonzero(np.abs(given - tape.a[k]).max(axis=1) > tolerance)
    what = f"outputs differ in {len(rows)} of {len(given)} rows by no slip known here"
    fix = f"compare a{k + 1} = {function}(z{k + 1}) line by line for one row"
    return Finding(name, "unknown", what, fix)


def _wrong_outputs(tape: Tape, k: int) -> Iterator[tuple[str, str, str, Array]]:
    """Outputs of layer `k` under each slip: kind, what it is, fix, the array."""
    (W, b), z, function, i = tape.layers[k], tape.z[k], tape.functions[k], k + 1
    below = tape.a[k - 1] if k else tape.x
    line = f"z{i} = a{k} @ W{i} + b{i}, a{i} = {function}(z{i})"
    for row in OUTPUTS.values():
        other = Function(row)
        if other != function:
            what = f"the outputs are {other}'s, the net has {function}"
            with np.errstate(over="ignore"):
                yield (
                    "activation",
                    what,
                    f"{line}, or activation={row.name!r} in the net",
                    activate(other, z),
                )
    if b is not None:
        what = f"the bias b{i} is not added"
        yield "bias_missing", what, line, activate(function, z - b)
        yield "bias_sign", f"the bias b{i} is subtracted", line, activate(function, z - 2 * b)
    if W.shape[0] == W.shape[1]:
        yield (
            "transposed", f"W{i} is transposed", line,
            activate(function, below @ W.T + (0.0 if b is None else b)),
        )  # fmt: skip
    if function.name == "softmax":
        e = np.exp(z - z.max())
        what, fix = "softmax is taken over the rows", "divide by e.sum(axis=1, keepdims=True)"
        yield "softmax_axis", what, fix, e / e.sum(axis=0)
        yield "softmax_axis", "softmax is taken over everything", fix, e / e.sum()


# -- outputs that agree


def _compare(problem: Problem, code: UserCode, tape: Tape, seed: int) -> Iterator[BlockError]:
    """Each block of the data's gradient beside differences of the code's outputs.

    The derivative of the loss is that of sum(c * a), c = dL/da at the point.
    """
    c = loss_slope(problem.spec, tape.z[-1], tape.y) / len(tape.x)
    rng, start = np.random.Generator(np.random.Philox(seed)), 0

    def value(place: int, shift: float) -> float:
        flat = problem.flat.copy()
        flat[place] += shift
        return float((c * code.outputs(flat)[-1]).sum())

    def smooth(place: int) -> bool:
        """No unit changes sign within the formula's reach."""
        sides = []
        for shift in (-2 * _STEP, 2 * _STEP):
            flat = problem.flat.copy()
            flat[place] += shift
            sides.append([z > 0 for z in problem.at(flat).z])
        return all(np.array_equal(low, high) for low, high in zip(*sides, strict=True))

    for k, layer in enumerate(problem.engine_gradient(), start=1):
        for name, block in ((f"W{k}", layer.W), (f"b{k}", layer.b)):
            if block is None:
                continue
            places = rng.permutation(block.size)[: 3 * _ENTRIES]
            kept = [p for p in places.tolist() if smooth(start + p)][:_ENTRIES]
            found = [_slope(partial(value, start + p)) for p in kept]
            error = relative_error(block.ravel()[kept], np.array(found))
            yield BlockError(name, error, len(kept), len(places) - len(kept))
            start += block.size


def _slope(value: Callable[[float], float]) -> float:
    low2, low1, high1, high2 = (value(m * _STEP) for m in (-2, -1, 1, 2))
    return five_point(low2, low1, high1, high2, _STEP)
