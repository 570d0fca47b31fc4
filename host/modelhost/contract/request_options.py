"""What a request may carry for one plugin alone, beyond the fields that every model's requests have."""

from typing import TYPE_CHECKING, Self

import msgspec

from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct

if TYPE_CHECKING:  # requests are made of these options
    from modelhost.contract.types.request import Request

FIELD = "plugin_options"
"""What bodies of requests call them: a table for each plugin, by its name."""


class RequestOptions(Struct, forbid_unknown_fields=True):
    """Base of what a request may carry for a plugin: name the subclass as `request_options` of the backend.

    Frozen, keyword-only, and unknown keys are refused; every field needs a default. A docstring under a field is its
    description in the OpenAPI document.
    """

    @classmethod
    def of(cls, request: "Request") -> Self:
        """Return what a request carries for this plugin; the defaults, where it carries nothing. Raises `BadInputError`."""
        for plugin, values in request.options.items():  # a backend is only ever given its own
            try:
                return msgspec.convert(values, cls, strict=False)  # forms have texts alone
            except msgspec.ValidationError as error:
                raise refusal(plugin, error) from None
        return cls()


def refusal(plugin: str, error: msgspec.ValidationError) -> BadInputError:
    """Return the error for options that are wrong, which names the one that is."""
    problem, _, at = str(error).partition(" - at `$")
    key = at.rstrip("`")
    param = f"{FIELD}.{plugin}{key}"
    return BadInputError(f"{param}: {problem[:1].lower()}{problem[1:]}", param=param)
