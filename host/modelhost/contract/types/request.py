"""What every ability's request has in common."""

from typing import Any

from modelhost.contract.structs import Wire


class Request(Wire):
    """A request for an ability."""

    options: dict[str, dict[str, Any]] = {}
    """By the name of a plugin what it alone understands, to be read with `RequestOptions.of`; what others do is refused."""
