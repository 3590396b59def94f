"""What is to be said of a model that is of no use, though its training went well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nbmlp.coding import TargetCoding

__all__ = ["remark"]


def remark(coding: TargetCoding, y: Any, evaluation: Mapping[str, Any]) -> str:
    """One sentence with the figures when one constant answer is as good; else nothing.

    Parameters
    ----------
    coding : TargetCoding
        What the model's outputs mean.
    y : array_like
        Targets of the rows that it was measured on.
    evaluation : mapping
        Its measures on them; ``"rows"`` names these.
    """
    where = f"the {evaluation['count']} {evaluation['rows']} rows"
    if coding.labels is not None and "accuracy" in evaluation:
        counts = np.bincount(coding.labels.encode(y))
        share, accuracy = counts.max() / counts.sum(), evaluation["accuracy"]
        # A threshold of its own gives accuracy away for another score.
        tells = coding.threshold != 0.5 and evaluation.get("balanced_accuracy", 0.0) > 0.5
        if accuracy <= share and accuracy < 1 and not tells:
            label = str(coding.labels.classes[int(counts.argmax())])
            return (
                f"no better than a constant: its accuracy on {where} is {accuracy:.2%}, always"
                f" answering {label[:80]!r} reaches {share:.2%}."
            )
    elif evaluation.get("r2", 1.0) <= 0:
        return (
            f"no better than a constant: its R² on {where} is {evaluation['r2']:.3g}, always"
            " answering their mean reaches 0."
        )
    return ""
