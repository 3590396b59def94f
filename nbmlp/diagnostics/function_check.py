"""Somebody's own NumPy code against the net's algebra: what differs, and in which line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nbmlp.diagnostics.algebra import Tape, backward, split_flat
from nbmlp.diagnostics.formulas import Array
from nbmlp.diagnostics.forward_check import check_forward
from nbmlp.diagnostics.gradients import (
    BlockError,
    GradientReport,
    check_gradients,
    relative_error,
)
from nbmlp.diagnostics.slips import Cost, find_slips, named_factors
from nbmlp.diagnostics.user_code import Function, FunctionReport, Problem, UserCode
from nbmlp.errors import SpecError
from nbmlp.names import LOSSES
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State

__all__ = ["check", "check_function"]

#: Points at which the loss is taken to see what it is made of.
_POINTS = 9
#: Looser where the code computes in float32: its rounding is no mistake.
_SINGLE = 1e-4


def check(
    spec: ModelSpec,
    train: TrainSpec,
    state: State,
    rows: Rows,
    function: Function | None,
    **options: Any,
) -> GradientReport | FunctionReport:
    """The net's gradient by finite differences or, given one, a function by the net.

    See :func:`~nbmlp.diagnostics.gradients.check_gradients` and :func:`check_function`.
    """
    if function is None:
        return check_gradients(spec, train, state, rows, **options)
    problem = Problem.of(spec, train, state, rows, options.get("seed", 0))
    return check_function(problem, function, **options)


def check_function(
    problem: Problem,
    function: Function,
    *,
    parameters: str = "flat",
    tolerance: float = 1e-7,
    seed: int = 0,
) -> FunctionReport:
    """Compare somebody's code with the net that it is meant to be.

    Parameters
    ----------
    problem : Problem
    function : callable (theta, X, y)
        Returns ``(loss, gradient)``, the gradient as one vector in the order of theta or as a
        list of (dW, db); or the outputs (rows, outputs); or a list of every layer's outputs.
    parameters : str
        ``"flat"``: theta is one vector; ``"layers"``: a list of (W, b), W of shape (inputs,
        outputs), or of W for a net without biases.
    tolerance : float
        Largest relative error of a block that passes; 1e-4 at least where the code returns
        float32.
    seed : int
        Of the points at which its loss is examined.

    Returns
    -------
    FunctionReport

    Raises
    ------
    SpecError
        The function returns something else. What it raises itself goes through.
    """
    if parameters not in ("flat", "layers"):
        raise SpecError(f"parameters={parameters!r}: choose flat or layers.")
    code = UserCode(problem, function, parameters)
    result = code.call(problem.flat)
    if _is_pair(result):
        return _check_gradient(problem, code, result, tolerance, seed)
    return check_forward(problem, code, tolerance, seed)


def _is_pair(result: Any) -> bool:
    return isinstance(result, tuple | list) and len(result) == 2 and np.ndim(result[0]) == 0


def _check_gradient(
    problem: Problem, code: UserCode, result: Any, tolerance: float, seed: int
) -> FunctionReport:
    gradient = code.gradient(result[1])
    if not (np.isfinite(result[0]) and np.isfinite(gradient).all()):
        raise SpecError("the function's loss or gradient is not finite at the net's parameters.")
    tolerance = max(tolerance, _SINGLE) if code.single else tolerance
    spec, cost, notes = _understand_loss(problem, code, tolerance, seed)
    problem = replace(problem, spec=spec)
    understood = cost is not None
    cost = cost or problem.cost
    tape = problem.at(problem.flat)
    given = _named(spec, gradient)
    right = _named(spec, _derivative(tape, cost))
    blocks = tuple(
        BlockError(name, relative_error(block, right[name]), block.size, 0)
        for name, block in given.items()
    )
    wrong = {b.name for b in blocks if b.error > tolerance}
    with np.errstate(all="ignore"):  # wrong algebra may well overflow
        found = find_slips(tape, cost, given, 10 * tolerance) if wrong else ()
    findings = tuple(f for f in found if wrong & set(f.blocks))
    loss = _describe(spec, cost) if understood else "not understood; the net's is taken instead"
    return FunctionReport(loss, blocks, findings, tuple(notes), tolerance)


def _named(spec: ModelSpec, flat: Array) -> dict[str, Array]:
    found = {}
    for k, (W, b) in enumerate(split_flat(spec, flat), start=1):
        found[f"W{k}"] = W
        if b is not None:
            found[f"b{k}"] = b
    return found


def _derivative(tape: Tape, cost: Cost) -> Array:
    """Gradient of `cost` by the right algebra."""
    parts = []
    for k, (layer, (dW, db)) in enumerate(zip(tape.layers, backward(tape), strict=True), start=1):
        parts.append((cost.data * dW + cost.penalty(f"W{k}", layer.W)).ravel())
        if layer.b is not None and db is not None:
            parts.append(cost.data * db + cost.penalty(f"b{k}", layer.b))
    return np.concatenate(parts)


# -- what its loss is made of


def _understand_loss(
    problem: Problem, code: UserCode, tolerance: float, seed: int
) -> tuple[ModelSpec, Cost | None, list[str]]:
    """The loss as one that is known here, with its factors; the net's own is tried first."""
    rng = np.random.Generator(np.random.Philox(seed))
    flats = [problem.flat] + [_elsewhere(problem, rng) for _ in range(_POINTS - 1)]
    losses = np.array([code.loss(flat) for flat in flats])
    for spec in _candidates(problem.spec):
        cost = _fit_cost(replace(problem, spec=spec), flats, losses, tolerance)
        if cost is not None:
            return spec, cost, _notes(problem, spec, cost)
    return (
        problem.spec,
        None,
        [
            "the loss is none that is known here, so the gradient was compared with the derivative"
            " of the net's"
        ],
    )


def _elsewhere(problem: Problem, rng: np.random.Generator) -> Array:
    """A point nearby at which every term of the loss has another size."""
    layers = split_flat(problem.spec, problem.flat.copy())
    parts = [p for layer in layers for p in layer if p is not None]
    return np.concatenate([(p * rng.uniform(0.6, 1.4)).ravel() for p in parts])


def _candidates(spec: ModelSpec) -> list[ModelSpec]:
    found = [spec]
    for loss in LOSSES:
        if loss == spec.loss_function.name:
            continue
        try:
            found.append(replace(spec, loss=loss, label_smoothing=0.0))
        except SpecError:
            continue  # does not go with this output
    return found


def _fit_cost(problem: Problem, flats: list[Array], losses: Array, tolerance: float) -> Cost | None:
    def terms(flat: Array) -> list[float]:
        layers = split_flat(problem.spec, flat)
        weights = sum(float((layer.W**2).sum()) for layer in layers)
        biases = sum(float((layer.b**2).sum()) for layer in layers if layer.b is not None)
        l1 = sum(float(np.abs(layer.W).sum()) for layer in layers) if problem.train.l1 else 0.0
        return [problem.at(flat).loss, weights / 2, biases / 2, l1]

    table = np.array([terms(flat) for flat in flats])
    scale = np.linalg.norm(table, axis=0)
    scale[scale == 0] = 1.0
    shares = np.linalg.lstsq(table / scale, losses, rcond=None)[0]
    size = float(np.linalg.norm(losses)) or 1.0
    if np.linalg.norm(table / scale @ shares - losses) > max(0.1 * tolerance, 1e-10) * size:
        return None
    shares[np.abs(shares) < max(tolerance * 1e-3, 1e-10) * size] = 0.0
    data, l2, bias_l2, l1 = (shares / scale).tolist()
    return Cost(data, l2, bias_l2, l1) if data else None


def _describe(spec: ModelSpec, cost: Cost) -> str:
    parts = [f"{cost.data:.6g} * mean {spec.loss}"]
    parts += [f"{cost.l2 / 2:.6g} |W|^2"] if cost.l2 else []
    parts += [f"{cost.bias_l2 / 2:.6g} |b|^2"] if cost.bias_l2 else []
    parts += [f"{cost.l1:.6g} |W|_1"] if cost.l1 else []
    return " + ".join(parts)


def _notes(problem: Problem, spec: ModelSpec, cost: Cost) -> list[str]:
    """Where its loss is another than the net's."""
    own, notes = problem.cost, []
    if spec.loss != problem.spec.loss:
        notes.append(f"the loss is {spec.loss}, the net's {problem.spec.loss}")
    ratio = cost.data / own.data
    if abs(ratio - 1) > 1e-6:
        n, m = problem.y.shape
        factors = named_factors(ratio, n, m)
        notes += [f"the data's loss {what} beside the net's" for _, what, _ in factors]
    if abs(cost.l2 - own.l2) > 1e-6 * max(cost.l2, own.l2):
        mine, yours = f"{own.l2 / 2:.6g} |W|^2", f"{cost.l2 / 2:.6g} |W|^2"
        notes.append(f"the L2 penalty is {yours}, the net's {mine}")
    if cost.bias_l2:
        notes.append("the L2 penalty includes the biases; the net leaves them out")
    return notes
