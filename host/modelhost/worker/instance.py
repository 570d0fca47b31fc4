"""One loaded backend: checks that it keeps the contract, runs its hooks, sorts what it raises."""

import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from difflib import get_close_matches
from functools import partial
from itertools import islice
from math import isfinite
from typing import Any, cast

import msgspec
import pluggy

from modelhost.concurrency.thread_iteration import iterate_in_thread
from modelhost.contract import hookspecs
from modelhost.contract.backend import Backend, has_loaded, options_type, read_options
from modelhost.contract.card import FEATURES, ModelCard, unknown_features
from modelhost.contract.completeness import complete
from modelhost.contract.context import Context
from modelhost.contract.errors import BackendFailedError, ModelhostError, PluginError, UnsupportedError, told_by_system
from modelhost.contract.event_stream import BatchedEvents, EventStream
from modelhost.contract.failures import Failure
from modelhost.contract.log import Log, place_of
from modelhost.contract.request_options import FIELD
from modelhost.contract.types import ABILITIES, Ability
from modelhost.worker.event_parts import in_portions
from modelhost.worker.live_speech import spoken
from modelhost.worker.stop_strings import cut

MEASURE = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""The name of a figure: what Prometheus takes for part of one (https://prometheus.io/docs/concepts/data_model/), in small
letters."""
MEASURES = 64
"""Figures of one model. Chosen, because each is a series that is kept for good wherever metrics are gathered."""


def hooks_of(backend: type[Backend[Any]]) -> tuple[Ability, ...]:
    """Name the hooks a backend implements. Raises `PluginError` for a misspelt hook or one without `@hookimpl`."""
    found: list[Ability] = []
    for name in dir(backend):
        member = inspect.getattr_static(backend, name)
        marked = hasattr(member, "modelhost_impl")
        if name in ABILITIES and not marked:
            raise PluginError(f"{backend.__name__}.{name} is named like a hook but lacks @hookimpl")
        if marked and name not in ABILITIES:
            raise PluginError(f"{backend.__name__}.{name} is marked with @hookimpl, but the hooks are {_named(ABILITIES)}")
        if marked:
            found.append(cast(Ability, name))
    if not found:
        raise PluginError(f"{backend.__name__} implements no hook; the hooks are {_named(ABILITIES)}")
    return tuple(sorted(found, key=ABILITIES.index))


def _about_arguments(told: str) -> str:
    """Say what is wrong with a hook's arguments: pluggy's own text names the object by a number."""
    found = re.search(r"for hook '(\w+)'.*Argument\(s\) \{(.+?)\}", told, re.DOTALL)
    if not found:
        return told.replace("\n", " ")
    return f"{found[1]} has the argument {found[2]}: a hook takes request, context or both, and nothing else"


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(names)


class Instance:
    """A backend for one model. `load` blocks; `call` belongs to one event loop."""

    def __init__(
        self,
        backend: type[Backend[Any]],
        options: dict[str, Any],
        *,
        model: str,
        threads: int,
        log: Log,
        failed: Callable[[Failure], None] = lambda failure: None,
    ) -> None:
        """Make a backend; `failed` is told, in any thread, what it raises without meaning to."""
        self._log = log
        self._tell = failed
        self._features: tuple[str, ...] = ()
        self._hooks = hooks_of(backend)
        try:
            read = read_options(options_type(backend), options)
        except msgspec.ValidationError as error:
            raise PluginError(f"options of {model!r}: {error}") from None
        self._backend = backend(read, model=model, threads=threads, log=log)
        self._plugins = pluggy.PluginManager("modelhost")
        self._plugins.add_hookspecs(hookspecs)
        try:
            self._plugins.register(self._backend)
        except pluggy.PluginValidationError as error:
            raise PluginError(_about_arguments(str(error))) from None

    def load(self) -> ModelCard:
        """Load the model and complete its card. Raises `ModelhostError` only; anything else becomes one and is logged."""
        try:
            card = self._backend.compute.run(self._backend.load)
        except ModelhostError:
            raise
        except BaseException as error:
            self._failed(error, "load failed", "load")
            raise BackendFailedError(f"loading failed ({type(error).__name__}); the log says where") from None
        if not isinstance(card, ModelCard):
            raise PluginError("load must return a ModelCard")
        has_loaded(self._backend)
        abilities = self._hooks if card.abilities is None else card.abilities
        if beyond := set(abilities) - set(self._hooks):
            raise PluginError(f"the card claims {_named(tuple(beyond))}, for which there is no hook")
        if unknown := unknown_features(card.features):
            near = get_close_matches(unknown[0], FEATURES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PluginError(f"the card names the feature {unknown[0]!r}; {hint}one of the plugin's own begins with x-")
        self._features = card.features
        return msgspec.structs.replace(card, abilities=tuple(abilities))

    def measures(self) -> dict[str, float]:
        """Return the backend's own figures, as far as they are any."""
        try:
            given = self._backend.measures().items()
            figures = {name: float(value) for name, value in given if MEASURE.fullmatch(name)}
        except BaseException as error:  # SystemExit included: nobody asked for more than a look
            self._failed(error, "measures failed", "measures")
            return {}
        return {name: value for name, value in islice(figures.items(), MEASURES) if isfinite(value)}

    def unload(self) -> None:
        """Unload the backend; what it raises is logged, and no more."""
        try:
            self._backend.unload()
        except BaseException as error:  # SystemExit included: what comes after must happen
            self._failed(error, "unload failed", "unload")
        self._backend.compute.shutdown(wait=False)

    def call(self, ability: Ability, request: Any, context: Context) -> BatchedEvents[Any]:
        """Run a hook; its events come with `Done` last, and raise `ModelhostError` only."""
        return BatchedEvents(lambda batches: self._events(ability, request, context, batches))

    async def _events(
        self, ability: Ability, request: Any, context: Context, batches: BatchedEvents[Any]
    ) -> AsyncGenerator[Any, None]:
        """Put around a hook what its card leaves to the worker."""
        begin = partial(self._run, ability)
        run: AsyncGenerator[Any, None]
        try:
            if ability == "synthesize":
                run = spoken(lambda part, inner: begin(part, inner, batches), request, context)
            elif ability == "generate" and request.stop and "stop" not in self._features:
                run = cut(begin(request, context, batches), request)
            elif ability == "tokenize":
                run = in_portions(begin(request, context, batches))
            else:
                run = begin(request, context, batches)
            async with aclosing(run) as events:
                async for event in events:
                    yield event
        finally:
            context.cancel()

    def _run(self, ability: Ability, request: Any, context: Context, batches: BatchedEvents[Any]) -> AsyncGenerator[Any, None]:
        """Begin a hook; its events are checked as they come. Raises `ModelhostError` only."""
        if ability not in self._hooks:
            raise UnsupportedError(f"this backend cannot {ability}")
        broken = partial(self._broken, ability, context)
        try:
            returned = self.begin(ability, request, context)
            if isinstance(returned, EventStream):
                returned.keeps_batches = True
                batches.source = returned
            stream = self._stream(returned, context)
        except ModelhostError:
            raise
        except BaseException as error:
            raise broken(error) from None
        return complete(ability, request, stream, failed=broken, given_up=lambda: context.cancelled)

    def begin(self, ability: Ability, request: Any, context: Context) -> Any:
        """Call a hook as it stands, and return what it returns. Raises `BadInputError` for options it does not take."""
        if request.options:
            if self._backend.request_options is None:
                raise UnsupportedError("requests carry no options for this plugin", param=FIELD)
            self._backend.request_options.of(request)
        return getattr(self._plugins.hook, ability)(request=request, context=context)

    def _stream(self, returned: Any, context: Context) -> AsyncIterator[Any]:
        if isinstance(returned, AsyncIterator):
            return returned
        if isinstance(returned, Iterator):
            return iterate_in_thread(returned, context)
        if inspect.iscoroutine(returned):
            returned.close()
        raise PluginError(f"a hook must return an iterator or an async iterator, not {type(returned).__name__}")

    def _broken(self, ability: Ability, context: Context, error: BaseException) -> ModelhostError:
        if system_error := told_by_system(error):
            self._log.error("backend failed", error=type(error).__name__, code=system_error.code, place=place_of(error))
            self._tell(Failure(what=ability, error=error, request_id=context.request_id))
            return system_error
        self._failed(error, "backend failed", ability, context.request_id)
        return BackendFailedError("the backend failed; the server's log says where")

    def _failed(self, error: BaseException, event: str, what: str, request_id: str = "") -> None:
        """Log an error's type and place, never its message: that may hold what the caller said."""
        self._log.error(event, error=type(error).__name__, place=place_of(error))
        self._tell(Failure(what=what, error=error, request_id=request_id))
