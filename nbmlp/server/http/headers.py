"""Headers of every answer, also of those that are given below the application."""

from __future__ import annotations

import json
from http import HTTPStatus

__all__ = ["SECURITY", "refusal"]

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def refusal(status: int, sentence: str) -> bytes:
    """A whole answer, as it goes over the wire; the connection ends with it."""
    body = json.dumps({"error": sentence}).encode()
    headers = {
        **SECURITY, "Cache-Control": "no-store", "Connection": "close",
        "Content-Type": "application/json", "Content-Length": str(len(body)),
        **({"Retry-After": "1"} if status == HTTPStatus.TOO_MANY_REQUESTS else {}),
    }  # fmt: skip
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
