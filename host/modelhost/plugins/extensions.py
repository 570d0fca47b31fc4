"""The extensions that are installed: found by their entry points, made, started, put around calls, stopped.

An extension is an object behind an entry point of the group `modelhost.extensions`, with `@hookimpl` on what it implements:
any object, or a subclass of `modelhost.Extension`, which has options, a log and a life.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec
import pluggy

from modelhost.concurrency.daemon_threads import run_in_daemon_thread
from modelhost.concurrency.thread_bridge import ThreadBridge
from modelhost.contract import extension as hookspecs
from modelhost.contract.backend import Options, options_type, read_options
from modelhost.contract.context import Context
from modelhost.contract.errors import ConfigError, ModelhostError, PluginError
from modelhost.contract.event_stream import ClosableEvents, EventStream
from modelhost.contract.extension import ASGIApp, Call, Extension
from modelhost.contract.log import Log, place_of
from modelhost.contract.types import Ability
from modelhost.worker.describe import options_schema, problem_of

GROUP = "modelhost.extensions"

LIFE_SECONDS = 10.0
"""What an extension gets to start, and to stop: chosen, because a plugin gets as much to describe itself."""

HostCall = Callable[[Context, Ability, str, Any], ClosableEvents[Any]]
"""Asks a model of the host, on the host's event loop."""


def nobody(context: Context, ability: Ability, model: str, request: Any) -> ClosableEvents[Any]:
    """Refuse to ask a model: where extensions are only looked at."""
    raise RuntimeError("there is no host here whose models could be asked")


class Extensions:
    """The installed extensions, loaded one by one: a broken one is named with its reason and stops nothing."""

    def __init__(self, log: Log, options: Mapping[str, dict[str, Any]] | None = None, host_call: HostCall = nobody) -> None:
        """Make them, each with its table of `options`; `option_mistakes` says what cannot be taken."""
        self._log = log
        self._host_call = host_call
        self._loop: asyncio.AbstractEventLoop | None = None
        self._manager = pluggy.PluginManager("modelhost")
        self._manager.add_hookspecs(hookspecs)
        self.broken: dict[str, str] = {}
        """Name → why it cannot be used."""
        self.apps: dict[str, ASGIApp] = {}
        """Name → the application it brings."""
        # pluggy calls the last registered first; extensions are to go around calls in the order of their names.
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name, reverse=True):
            try:
                self._add(entry, (options or {}).get(entry.name, {}))
            except (Exception, SystemExit) as error:
                self._set_aside(entry.name, str(error) if isinstance(error, _TELLING) else type(error).__name__)

    def _add(self, entry: EntryPoint, options: dict[str, Any]) -> None:
        extension = entry.load()
        read = _read(extension, options)
        if read is not None:
            log = self._log.bind(part="extensions", extension=entry.name)
            extension = extension(read, log=log, call=self._calls_of(entry.name))
        elif isinstance(extension, type):
            extension = extension()
        self._manager.register(extension, name=entry.name)
        self._manager.check_pending()
        if any(implementation.plugin is extension for implementation in self._manager.hook.app.get_hookimpls()):
            app: ASGIApp | None = extension.app()
            if app is not None:
                self.apps[entry.name] = app

    def _set_aside(self, name: str, reason: str) -> None:
        self.broken[name] = reason
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)
        self._log.error("extension is broken", extension=name, reason=reason)

    @property
    def names(self) -> list[str]:
        """Those that are in use."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    async def start(self) -> None:
        """Start those that have a beginning, together; one that fails or takes too long is set aside."""
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(self._started(name, extension) for name, extension in self._alive()))

    async def _started(self, name: str, extension: Extension[Any]) -> None:
        if reason := await _lived(extension.start):
            self._set_aside(name, f"it could not be started: {reason}")

    async def stop(self) -> None:
        """Stop those that were started; what goes wrong is logged and done with."""
        for name, extension in self._alive():
            if reason := await _lived(extension.stop):
                self._log.error("extension could not be stopped", extension=name, reason=reason)

    def _alive(self) -> Iterator[tuple[str, Extension[Any]]]:
        for name, extension in list(self._manager.list_name_plugin()):
            if isinstance(extension, Extension):
                yield name, extension

    def _calls_of(self, name: str) -> Callable[[Context, Ability, str, Any], EventStream[Any]]:
        """Return the way to the host's models for an extension, which these calls do not go around."""

        def call(context: Context, ability: Ability, model: str, request: Any) -> EventStream[Any]:
            if self._loop is None:
                raise RuntimeError("an extension can ask models once it is started, not while it is made")
            chain = (*context.info.chain, _mark(name))
            asked = Context(msgspec.structs.replace(context.info, chain=chain, remaining=context.remaining()))
            reply = ThreadBridge(self._loop, lambda: self._host_call(asked, ability, model, request)).begin()
            context.on_cancel(reply.close)
            return reply

        return call

    def call(self, ability: Ability, model: str, call: Call, request: Any, context: Context) -> ClosableEvents[Any]:
        """Put every extension around a call, the first by name outermost, and make it. Raises `ModelhostError`."""
        name = ""
        try:
            for implementation in self._manager.hook.around.get_hookimpls():
                name = implementation.plugin_name
                if _mark(name) in context.info.chain:
                    continue
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


_TELLING = (pluggy.PluginValidationError, ConfigError, PluginError)
"""Errors whose messages are ours, and hold nothing that people said."""


def _mark(name: str) -> str:
    """Return how an extension stands in the chain of a call: as no model may be called."""
    return f"@{name}"


async def _lived(step: Callable[[], Any]) -> str | None:
    """Take a step of an extension's life in its time, in a thread where it may block; returns why it failed."""
    try:
        async with asyncio.timeout(LIFE_SECONDS):
            if inspect.iscoroutinefunction(step):
                await step()
            else:
                returned = await run_in_daemon_thread(step)
                if inspect.isawaitable(returned):
                    await returned
    except TimeoutError:
        return f"it took longer than {LIFE_SECONDS:g} s"
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__} at {place_of(error)}"
    return None


def option_mistakes(options: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Name what installed extensions do not take of these tables, and tables of nobody; those that are broken are left out."""
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in options.keys() - installed.keys():
        known = ", ".join(sorted(installed)) or "none"
        yield f"extensions.{name}: no extension of that name is installed; installed are: {known}"
    for name, entry in sorted(installed.items()):
        try:
            _read(entry.load(), options.get(name, {}))
        except ConfigError as error:
            yield f"extensions.{name}{error.message}"
        except (Exception, SystemExit):  # noqa: S112  # that it is broken is told elsewhere
            continue


def _read(extension: Any, values: dict[str, Any]) -> Options | None:
    """Read an extension's options, None for a plain object. Raises `ConfigError`, which goes on after its name."""
    if not (isinstance(extension, type) and issubclass(extension, Extension)):
        if values:
            raise ConfigError(f": it takes no options; {', '.join(values)} cannot be set")
        return None
    kind = options_type(extension, "Extension")
    try:
        return read_options(kind, values)
    except msgspec.ValidationError as error:
        problem, key = problem_of(error, kind, whose="extension")
        raise ConfigError(f"{key or ''}: {problem}") from None
    except ValueError as error:
        raise ConfigError(f": {error}") from None


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of the options of each extension that is installed and can be imported, by name."""
    found = {}
    for entry in entry_points(group=GROUP):
        try:
            extension = entry.load()
            if isinstance(extension, type) and issubclass(extension, Extension):
                found[entry.name] = options_schema(options_type(extension))
        except (Exception, SystemExit):  # noqa: S112  # that it is broken is told elsewhere
            continue
    return found
