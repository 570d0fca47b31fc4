"""One model, loaded or not: what can be seen of it, and its door, where requests are checked before they wait."""

import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

from modelhost.contract.card import ModelCard
from modelhost.contract.context import Context
from modelhost.contract.errors import BackendCrashedError, UnsupportedError
from modelhost.contract.failures import FailureReport
from modelhost.contract.log import Log
from modelhost.contract.types.abilities import UNCOUNTED, Ability
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import CallMeter, Metrics
from modelhost.planning import PlannedModel
from modelhost.plugins.request_options import problem_of
from modelhost.pool.call import run_call
from modelhost.pool.lifecycle import Lifecycle
from modelhost.pool.poison_requests import PoisonRequests
from modelhost.pool.queue import Queue, Slot
from modelhost.pool.requirements import Need, needs, ruled_out
from modelhost.pool.status import Status
from modelhost.pool.weights import ModelWeights
from modelhost.runner import DeathWatch, Runner

NewRunner = Callable[["Model", dict[str, Any], DeathWatch], Runner]
"""Makes a runner for a model with these (resolved) options."""

WhoCan = Callable[[Ability, tuple[Need, ...]], list[str]]


class Model:
    """A configured model. All of it belongs to the host's event loop."""

    def __init__(self, planned: PlannedModel, *, new_runner: NewRunner, log: Log, metrics: Metrics) -> None:
        self.planned = planned
        self.name = planned.name
        self.config = planned.config
        self.plugin = planned.plugin
        self.weights = ModelWeights(planned.weights)
        self.revision = planned.revision
        self.problem = planned.problem
        """Why it can never be loaded as it is configured."""
        self.created = int(time.time())
        self.last_failure: FailureReport | None = None
        """What its backend last raised without meaning to, whole: for an administrator's eyes only."""
        self.who_can: WhoCan = lambda ability, needed: []
        """Names the models that can do something this one cannot; the pool knows."""
        self._metrics = metrics
        self._meters: dict[Ability, CallMeter] = {}
        self._queue = Queue()
        self._poison = PoisonRequests()
        start = partial(new_runner, self)
        self._life = Lifecycle(planned, self.weights, self._queue, self._poison, start=start, log=log, metrics=metrics)

    # What can be seen

    @property
    def listed_as(self) -> str:
        """What lists of models call it."""
        return self.config.listed_as or self.name

    @property
    def status(self) -> Status:
        """The state it is in, and what has happened to it."""
        return self._life.status

    @property
    def card(self) -> ModelCard | None:
        """What it said of itself when it was last loaded, also by an earlier run of the host."""
        return self._life.card

    @property
    def ails(self) -> str | None:
        """What somebody should look at: why it is failed or in back-off, or that it loads for long; None if it is well."""
        return self._life.ails

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """What it can do: from its card, and before it was ever loaded from its options and its plugin's hooks."""
        return self.planned.abilities_by(self.card)

    @property
    def in_flight(self) -> int:
        """Requests it works on."""
        return self._queue.in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait for it to have a slot."""
        return self._queue.waiting

    def memory(self) -> int:
        """Bytes its worker holds."""
        return self._life.runner.memory() if self._life.runner else 0

    def measures(self) -> dict[str, float]:
        """Figures of its backend's own."""
        return self._life.runner.measures() if self._life.runner else {}

    @property
    def pid(self) -> int | None:
        """Process id of its worker."""
        return self._life.runner.pid if self._life.runner else None

    def output(self) -> str:
        """What its worker last printed, for an administrator's eyes only."""
        runner = self._life.runner or self._life.ended
        return runner.output() if runner else ""

    def size_bytes(self) -> int | None:
        """Bytes of its weights; None where they are not on this machine."""
        if self.card and self.card.size_bytes is not None:
            return self.card.size_bytes
        return self.weights.size_bytes()

    # Life

    async def load(self) -> Runner:
        """Return its runner, loading it first if need be. Raises `NotReadyError`."""
        return await self._life.load()

    async def unload(self, patience: float) -> int:
        """Refuse new requests, let running ones finish for `patience` seconds, then end the worker; returns bytes freed."""
        return await self._life.unload(patience)

    # Work

    def call(self, ability: Ability, request: Any, context: Context, record: CallRecord) -> AsyncGenerator[Any, None]:
        """Run a request: wait for the model and for a slot, then yield its events. Raises `ModelhostError` when read."""
        return run_call(self, ability, request, context, record)

    async def admit(self, ability: Ability, request: Any, context: Context, record: CallRecord) -> Slot:
        """Take a slot, waiting for the model and for others; what it cannot do is refused at once. Raises `ModelhostError`."""
        if self._poison:
            await self._refuse_poison(request)
        known = self.card
        self._check(ability, request)
        slot = await self._queue.enter(context, self._life.load, counted=ability not in UNCOUNTED)
        record.waited(loading=slot.loading, queued=slot.queued)
        try:
            if self._poison:  # again: it may have killed one while this one waited for the next
                await self._refuse_poison(request)
            if self.card is not known:
                self._check(ability, request)
        except BaseException:
            slot.settle()
            raise
        self._queue.begin(slot, request, live=context.input is not None)
        return slot

    def finished(self) -> None:
        """Note that a request has been answered, as it should."""
        self._life.finished()

    def meter(self, ability: Ability) -> CallMeter:
        """Return what counts and times the calls of an ability."""
        meter = self._meters.get(ability)
        if meter is None:
            meter = self._meters[ability] = self._metrics.meter(self.name, ability)
        return meter

    async def _refuse_poison(self, request: Any) -> None:
        if await self._poison.refuses(request, time.monotonic()):
            raise BackendCrashedError(
                "this request has ended the model's worker twice; it is not tried again",
                retry=False,
                code="request_refused",
            )

    def _check(self, ability: Ability, request: Any) -> None:
        """Refuse what the model cannot do, as far as that is known: by its card, or before there is one by what it claims."""
        abilities = self.abilities
        if ability not in abilities and (abilities or self.card):  # where nothing is known, loading it tells
            able = self.who_can(ability, ())
            hint = f"; models that can: {', '.join(able)}" if able else ""
            raise UnsupportedError(f"model {self.name!r} cannot {ability}{hint}", param="model")
        if request.options:
            schema = self.plugin.description.request_schema if self.plugin.description else None
            if problem := problem_of(self.plugin.name, schema, request.options, self.name):
                raise problem
        if self.card is None:
            return
        needed = tuple(needs(request))
        for need in needed:
            if not need.met_by(self.card):
                able = self.who_can(ability, needed)
                hint = f"; models that can: {', '.join(able)}" if able else "; no model here is known to"
                raise UnsupportedError(f"model {self.name!r} does not support {need.what}{hint}", param=need.param)
        if error := ruled_out(self.card, request):
            raise error
