"""Extensions go around an ability of every model, on the host's side: guardrails, audit, caching.

An extension is an object behind an entry point of the group `modelhost.extensions`, with `@hookimpl` on what it implements.
"""

import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import pluggy

from modelhost.contract.context import Context
from modelhost.contract.errors import ModelhostError, PluginError
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.log import Log, place_of
from modelhost.contract.types import Ability

hookspec = pluggy.HookspecMarker("modelhost")

GROUP = "modelhost.extensions"

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


class Extensions:
    """The installed extensions, loaded one by one: a broken one is named with its reason and stops nothing."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._manager = pluggy.PluginManager("modelhost")
        self._manager.add_hookspecs(sys.modules[__name__])
        self.broken: dict[str, str] = {}
        """Name → why it cannot be used."""
        self.apps: dict[str, ASGIApp] = {}
        """Name → the application it brings."""
        # pluggy calls the last registered first; extensions are to go around calls in the order of their names.
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name, reverse=True):
            try:
                self._add(entry)
            except (Exception, SystemExit) as error:
                reason = str(error) if isinstance(error, pluggy.PluginValidationError) else type(error).__name__
                self.broken[entry.name] = reason
                if self._manager.has_plugin(entry.name):
                    self._manager.unregister(name=entry.name)
                log.error("extension is broken", extension=entry.name, reason=reason)

    def _add(self, entry: EntryPoint) -> None:
        extension = entry.load()
        if isinstance(extension, type):
            extension = extension()
        self._manager.register(extension, name=entry.name)
        self._manager.check_pending()
        if any(implementation.plugin is extension for implementation in self._manager.hook.app.get_hookimpls()):
            app: ASGIApp | None = extension.app()
            if app is not None:
                self.apps[entry.name] = app

    @property
    def names(self) -> list[str]:
        """Those that are in use."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    def call(self, ability: Ability, model: str, call: Call, request: Any, context: Context) -> ClosableEvents[Any]:
        """Put every extension around a call, the first by name outermost, and make it. Raises `ModelhostError`."""
        name = ""
        try:
            for implementation in self._manager.hook.around.get_hookimpls():
                name = implementation.plugin_name
                arguments = {"ability": ability, "model": model, "call": call}
                wrapped: Any = implementation.function(*(arguments[one] for one in implementation.argnames))
                call = wrapped or call
            name = ""
            return call(request, context)
        except ModelhostError:
            raise
        except BaseException as error:  # SystemExit would end the host
            raise self.failed(error, name) from None

    def failed(self, error: BaseException, name: str = "") -> PluginError:
        """Log what an extension raised, by type and place, and give the error for the caller."""
        self._log.error("extension failed", extension=name, error=type(error).__name__, place=place_of(error))
        return PluginError(f"{f'the extension {name!r}' if name else 'an extension'} failed; the server's log says where")
