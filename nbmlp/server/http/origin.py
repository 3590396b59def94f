"""Where a request was sent to, and which page sent it."""

from __future__ import annotations

from starlette.datastructures import URL, Headers
from starlette.types import Scope

from nbmlp.server.http.errors import RefusedError

__all__ = ["check_host", "check_origin"]

_USUAL_PORTS = {"http": 80, "https": 443}


def _address(scope: Scope) -> URL:
    """By the Host header alone: without a good one there is no host in it."""
    return URL(scope={**scope, "server": None})


def check_host(scope: Scope, headers: Headers, known: frozenset[str]) -> None:
    """A page of another name may have been led here (DNS rebinding); raises RefusedError.

    Parameters
    ----------
    scope : dict
    headers : Headers
    known : frozenset of str
        Names and addresses, in small letters.
    """
    try:
        host = _address(scope).hostname
    except ValueError:
        raise RefusedError(400, "the address has characters that an address cannot have.") from None
    if len(headers.getlist("host")) != 1 or host not in known:
        raise RefusedError(400, "this host name is not known here: add it with --allowed-hosts.")


def check_origin(scope: Scope, headers: Headers) -> None:
    """A browser says which page asks: it has to be one of ours; raises RefusedError."""
    address = _address(scope)
    if address.port == _USUAL_PORTS.get(address.scheme):
        address = address.replace(port=None)
    own = f"{address.scheme}://{address.netloc}"
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin not in (None, own) or site not in (None, "same-origin", "none"):
        raise RefusedError(
            403,
            f"this request comes from a page of another site: this one is {own} (behind a proxy"
            " with TLS, name it with --trusted-proxies).",
        )
