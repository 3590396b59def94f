"""The names users write, and all that is to be known of each: one row per name.

A row has no defaults for what others ask about it: a question without an answer fails when the
row is made, not where it is asked. The tables are append-only: model files hold names.

:mod:`grammar` reads ``name(1, key=2)``, :mod:`function` an activation or a loss with its
parameter; :mod:`activations`, :mod:`losses`, :mod:`initialisers`, :mod:`embeddings`,
:mod:`elements` and :mod:`scores` are the tables.
"""

from nbmlp.names.activations import ACTIVATIONS, OUTPUTS, Activation, Flat
from nbmlp.names.columns import COLUMN_KINDS, SCALINGS
from nbmlp.names.elements import DTYPES, ELEMENTS, Element, element_of
from nbmlp.names.embeddings import NO_EMBEDDING, WIDEST, Periodic, read_embedding
from nbmlp.names.function import Function, Parameter, read_function
from nbmlp.names.grammar import Call, Row, build, parse_call, resolve, spellings
from nbmlp.names.initialisers import (
    INITIALISERS,
    Initialiser,
    Start,
    deviation,
    read_initialiser,
)
from nbmlp.names.losses import LOSSES, PROBABLE, Loss
from nbmlp.names.scores import (
    SCORES,
    Reads,
    Score,
    label_of,
    larger_is_better,
    read_score,
    scores_of,
    usual_scores,
)

__all__ = [
    "ACTIVATIONS",
    "COLUMN_KINDS",
    "DTYPES",
    "ELEMENTS",
    "INITIALISERS",
    "LOSSES",
    "NO_EMBEDDING",
    "OUTPUTS",
    "PROBABLE",
    "SCALINGS",
    "SCORES",
    "WIDEST",
    "Activation",
    "Call",
    "Element",
    "Flat",
    "Function",
    "Initialiser",
    "Loss",
    "Parameter",
    "Periodic",
    "Reads",
    "Row",
    "Score",
    "Start",
    "build",
    "deviation",
    "element_of",
    "label_of",
    "larger_is_better",
    "parse_call",
    "read_embedding",
    "read_function",
    "read_initialiser",
    "read_score",
    "resolve",
    "scores_of",
    "spellings",
    "usual_scores",
]
