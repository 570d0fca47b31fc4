"""What an extension brings: it goes around calls of every model, on the host's side, or adds an application of its own."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol

import pluggy

from modelhost.contract.backend import O
from modelhost.contract.context import Context, Host, HostCall
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.log import Log
from modelhost.contract.types import Ability

hookspec = pluggy.HookspecMarker("modelhost")

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Call(Protocol):
    """Runs an ability: takes a request and its context, yields events. Close what it gives (`contextlib.aclosing`)."""

    def __call__(self, request: Any, context: Context) -> ClosableEvents[Any]:
        """Run it."""
        ...


@hookspec
def around(ability: Ability, model: str, call: Call) -> Call | None:
    """Return a call that goes around `call`, or None to leave it alone.

    It may change the request, see every event and every error, answer without calling, or call more than once.
    """


@hookspec
def app() -> ASGIApp | None:
    """Return an ASGI application to be mounted at `/x/<name of the entry point>`, behind the host's own checks."""


class Extension(Generic[O]):
    """Base of an extension with options, a log, a beginning, an end or models to ask; one without needs no base.

    Subclass it as `Extension[YourOptions]`, or `Extension[Options]` where there are none. There is one instance a host.
    """

    def __init__(self, options: O, *, log: Log, call: HostCall) -> None:
        self.options = options
        """What stands under `[extensions.NAME]`."""
        self.log = log
        self._call = call

    def start(self) -> Awaitable[None] | None:
        """Get ready before the first request comes, in 10 seconds; may be `async`, and may block if it is not.

        An extension that raises here is set aside, and the host goes on without it.
        """
        return None

    def stop(self) -> Awaitable[None] | None:
        """Let go, after the last request and when models are gone, in 10 seconds; may be `async`."""
        return None

    @property
    def host(self) -> Host:
        """The way to the models, for nobody's request: `self.host.call(ability, model, request)`. From `start` on."""
        return Host(Context(), self._call)

    def within(self, context: Context) -> Host:
        """Return the way to the models for a call that is gone around: with its caller, its deadline and its end.

        What an extension asks goes around it no more, however deep: else it would ask for ever.
        """
        return Host(context, self._call)
