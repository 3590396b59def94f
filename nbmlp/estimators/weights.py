"""`coefs_` and `intercepts_` as views into the arena that the kernels read and update."""

from __future__ import annotations

import operator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.sparse import SparseRows
from nbmlp.optimizers import SGD, Optimizer
from nbmlp.plan import Role, make_plan
from nbmlp.predict import Predictor, Rows
from nbmlp.spec import ModelSpec
from nbmlp.state import first_slots, new_state

__all__ = ["Weights"]

Array = NDArray[Any]


class Weights:
    """A net's parameters and what its optimizer keeps.

    Parameters
    ----------
    spec : ModelSpec
    threads : int
        Most threads for predictions.

    Attributes
    ----------
    coefs : list of ndarray (n_in, n_out)
        Views, one for each layer.
    intercepts : list of ndarray (n_out,)
        Views.
    vectors : dict of str to ndarray
        Views of all other parameters, by their names in model files.
    activation : object
        The estimator's parameter that `spec` was made from.
    """

    activation: object = None

    def __init__(self, spec: ModelSpec, threads: int) -> None:
        self.spec, self.threads = spec, threads
        self.state = new_state(make_plan(spec, 1), SGD())
        self.coefs, self.intercepts = self.state.weights(), self.state.biases()
        self.vectors: dict[str, Array] = {}
        for block, part, values in self.state.parts():
            values[:] = part.start
            if block.role is not Role.PRODUCT or part.name not in ("weight", "bias"):
                self.vectors[block.name_of(part)] = values

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.spec, self.state.plan, self.state, self.threads)

    def take(self, coefs: list[Array], intercepts: list[Array]) -> None:
        """Copy the arrays that somebody has put in the place of a view, and put the view back.

        Raises
        ------
        ValueError
            An array of another shape: it does not fit to those of the layers beside it.
        """
        named = (("coefs_", self.coefs, coefs), ("intercepts_", self.intercepts, intercepts))
        for name, views, arrays in named:
            for k, view in enumerate(views):
                if arrays[k] is view:
                    continue
                if np.shape(arrays[k]) != view.shape:
                    raise ValueError(
                        f"{name}[{k}] has shape {np.shape(arrays[k])}; between the other layers it"
                        f" must be {view.shape}."
                    )
                view[...] = arrays[k]
                arrays[k] = view

    def take_vectors(self, given: dict[str, Array]) -> None:
        """Copy other parameters, if they are those of this net; else they stay as at first."""
        if all(given[k].shape == v.shape for k, v in self.vectors.items() if k in given):
            for name in self.vectors.keys() & given.keys():
                self.vectors[name][:] = given[name]

    def hold(self, coefs: list[Array], intercepts: list[Array]) -> bool:
        """Whether these are the views, and not arrays that somebody has put in their place."""
        return all(map(operator.is_, self.coefs, coefs)) and all(
            map(operator.is_, self.intercepts, intercepts)
        )

    def outputs(self, x: Array | SparseRows) -> Array:
        """Outputs (n, n_outputs) for rows (n, n_inputs) of float32 or float64.

        Raises
        ------
        DataError
            A value is not finite in the net's type.
        """
        return self._predictor.outputs(Rows(x))

    def loss_of(self, rows: Rows) -> float:
        """Weighted mean loss of rows."""
        return self._predictor.outputs_and_loss(rows)[1]

    def start(self, optimizer: Optimizer) -> None:
        """Forget all steps: the optimizer's vectors as before the first one, no average."""
        first_slots(self.state, optimizer)
        self.state.begin_updates(averaged=False)
        self.state.step = 0

    def scale_velocity(self, factor: float) -> None:
        """Change the unit of the first slot, which counts in units of the learning rate."""
        if factor != 1.0 and len(self.state.slots):
            self.state.slots[0] *= factor

    def spoil(self) -> None:
        """What training would have made of parameters that had left the finite numbers."""
        for view in (*self.coefs, *self.intercepts, *self.vectors.values()):
            view[...] = np.nan
        self.state.average[:] = np.nan

    def memory(self) -> tuple[int, list[Array], Array | None]:
        """What a pickle holds: steps done, the optimizer's vectors without padding, and the weights
        that training goes on from where they are not those that it has led to."""
        state = self.state
        trained = state.get_flat(state.average) if state.averaged else None
        return state.step, [state.get_flat(slot) for slot in state.slots], trained

    def go_on_from(self, trained: Array) -> None:
        """Train from these weights next time: the present ones are their average."""
        state = self.state
        state.begin_updates(averaged=True)
        state.set_flat(trained, state.theta)
        state.end_updates()

    def remember(self, optimizer: Optimizer, step: int, slots: list[Array]) -> None:
        """The inverse of :meth:`memory`; another optimizer's vectors are forgotten."""
        self.start(optimizer)
        if len(slots) != len(self.state.slots):
            return
        self.state.step = step
        for slot, values in zip(self.state.slots, slots, strict=True):
            self.state.set_flat(values, slot)
