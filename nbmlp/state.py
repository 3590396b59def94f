"""What survives saving: parameters, optimizer slots, counters."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError
from nbmlp.kernels.pieces import in_order, piece_function
from nbmlp.optimizers import Optimizer
from nbmlp.plan import ParameterBlock, Part, Plan, Role
from nbmlp.schedules import PlateauState
from nbmlp.tuning import ALIGN

Arena = NDArray[Any]

__all__ = [
    "MANY", "State", "address", "aligned", "all_finite", "first_slots", "known_finite", "new_state",
    "whole_slots",
]  # fmt: skip


def aligned(length: int, dtype: str | type) -> Arena:
    """Zeros (length,) whose first element lies at a multiple of the alignment."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(length * itemsize + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + length * itemsize].view(dtype)


def address(array: NDArray[Any]) -> int:
    """Address of the first element, in a quarter of the time of ``array.ctypes.data`` if it can."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(cast(Any, array)))
    except (TypeError, ValueError):  # read-only, or not in one piece
        return int(array.ctypes.data)


def all_finite(array: NDArray[Any]) -> bool:
    """Whether all values of an array in one piece are finite: compiled, in one pass."""
    check = piece_function("all_finite", array.dtype)
    return bool(check(*in_order("all_finite", x=address(array), n=array.size)))


#: From so many values on it is quicker than NumPy, which writes down what it finds of each.
MANY = 1 << 16


def known_finite(array: NDArray[Any]) -> bool:
    """Whether a large array is finite; of a small one it is not known."""
    return array.size >= MANY and all_finite(array)


@dataclass
class State:
    """Parameters and all that training needs to go on from here.

    Attributes
    ----------
    plan : Plan
    theta : ndarray (plan.n_parameters,)
        The parameter arena, padding included; padding is zero and stays zero.
    slots : ndarray (n_slots, plan.n_parameters)
        The optimizer's vectors; fewer parameters while several processes keep some each.
    step, epoch : int
        Updates and epochs done since the first fit.
    plateau : PlateauState
        What a schedule that watches the loss remembers.
    average : ndarray (plan.n_parameters,) or (0,)
        While updates are made, the moving average of the parameters, if there is one; else theta
        is that average, and these are the weights that training goes on from.
    averaged : bool
        Whether theta is the average.
    collect : callable or None
        Where processes that train together keep a part of the slots each: gives all of them.
    """

    plan: Plan
    theta: Arena
    slots: Arena
    step: int = 0
    epoch: int = 0
    plateau: PlateauState = field(default_factory=PlateauState)
    average: Arena = field(default_factory=lambda: aligned(0, np.float64))
    averaged: bool = False
    collect: Callable[[], Arena] | None = None
    #: Of theta as it was when it became the average: it may be changed from outside.
    _checksum: int = 0

    def __getstate__(self) -> dict[str, Any]:
        """Copies have all slots, wherever they are kept."""
        return self.__dict__ | {"slots": self.all_slots, "collect": None}

    def __setstate__(self, values: dict[str, Any]) -> None:
        """NumPy copies and unpickles values, but does not keep where they were aligned."""
        self.__dict__.update(values)
        theta, slots = self.theta, self.slots
        self.theta = aligned(theta.size, theta.dtype.type)
        self.slots = aligned(slots.size, slots.dtype.type).reshape(slots.shape)
        self.theta[:], self.slots[:] = theta, slots
        average = values.get("average", np.zeros(0))  # pickles of old versions have none
        self.average = aligned(average.size, average.dtype.type)
        self.average[:] = average

    def take_back(self, kept: State) -> None:
        """Become as a copy is, in the arrays that others know."""
        np.copyto(self.theta, kept.theta)
        if self.slots.shape == kept.slots.shape:
            np.copyto(self.slots, kept.slots)
        else:  # another optimizer's
            self.slots = kept.slots
        self.step, self.epoch, self.plateau = kept.step, kept.epoch, kept.plateau
        self.average, self.averaged = kept.average, kept.averaged
        self._checksum = kept._checksum

    @property
    def all_slots(self) -> Arena:
        """The optimizer's vectors (n_slots, plan.n_parameters), whoever keeps them."""
        return self.slots if self.collect is None else self.collect()

    # -- the average

    def begin_updates(self, averaged: bool) -> None:
        """Let theta be the weights that training goes on from, with an average beside it or none.

        Weights that were changed from outside since they were the average are gone on from.
        """
        if not averaged:
            self.average, self.averaged = aligned(0, self.theta.dtype.type), False
        elif not self.average.size:
            self.average = aligned(self.theta.size, self.theta.dtype.type)
            np.copyto(self.average, self.theta)
        elif self.averaged:
            self.averaged = False
            if self._checksum == zlib.crc32(self.theta.data):
                self._exchange()
            else:
                np.copyto(self.average, self.theta)

    def end_updates(self) -> None:
        """Let theta be the average, if there is one."""
        if self.average.size and not self.averaged:
            self._exchange()
            self.averaged, self._checksum = True, zlib.crc32(self.theta.data)

    @contextmanager
    def between_updates(self) -> Iterator[None]:
        """Let theta be the average meanwhile, if there is one."""
        self.end_updates()
        try:
            yield
        finally:
            self.begin_updates(self.average.size > 0)

    def _exchange(self) -> None:
        other = self.theta.copy()
        np.copyto(self.theta, self.average)
        np.copyto(self.average, other)

    @property
    def trained(self) -> Arena:
        """The weights that training goes on from."""
        return self.average if self.averaged else self.theta

    # -- parts

    def matrices(self, arena: Arena | None = None) -> Iterator[Arena]:
        """Stored matrix of each block (rows, columns): weights and, as last row, the bias.

        Of the parameters, or of an `arena` laid out like them (a slot, a gradient).
        """
        arena = self.theta if arena is None else arena
        for block in self.plan.blocks:
            flat = arena[block.offset : block.end]
            yield flat.reshape(block.rows, block.row)[:, : block.columns]

    def parts(self, arena: Arena | None = None) -> Iterator[tuple[ParameterBlock, Part, Arena]]:
        """Each part that has a name, with its block and a view: (rows, columns) or (columns,)."""
        for block, matrix in zip(self.plan.blocks, self.matrices(arena), strict=True):
            first = 0
            for part in block.parts:
                rows = matrix[first] if part.vector else matrix[first : first + part.rows]
                yield block, part, rows
                first += part.rows

    def weights(self, arena: Arena | None = None) -> list[Arena]:
        """Views W (n_in, n_out) of each layer."""
        return self._of_products("weight", arena)

    def biases(self, arena: Arena | None = None) -> list[Arena]:
        """Views b (n_out,) of each layer; an empty list without biases."""
        return self._of_products("bias", arena)

    def _of_products(self, name: str, arena: Arena | None) -> list[Arena]:
        parts = self.parts(arena)
        return [v for block, p, v in parts if block.role is Role.PRODUCT and p.name == name]

    def get_flat(self, arena: Arena | None = None) -> Arena:
        """Copy of all parameters: embeddings, W1 row by row, b1, W2, b2, ...; without padding."""
        return np.concatenate([m.ravel() for m in self.matrices(arena)])

    def set_flat(self, values: ArrayLike, arena: Arena | None = None) -> None:
        """The inverse of :meth:`get_flat`.

        Raises
        ------
        DataError
            When they are no numbers, too few or too many, or one is not finite.
        """
        try:
            flat = np.asarray(values, self.theta.dtype).ravel()
        except (TypeError, ValueError):
            raise DataError("the parameters given are not one vector of numbers.") from None
        total = sum(block.size for block in self.plan.blocks)
        if flat.size != total:
            raise DataError(f"{flat.size} numbers were given; this net has {total} parameters.")
        if not np.isfinite(flat).all():
            place = int(np.argmin(np.isfinite(flat)))
            raise DataError(f"the parameters given have {flat[place]} at position {place}.")
        start = 0
        for matrix in self.matrices(arena):
            matrix[:] = flat[start : start + matrix.size].reshape(matrix.shape)
            start += matrix.size
        if arena is None and self.average.size and not self.averaged:
            np.copyto(self.average, self.theta)


def first_slots(state: State, optimizer: Optimizer) -> None:
    """Give `state` the optimizer's vectors as they are before the first step."""
    names = optimizer.slots
    arena = aligned(len(names) * state.plan.n_parameters, state.theta.dtype.type)
    state.slots = arena.reshape(len(names), state.plan.n_parameters)
    for slot, (_, value) in zip(state.slots, names, strict=True):
        if value:  # else memory is not touched before it is needed
            slot[:] = value


def whole_slots(state: State, optimizer: Optimizer) -> None:
    """Who has but a part of them, and has to go on without the others, begins without memory."""
    if state.collect is not None:
        first_slots(state, optimizer)
        state.collect = None


def new_state(plan: Plan, optimizer: Optimizer) -> State:
    """Zero parameters and fresh slots."""
    dtype = plan.element.compute
    state = State(plan, aligned(plan.n_parameters, dtype), np.empty((0, 0), dtype))
    first_slots(state, optimizer)
    return state
