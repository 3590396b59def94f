"""Numbers as people write them: decimal commas, thousands, percent and currency signs.

A number is its digits: ``12 %`` is 12 and ``€ 3,50`` is 3.5. What has another meaning stays text:
dates and versions, numbers that begin with zeros, phone numbers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["OTHER", "Numeral", "is_name", "read_number"]

#: The decimal mark that the other half of the world uses.
OTHER = {".": ",", ",": "."}
#: Longer text is no number; it also bounds what the patterns may try.
_LONGEST = 64
_SPACE = " \u00a0\u2009\u202f"
_SIGN = "[-+\u2212]"
_CURRENCY = (
    "(?:[A-Z]{0,2}[$¢£¤¥฿\u20a0-\u20cf]|Kč|kr|zł|AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|INR"
    "|JPY|KRW|MXN|NOK|NZD|PLN|RUB|SEK|SGD|TRY|USD|ZAR)"
)
#: Digits in groups that number something, of one length each: phones, addresses, registers.
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_NAME = re.compile(rf"\d{{3}}([.{_SPACE}])\d{{3}}\1\d{{3}}|{_OCTET}(?:\.{_OCTET}){{3}}")


def _pattern(decimal: str) -> re.Pattern[str]:
    mark, other = re.escape(decimal), re.escape(OTHER[decimal])
    groups = rf"[1-9]\d{{0,2}}(?P<mark>[{other}{_SPACE}'\u2019])\d{{3}}(?:(?P=mark)\d{{3}})*"
    if decimal == ".":
        groups += r"|[1-9]\d?(?P<lakh>,)(?:\d\d,)+\d{3}"  # as in India
    whole = rf"(?:{groups}|0|[1-9]\d*)"
    return re.compile(
        rf"(?P<sign>{_SIGN})?[{_SPACE}]*(?P<before>%|{_CURRENCY})?[{_SPACE}]*(?P<inner>{_SIGN})?"
        rf"(?:(?P<whole>{whole})(?:{mark}(?P<fraction>\d+))?|{mark}(?P<only>\d+))"
        rf"(?P<power>[eE][-+]?\d+)?[{_SPACE}]*(?P<after>%|{_CURRENCY})?",
        re.ASCII,
    )


_PATTERNS = {decimal: _pattern(decimal) for decimal in OTHER}


class Numeral(NamedTuple):
    """A number as it stands in a text.

    Attributes
    ----------
    value : float
    unit : str
        Its percent or currency sign, or nothing.
    grouped : str
        What separates its thousands, or nothing.
    """

    value: float
    unit: str
    grouped: str


def read_number(text: str, decimal: str) -> Numeral | None:
    """Read one number.

    Parameters
    ----------
    text : str
    decimal : {".", ","}
        Its decimal mark; the other one may separate thousands, and so may spaces and apostrophes.

    Returns
    -------
    Numeral or None
        None when it is no number in that notation.
    """
    if decimal == "." or not ("." in text or "," in text):
        try:
            return None if "_" in text else Numeral(float(text), "", "")
        except ValueError:
            pass
    found = _PATTERNS[decimal].fullmatch(text.strip()) if len(text) <= _LONGEST else None
    return None if found is None else _numeral(found)


def _numeral(found: re.Match[str]) -> Numeral | None:
    parts = {name: part or "" for name, part in found.groupdict().items()}
    sign, unit = parts["sign"] + parts["inner"], parts["before"] + parts["after"]
    grouped = parts["mark"] or parts.get("lakh", "")
    phone = sign == "+" and grouped and grouped in _SPACE  # +49 170 123 456
    if phone or len(sign) > 1 or (parts["before"] and parts["after"]):
        return None
    whole = re.sub(r"\D", "", parts["whole"], flags=re.ASCII)
    digits = f"{whole or 0}.{parts['fraction'] or parts['only']}{parts['power']}"
    return Numeral(float(digits) * (1 if sign in ("", "+") else -1), unit, grouped)


def is_name(text: str) -> bool:
    """Whether digits in groups look like a phone number or an address, if a whole column does."""
    return _NAME.fullmatch(text.strip()) is not None
