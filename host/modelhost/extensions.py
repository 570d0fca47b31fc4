"""Extensions go around an ability of every model, on the host's side: guardrails, audit, caching.

An extension is an object behind an entry point of the group `modelhost.extensions`, with `@hookimpl` on what it implements.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import pluggy

from modelhost.context import Context
from modelhost.types import Ability

hookspec = pluggy.HookspecMarker("modelhost")

GROUP = "modelhost.extensions"

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Call(Protocol):
    """Runs an ability: takes a request and its context, yields events. Close what it gives (`contextlib.aclosing`)."""

    def __call__(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """Run it."""
        ...


@hookspec
def around(ability: Ability, model: str, call: Call) -> Call | None:
    """Give a call that goes around `call`, or None to leave it alone.

    It may change the request, see every event and every error, answer without calling, or call more than once.
    """


@hookspec
def app() -> ASGIApp | None:
    """Give an ASGI application to be mounted at `/x/<name of the entry point>`, behind the host's own checks."""


def nested(hooks: pluggy.PluginManager, ability: Ability, model: str, call: Call) -> Call:
    """Put every extension around a call, the one that was registered first outermost."""
    for implementation in hooks.hook.around.get_hookimpls():
        arguments = {"ability": ability, "model": model, "call": call}
        wrapped: Any = implementation.function(*(arguments[name] for name in implementation.argnames))
        call = wrapped or call
    return call
