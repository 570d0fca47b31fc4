"""From where a request may come: under which name the host is asked, and which web pages may ask it.

A page that any browser here opens can send requests to this machine, and by rebinding its own name to 127.0.0.1 it can read the
answers too. So the name in `Host` must be one this host goes by, and an `Origin` must be the host itself or one that is allowed.
"""

import re
import socket
from functools import lru_cache
from ipaddress import ip_address

from modelhost.config import ServerConfig
from modelhost.contract.errors import BadInputError, ForbiddenError

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

EXPOSED = "x-request-id, x-modelhost-ignored, server-timing, retry-after, x-should-retry"
"""Headers of ours that a page may read."""


class Origins:
    """Knows the host's names, and the pages that may use it."""

    def __init__(self, server: ServerConfig) -> None:
        allowed = [name.lower().rstrip(".") for name in server.allowed_hosts]
        self._any_host = "*" in allowed
        self._allowed = {name for name in allowed if not name.startswith("*")}
        self._allowed_ends = tuple(name.removeprefix("*") for name in allowed if name.startswith("*."))
        self._names = {"localhost", server.host.lower(), socket.gethostname().lower(), *self._allowed}
        self._suffixes = (".localhost", *self._allowed_ends)
        self._pages = frozenset(origin.lower().rstrip("/") for origin in server.cors_origins)
        # Clients send the same few values again and again; what is refused is not kept.
        self.check = lru_cache(maxsize=256)(self._check)

    def _check(self, host: bytes, origin: bytes | None, secure: bool = False) -> bool:
        """Return whether a page of another origin asks, which then needs CORS headers; `secure` says that it asks over TLS.

        Raises `RequestError`.
        """
        authority = host.decode("latin-1").lower()
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            raise BadInputError("the Host header is not a name or address", code="invalid_host")
        if not self._is_ours(match[1].rstrip(".")):
            raise ForbiddenError(
                f"this host does not go by the name {match[1][:100]!r}; if it should, add that to server.allowed_hosts",
                code="host_not_allowed",
            )
        if origin is None:
            return False
        page = origin.decode("latin-1").lower()
        scheme, _, place = page.partition("://")
        default = _DEFAULT_PORTS.get(scheme)
        # A name that was allowed may be that of a proxy, which speaks TLS in our place and does not tell.
        ours = scheme == ("https" if secure else "http") or (scheme == "https" and self._is_allowed(match[1].rstrip(".")))
        if ours and default and place.removesuffix(default) == authority.removesuffix(default):
            return False
        if "*" in self._pages or page in self._pages:
            return True
        raise ForbiddenError(
            "this web page may not use this host; if it should, add its origin to server.cors_origins",
            code="origin_not_allowed",
        )

    def check_embedded(self, site: bytes | None) -> None:
        """Refuse what another page has embedded, such as a picture, whose request has no `Origin`. Raises `ForbiddenError`.

        Browsers say in `Sec-Fetch-Site` what page is behind a request; other clients say nothing.
        """
        if site in (b"cross-site", b"same-site") and "*" not in self._pages:
            raise ForbiddenError("another web page may not load this from the host", code="origin_not_allowed")

    def _is_allowed(self, name: str) -> bool:
        return self._any_host or name in self._allowed or name.endswith(self._allowed_ends)

    def _is_ours(self, name: str) -> bool:
        if self._any_host or name in self._names or name.endswith(self._suffixes):
            return True
        try:
            ip_address(name.strip("[]"))  # no page has an address for its name, so there is nothing to rebind
        except ValueError:
            return False
        return True


def cors_headers(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Return what lets a page of this origin read an answer."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", EXPOSED.encode()),
        (b"vary", b"origin"),
    ]


def preflight_headers(origin: bytes, headers: bytes) -> list[tuple[bytes, bytes]]:
    """Return the answer to a page that asks whether it may send a request with the headers `asked`."""
    return [
        *cors_headers(origin),
        (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
        (b"access-control-allow-headers", headers),
        (b"access-control-max-age", b"600"),
    ]
