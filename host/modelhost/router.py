"""From a name to a model: aliases, defaults, fallbacks, and the extensions around every call."""

from collections.abc import AsyncGenerator
from typing import Any

from modelhost.caching import Cache, Caching
from modelhost.contract.completeness import complete
from modelhost.contract.context import Context
from modelhost.contract.errors import (
    BackendFailedError,
    BadInputError,
    CallCycleError,
    PluginError,
    ServiceError,
    UnsupportedError,
)
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.log import Log
from modelhost.contract.types import Ability
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import Metrics
from modelhost.planning import Names, Plan
from modelhost.plugins.extensions import Extensions
from modelhost.pool import Model, Pool
from modelhost.running_call import UNSAID, CallDetails, RunningCall


class Router:
    """Finds the model for a request and runs it there."""

    def __init__(self, pool: Pool, plan: Plan, extensions: Extensions, kept: Cache, metrics: Metrics, log: Log) -> None:
        self._pool = pool
        self._routes = plan.config.routes
        self._extensions = extensions
        self._extended = bool(extensions.names)
        self._caching = Caching(kept, metrics, self.candidates)
        self._metrics = metrics
        self._log = log
        self._names = Names(plan.models)
        self._models = {model.name: model for model in pool}

    def find(self, name: str) -> Model:
        """Return the model of that name, alias or hub id. Raises `UnknownModelError`."""
        return self._models[self._names.own(name)]

    def candidates(self, ability: Ability, name: str | None) -> list[Model]:
        """Return the models to try in order: the one that is named, or the ability's route. Raises `RequestError`."""
        if name:
            return [self.find(name)]
        # What the starter names and has not got is left out; a file of one's own cannot name what is not there.
        if route := [self.find(target) for target in self._routes.get(ability, ()) if target in self._names]:
            return route
        able = [model for model in self._pool if ability in model.abilities and model.config.enabled]
        if len(able) == 1:
            return able
        if not able:
            raise UnsupportedError(
                f"no model here can {ability}; configure one, or name another host's with openai_api", param="model"
            )
        names = ", ".join(model.name for model in able)
        raise BadInputError(f"say which `model` is to {ability}: {names}", param="model", code="missing_required_parameter")

    def start(self, ability: Ability, name: str | None, request: Any, details: CallDetails = UNSAID) -> RunningCall[Any]:
        """Begin a call; read its events, and close it. Raises `RequestError` for the name."""
        candidates = self.candidates(ability, name)
        record = CallRecord(ability, beside=details.beside)
        details.noted(record)
        if details.chain:
            self._caching.compositions.asks(details.request_id, ability, name, candidates[0])
        if len(candidates) == 1:
            return RunningCall(record, self._on(candidates[0], request, details, record))
        return RunningCall(record, self._on_first_available(candidates, request, details, record))

    async def _on_first_available(
        self, candidates: list[Model], request: Any, details: CallDetails, record: CallRecord
    ) -> AsyncGenerator[Any, None]:
        """Try one model after another until one gives an event; bad input is bad for all of them."""
        for model in candidates:
            started = False
            events = self._on(model, request, details, record)
            try:
                async for event in events:
                    started = True
                    yield event
            except (ServiceError, PluginError) as error:
                if started or model is candidates[-1]:
                    raise
                self._metrics.fallbacks.labels(model.name, record.ability).inc()
                if details.chain:
                    self._caching.compositions.falls_back(details.request_id)
                self._log.warning("falling back", ability=record.ability, model=model.name, reason=error.code)
            else:
                return
            finally:
                await events.aclose()

    def _on(self, model: Model, request: Any, details: CallDetails, record: CallRecord) -> AsyncGenerator[Any, None]:
        ability, chain = record.ability, details.chain
        if model.name in chain:
            raise CallCycleError(f"models call each other in a circle: {' → '.join((*chain, model.name))}")
        record.goes_to(model.name, model.revision)

        def call(request: Any, context: Context) -> ClosableEvents[Any]:
            return model.call(ability, request, context, record)

        if details.cached:
            call = self._caching.around(model, call, record)
        context = details.context(model.name, model.revision)
        if not self._extended:
            return complete(ability, request, call(request, context), failed=_left_alone, checked=True)
        events = self._extensions.call(ability, model.name, call, request, context)
        return complete(ability, request, events, failed=self._extensions.failed)


def _left_alone(error: BaseException) -> BaseException:
    """Return a fault of our own as it is, but for what would end the host."""
    return error if isinstance(error, Exception) else BackendFailedError(f"the call failed ({type(error).__name__})")
