"""The table of dialects: which one a request speaks, found by its route or else by its path."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from litestar.handlers.base import BaseRouteHandler

from modelhost.http.routing.dialect import Dialect, Envelope
from modelhost.http.routing.spec import spec_of

_PARAMETER = re.compile(r"\{.*")


class Dialects:
    """The dialects of some routes, each with an envelope: that of the default where it has none of its own."""

    def __init__(self, routes: Iterable[BaseRouteHandler], default: Dialect) -> None:
        self.default = default
        self._by_name = {default.name: default}
        self._by_path: dict[str, Dialect] = {}
        beginnings: dict[str, Dialect] = {}
        for route in routes:
            dialect = self._whole(spec_of(route).dialect)
            for path in sorted(route.paths):
                fixed = _PARAMETER.sub("", path)
                # Where several have a path, each for methods of its own, the first one's clients are told.
                (self._by_path if fixed == path else beginnings).setdefault(fixed, dialect)
            for path in dialect.paths:
                beginnings.setdefault(path, dialect)
        self._beginnings = sorted(beginnings.items(), key=lambda found: -len(found[0]))
        self.key_places = any(dialect.key_headers or dialect.key_parameter for dialect in self._by_name.values())
        """Whether any dialect has places of its own for keys."""
        self.key_headers = frozenset(name.encode() for dialect in self._by_name.values() for name in dialect.key_headers)

    @property
    def envelopes(self) -> list[type[Envelope]]:
        """Return those in which failures are told, the default first."""
        return list(dict.fromkeys(self.envelope_of(dialect) for dialect in self._by_name.values()))

    def envelope_of(self, dialect: Dialect) -> type[Envelope]:
        """Return that of a dialect, or of the default where it has none of its own."""
        envelope = dialect.envelope or self.default.envelope
        assert envelope is not None, "a default dialect has an envelope"
        return envelope

    def _whole(self, dialect: Dialect) -> Dialect:
        return self._by_name.setdefault(dialect.name, replace(dialect, envelope=self.envelope_of(dialect)))

    def of(self, scope: Any) -> Dialect:
        """Return the dialect of a request: that of the route that answers it, or of its path."""
        if handler := scope.get("route_handler"):
            return self._by_name[spec_of(handler).dialect.name]
        return self.of_path(scope["path"])

    def of_path(self, path: str) -> Dialect:
        """Return the dialect whose paths a path is under; the default where it is nobody's."""
        if found := self._by_path.get(path):
            return found
        return next((dialect for beginning, dialect in self._beginnings if path.startswith(beginning)), self.default)
