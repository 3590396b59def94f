"""What to build: a net's shapes and functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

from nbmlp.checks import flag, number, whole
from nbmlp.errors import SpecError
from nbmlp.names import (
    ACTIVATIONS,
    DTYPES,
    ELEMENTS,
    LOSSES,
    NO_EMBEDDING,
    OUTPUTS,
    Activation,
    Element,
    Function,
    Loss,
    Periodic,
    read_embedding,
    read_function,
    read_initialiser,
)
from nbmlp.spec.values import assign, choice, from_dict, several

__all__ = ["FEATURES", "FLAGS", "ModelSpec"]

#: Settings that bring kinds of layers which most nets do not have, and are True or False.
FLAGS = ("layer_norm", "residual", "parametric_activation", "input_scale")
#: All that bring such kinds.
FEATURES = (*FLAGS, "number_embedding", "code_counts")
#: Settings that say nothing without the feature.
_BELONGS = {"n_numbers": "number_embedding", "code_width": "code_counts"}
#: Rows of all tables together; each is known by a number that is exact in float32.
_MOST_ROWS = 1 << 24


def _activation(text: object) -> str:
    return str(read_function(text, ACTIVATIONS, "activation"))


def _share(name: str) -> Callable[[object], float]:
    return lambda value: number(name, value, high=1.0)


@dataclass(frozen=True)
class ModelSpec:
    """The net: shapes, functions, first weights.

    Attributes
    ----------
    n_inputs, n_outputs : int
        Inputs, before they are embedded; units of the last layer.
    hidden : tuple of int
        Units of each hidden layer; empty for a linear model.
    activation : tuple of str
        One per hidden layer, e.g. ``"relu"`` or ``"leaky_relu(0.2)"``; one string serves all.
    output : str
        Activation of the last layer, or ``"softmax"``.
    loss : str
        e.g. ``"squared_error"`` or ``"huber(1.5)"``.
    bias : bool
        Whether layers have biases.
    init : str
        First weights, e.g. ``"he_uniform"`` or ``"uniform(-1, 1)"``; ``"auto"`` takes He for
        the relu family, LeCun for selu, Glorot for the rest. Biases start at zero.
    dtype : str
        ``"float32"`` or ``"float64"``.
    dropout : tuple of float
        Share of units dropped, one per hidden layer; one number serves all.
    input_dropout : float
        Share of inputs dropped.
    dropout_scale_at : str
        ``"training"`` divides kept units by the keep probability (inverted dropout);
        ``"predict"`` multiplies by it when predicting.
    label_smoothing : float
        Share of the target spread over all classes (cross-entropies only).
    layer_norm : bool
        Before its activation each row of a hidden layer is brought to mean 0 and deviation 1 over
        the units, then scaled and shifted by learned factors (Ba et al. 2016, arXiv:1607.06450).
    residual : bool
        A hidden layer that is as wide as the one below adds that one's outputs to its own (He et
        al. 2016, arXiv:1512.03385).
    parametric_activation : bool
        Hidden activations f become z + alpha*(f(z) - z), with an alpha of each unit that is
        learned, from 1 (Holzmüller et al. 2024, arXiv:2407.04491).
    input_scale : bool
        Each input has a factor that is learned, from 1.
    number_embedding : str
        ``"pbld(16, 4, 0.1)"`` adds to each number x W2 cos(2 pi w1 x + b1) + b2, learned, of 16
        cosines and 4 - 1 numbers, with first w1 of deviation 0.1 (Holzmüller et al. 2024,
        arXiv:2407.04491); ``"pbld(16, 4, 0.05, 10)"`` draws the deviation of each w1
        log-uniformly from 0.05 to 10; ``"none"`` does not.
    n_numbers : int
        How many of the inputs, the first ones, are embedded as numbers; None: all but codes.
    code_counts : tuple of int
        The last inputs are codes 0, 1, ... of categories, of so many each; a code that is none of
        them counts as 0. Each becomes a row of a table, learned.
    code_width : int
        Columns of these tables.
    """

    n_inputs: int
    n_outputs: int
    hidden: tuple[int, ...] = (100,)
    # Types are those after the checks; what may be given besides is said above.
    activation: tuple[str, ...] = "relu"  # type: ignore[assignment]
    output: str = "identity"
    loss: str = "squared_error"
    bias: bool = True
    init: str = "auto"
    dtype: str = "float32"
    dropout: tuple[float, ...] = 0.0  # type: ignore[assignment]
    input_dropout: float = 0.0
    dropout_scale_at: str = "training"
    label_smoothing: float = 0.0
    layer_norm: bool = False
    residual: bool = False
    parametric_activation: bool = False
    input_scale: bool = False
    number_embedding: str = NO_EMBEDDING
    n_numbers: int | None = None
    code_counts: tuple[int, ...] = ()
    code_width: int = 8

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "dtype": DTYPES,
        "dropout_scale_at": ("training", "predict"),
    }

    def __post_init__(self) -> None:
        hidden = self.hidden if several(self.hidden) else (self.hidden,)
        assign(self, hidden=tuple(whole("hidden", h) for h in hidden))
        for name, choices in self.CHOICES.items():
            choice(name, getattr(self, name), choices)
        assign(
            self,
            n_inputs=whole("n_inputs", self.n_inputs),
            n_outputs=whole("n_outputs", self.n_outputs),
            activation=self._per_layer("activation", _activation),
            output=str(read_function(self.output, OUTPUTS, "output")),
            loss=str(read_function(self.loss, LOSSES, "loss")),
            bias=flag("bias", self.bias),
            init=str(read_initialiser(self.init)),
            dropout=self._per_layer("dropout", _share("dropout")),
            input_dropout=_share("input_dropout")(self.input_dropout),
            label_smoothing=_share("label_smoothing")(self.label_smoothing),
            number_embedding=str(read_embedding(self.number_embedding) or NO_EMBEDDING),
            **{name: flag(name, getattr(self, name)) for name in FLAGS},
        )
        self._check_loss()
        self._check_embeddings()
        if self.residual and not any(self.skips):
            raise SpecError(
                "residual needs a hidden layer that is as wide as the one below it:"
                f" hidden={self.hidden!r} has none."
            )

    def _check_embeddings(self) -> None:
        """Of which inputs there are enough."""
        counts = self.code_counts if several(self.code_counts) else (self.code_counts,)
        assign(
            self, code_counts=tuple(whole("code_counts", n, 1, _MOST_ROWS) for n in counts),
            code_width=whole("code_width", self.code_width, 1, 1024),
        )  # fmt: skip
        if sum(self.code_counts) > _MOST_ROWS:
            raise SpecError(f"code_counts may be {_MOST_ROWS:,} in all, not more.")
        codes, wanted = len(self.code_counts), self.n_numbers
        if codes > self.n_inputs:
            raise SpecError(f"code_counts names {codes} inputs; there are {self.n_inputs}.")
        if wanted is not None:
            wanted = whole("n_numbers", wanted, 0, self.n_inputs - codes)
        # What says nothing is not kept: files do not name it either.
        assign(self, n_numbers=wanted if self.number_embedding != NO_EMBEDDING else None)
        if not codes:
            assign(self, code_width=type(self).code_width)

    def _per_layer(self, name: str, check: Callable[[Any], Any]) -> tuple[Any, ...]:
        """The setting, checked, with one entry per hidden layer."""
        value = getattr(self, name)
        if not several(value):
            return (check(value),) * len(self.hidden)
        if len(value) != len(self.hidden):
            raise SpecError(
                f"{name} has {len(value)} entries for {len(self.hidden)} hidden layers:"
                " give one, or one per layer."
            )
        return tuple(map(check, value))

    def _check_loss(self) -> None:
        loss = self.loss_function.row
        if loss.canonical is not None and self.output != loss.canonical:
            raise SpecError(
                f"loss {loss.name!r} is computed from the logits and needs output="
                f"{loss.canonical!r}, not {self.output!r}."
            )
        if self.label_smoothing and not loss.classes:
            raise SpecError(f"label_smoothing works with cross-entropies only, not {loss.name!r}.")

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone; what follows from them is found again by whoever reads them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def element(self) -> Element:
        """What its numbers are kept in."""
        return ELEMENTS[self.dtype]

    @cached_property
    def functions(self) -> tuple[Function[Activation], ...]:
        """What `activation` and `output` name, one per layer."""
        return tuple(read_function(f, OUTPUTS, "output") for f in (*self.activation, self.output))

    @cached_property
    def loss_function(self) -> Function[Loss]:
        """What `loss` names."""
        return read_function(self.loss, LOSSES, "loss")

    @property
    def features(self) -> tuple[str, ...]:
        """Kinds of layers that this net has besides products, activations and dropout."""
        return tuple(n for n in FEATURES if getattr(self, n) not in (False, NO_EMBEDDING, ()))

    @property
    def embeds(self) -> str:
        """The setting because of which inputs are embedded; empty if none are."""
        own = [name for name in ("number_embedding", "code_counts") if name in self.features]
        return own[0] if own else ""

    @cached_property
    def periodic(self) -> Periodic | None:
        """What `number_embedding` names."""
        return read_embedding(self.number_embedding)

    @property
    def numbers(self) -> int:
        """Inputs that are embedded as numbers."""
        known = self.n_inputs - len(self.code_counts) if self.n_numbers is None else self.n_numbers
        return known if self.periodic else 0

    @property
    def n_embedded(self) -> int:
        """Inputs of the first product: all but codes, then what embeddings add."""
        codes, kind = len(self.code_counts), self.periodic
        added = self.numbers * kind.outputs if kind else 0
        return self.n_inputs - codes + added + codes * self.code_width

    @property
    def skips(self) -> tuple[bool, ...]:
        """Whether each layer, the last included, adds what lies below it."""
        sizes = self.layer_sizes[:-1]
        hidden = (self.residual and k > 0 and a == b for k, (a, b) in enumerate(pairwise(sizes)))
        return (*hidden, False)

    @property
    def smoothing(self) -> tuple[float, float]:
        """Factor and summand by which `label_smoothing` changes the targets of classes."""
        share = self.label_smoothing
        classes = self.n_outputs if self.output == "softmax" else 2
        return 1.0 - share, share / classes

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """(n_embedded, *hidden, n_outputs)."""
        return (self.n_embedded, *self.hidden, self.n_outputs)

    @cached_property
    def n_weights(self) -> int:
        """Weights without biases: a row takes twice as many operations forward."""
        return sum(a * b for a, b in pairwise(self.layer_sizes))

    @property
    def n_parameters(self) -> int:
        """All that is learned, padding not counted."""
        sizes = self.layer_sizes
        per_unit = 2 * self.layer_norm + self.parametric_activation
        further = self.input_scale * sizes[0] + per_unit * sum(self.hidden)
        further += self.numbers * self.periodic.parameters if self.periodic else 0
        further += sum(self.code_counts) * self.code_width
        return sum((a + self.bias) * b for a, b in pairwise(sizes)) + further

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; features that it lacks are not named."""
        has = self.features
        known = {
            k: v
            for k, v in asdict(self).items()
            if _BELONGS.get(k, k) in has or _BELONGS.get(k, k) not in FEATURES
        }
        return {k: list(v) if isinstance(v, tuple) else v for k, v in known.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of :meth:`to_dict`; raises SpecError on an unknown setting."""
        return from_dict(cls, values)
