"""A suspect: something that may be wrong, how sure its signs are, and what to try against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbmlp.diagnostics.why.report import Trial, Where

__all__ = ["Cure", "Suspect"]


@dataclass(frozen=True)
class Cure:
    """One thing to try.

    Attributes
    ----------
    change : dict
        Settings.
    drop, repeat : tuple of int
        Training rows left out, and taken again (places in the sample).
    columns : tuple of int
        Columns left out.
    words : str
        What to do, for people; empty where the finding says it.
    """

    change: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[int, ...] = ()
    repeat: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Suspect:
    """One possible cause.

    Attributes
    ----------
    cause : str
    where : Where
    seen, hurts, cure : str
        As in the finding.
    cures : tuple of Cure
        Alternatives; the best is reported. Empty: only a hint.
    trust : float
        From 0 to 1: how much of an improvement by the cure is to be put down to this cause.
        1 where its sign is seen directly and nothing else explains it; less for settings of which
        a change helps against other faults as well.
    least : float
        Share by which the error has to fall to make it a problem.
    optimises : bool
        The cure has to lower the error on the training rows, too: the fault is in how the net
        learns, not in what it learns from.
    ladder : bool
        The cures are steps of one setting: go on only while the error falls.
    floor : float
        Least weight, whatever the trial shows: what is sure by its signs alone.
    sign : bool
        Something was seen that is worth a hint even if its cure does not help.
    trial : Trial or None
        Of its first cure, where the rule has made it by a measure of its own: of a cure that costs
        something of the usual one.
    better : str
        Of a setting of which nothing shows that it is wrong: what is said where another does
        better. A problem only of a net that has hardly learned.
    """

    cause: str
    where: Where
    seen: str
    hurts: str
    cure: str
    cures: tuple[Cure, ...] = ()
    trust: float = 1.0
    least: float = 0.12
    optimises: bool = True
    ladder: bool = False
    floor: float = 0.1
    sign: bool = True
    trial: Trial | None = None
    better: str = ""

    @property
    def sure(self) -> bool:
        """Its sign was seen, and nothing else explains it."""
        return self.sign and self.trust == 1.0
