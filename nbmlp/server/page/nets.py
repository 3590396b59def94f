"""Nets of an ensemble, as the page lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbmlp.server.page.words import amount
from nbmlp.tabular.words import in_words

__all__ = ["NetView", "chosen", "nets"]


@dataclass(frozen=True)
class NetView:
    """A net in words.

    Attributes
    ----------
    number : int
    settings : str
        From which it was trained.
    end : str
        Why it ended, after how many epochs; before it, whose settings it has on which fold, where
        there are several.
    score, share : str
        On the held-out rows; of the average. Empty where there is none.
    """

    number: int
    settings: str
    end: str
    score: str
    share: str


def _number(place: int, net: Mapping[str, Any]) -> int:
    """Models of older versions have no numbers, but one net of each member."""
    return int(net.get("net", net.get("member", place)))


def nets(evaluation: Mapping[str, Any]) -> list[NetView]:
    """Those that a model's evaluation tells of; none for one net."""
    told = (evaluation.get("members") or {}).get("nets") or ()
    folds = any(net.get("fold") for net in told)
    return [_view(_number(place, net), net, folds) for place, net in enumerate(told)]


def chosen(evaluation: Mapping[str, Any]) -> list[int]:
    """Numbers of those that count in the average."""
    told = (evaluation.get("members") or {}).get("nets") or ()
    return [_number(place, net) for place, net in enumerate(told) if net["weight"]]


def _view(number: int, net: Mapping[str, Any], folds: bool) -> NetView:
    score, weight = net["score"], net["weight"]
    end = f"member {net['member']}, fold {net['fold']}: {_end(net)}" if folds else _end(net)
    return NetView(
        number, in_words(net["settings"], net.get("columns")), end,
        amount(score) if isinstance(score, int | float) else "", f"{weight:.1%}" if weight else "",
    )  # fmt: skip


def _end(net: Mapping[str, Any]) -> str:
    ended, epochs = str(net.get("ended", "")), net.get("epochs")
    if ended == "epochs done":
        return f"trained to the end, {epochs} epochs"
    return ended
