"""One model: loaded once however many ask, brought back when it dies, and never given more work than it takes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modelhost.concurrency.daemon_threads import run_in_daemon_thread
from modelhost.config import ModelConfig
from modelhost.config.sources import Weights, size_of
from modelhost.contract.card import ModelCard
from modelhost.contract.context import Context
from modelhost.contract.errors import (
    BackendCrashedError,
    BackendFailedError,
    DeadlineError,
    ModelhostError,
    NotReadyError,
    UnsupportedError,
)
from modelhost.contract.failures import FailureReport
from modelhost.contract.log import Log
from modelhost.contract.types import UNCOUNTED, Ability
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import CallMeter, Metrics
from modelhost.plugins.discovery import Plugin
from modelhost.pool import status as states
from modelhost.pool.call import Slot, run_call
from modelhost.pool.cards import keep_card
from modelhost.pool.poison_requests import Evidence, PoisonRequests
from modelhost.pool.requirements import Need, needs, ruled_out
from modelhost.pool.status import Status
from modelhost.runner import DeathWatch, Runner
from modelhost.runner.death import Death

NewRunner = Callable[["Model", dict[str, Any], DeathWatch], Runner]
"""Makes a runner for a model with these (resolved) options."""

WhoCan = Callable[[Ability, tuple[Need, ...]], list[str]]

BESIDE = 8
"""Uncounted calls at once: each takes a thread of the worker."""

LONG_LOAD = 0.1
"""Part of `load_timeout` after which a load counts as hanging for /health: chosen, as a minute of ten."""


class _Flight(NamedTuple):
    """A request a model works on."""

    request: Any
    live: bool
    """Whether more of it comes while it is worked on."""
    settle: Callable[[], None]


class Model:
    """A configured model, loaded or not. All of it belongs to the host's event loop."""

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        plugin: Plugin,
        weights: dict[str, list[Weights]],
        *,
        revision: str,
        new_runner: NewRunner,
        log: Log,
        metrics: Metrics,
        card: ModelCard | None = None,
        claimed: tuple[Ability, ...] | None = None,
        problem: str | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.plugin = plugin
        self.weights = weights
        self.revision = revision
        self.created = int(time.time())
        self.problem = problem
        """Why it can never be loaded as it is configured."""
        self.status = Status(state="cold") if config.enabled else Status(state="disabled", reason="enabled = false")
        if problem:
            self.status = Status(state="failed", reason=problem)
        self._claimed = claimed
        self.card = card
        """Of the last time it was loaded, also by an earlier run of the host."""
        self.last_failure: FailureReport | None = None
        """What its backend last raised without meaning to, whole: for an administrator's eyes only."""
        self.progress: tuple[int, int] | None = None
        """Bytes fetched and bytes in all, while weights are fetched."""
        self.who_can: WhoCan = lambda ability, needed: []
        """Names the models that can do something this one cannot; the pool knows."""
        self._new_runner = new_runner
        self._log = log
        self._metrics = metrics
        self._meters: dict[Ability, CallMeter] = {}
        self._runner: Runner | None = None
        self._ended: Runner | None = None
        """The last one that died or could not be loaded: what it printed tells why."""
        self._loading: asyncio.Task[Runner] | None = None
        self._starting_since: float | None = None
        self._restarting: asyncio.TimerHandle | None = None
        self._dying: asyncio.Future[None] | None = None
        self._slots = asyncio.Semaphore(1)
        self._beside = asyncio.Semaphore(BESIDE)
        self._in_flight: dict[int, _Flight] = {}
        self._calls = 0
        self.waiting = 0
        """Requests that wait for it to have room."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._poison_requests = PoisonRequests()
        self._evidence: Evidence | None = None
        """Of the request that was alone with a worker that is dying."""

    # What can be seen

    @property
    def listed_as(self) -> str:
        """What lists of models call it."""
        return self.config.listed_as or self.name

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """What it can do: from its card, and before it was ever loaded from its options and its plugin's hooks."""
        hooks = self.plugin.description.hooks if self.plugin.description else ()
        claimed = hooks if self._claimed is None else self._claimed
        found = self.card.abilities if self.card and self.card.abilities is not None else claimed
        narrowed = self.config.abilities
        return found if narrowed is None else tuple(ability for ability in found if ability in narrowed)

    @property
    def in_flight(self) -> int:
        """Requests it works on."""
        return len(self._in_flight)

    def memory(self) -> int:
        """Bytes its worker holds."""
        return self._runner.memory() if self._runner else 0

    @property
    def pid(self) -> int | None:
        """Process id of its worker."""
        return self._runner.pid if self._runner else None

    def output(self) -> str:
        """What its worker last printed, for an administrator's eyes only."""
        runner = self._runner or self._ended
        return runner.output() if runner else ""

    @property
    def ails(self) -> str | None:
        """What somebody should look at: why it is failed or in back-off, or that it loads for long; None if it is well."""
        if self.status.state in ("failed", "backoff"):
            return self.status.reason
        seconds = 0.0 if self._starting_since is None else time.monotonic() - self._starting_since
        return f"it has been loading for {seconds:.0f} s" if seconds > LONG_LOAD * self.config.load_timeout else None

    def available(self) -> bool:
        """Whether all of its weights are on this machine."""
        return all(_found(weights) for found in self.weights.values() for weights in found)

    def size_bytes(self) -> int | None:
        """Bytes of its weights; None where they are not on this machine."""
        if self.card and self.card.size_bytes is not None:
            return self.card.size_bytes
        paths = [_found(weights) for found in self.weights.values() for weights in found]
        return sum(size_of(path) for path in paths if path) if paths and all(paths) else None

    # Life

    async def load(self) -> Runner:
        """Return the runner, loading the model first if need be; everybody who asks meanwhile waits for the same load."""
        if self._runner is not None and self.status.state == "ready":
            return self._runner
        if self._loading is None:
            self._may_load()
            self._begin_loading()
        loading = self._loading
        assert loading is not None
        await asyncio.wait({loading})  # unlike awaiting it, leaves it alone when this request is cancelled
        if loading.cancelled():
            raise NotReadyError(f"model {self.name!r} was unloaded while it was loading; ask again", retry_after=1)
        error = loading.exception()
        if isinstance(error, ModelhostError):
            # Everybody who waited gets an error of their own: one object must not collect all their tracebacks.
            raise ModelhostError.from_facts(error.facts())
        return loading.result()

    def _begin_loading(self) -> None:
        self._loading = asyncio.get_running_loop().create_task(self._load())
        self._loading.add_done_callback(_consume)  # those who wait may have left by then

    def _may_load(self) -> None:
        """Raise `NotReadyError` while loading must not be tried."""
        now = time.monotonic()
        if states.may_load(self.status, now):
            return
        reason, retry_at = self.status.reason, None if self.status.hopeless else self.status.retry_at
        if self.status.state == "draining":
            raise NotReadyError(f"model {self.name!r} is being unloaded; ask again", retry_after=1)
        if retry_at is None:
            raise NotReadyError(f"model {self.name!r} cannot serve: {reason}", retry=False)
        raise NotReadyError(f"model {self.name!r} cannot serve now: {reason}", retry_after=max(0.1, retry_at - now))

    async def _load(self) -> Runner:
        try:
            return await self._load_once()
        finally:
            self._loading = None
            self.progress = None

    async def _load_once(self) -> Runner:
        self.status = states.on_load(self.status)
        if self._restarting:
            self._restarting.cancel()
            self._restarting = None
        began = time.monotonic()
        try:
            if self._dying:
                await asyncio.wait({self._dying})  # unlike awaiting it, does not cancel it with us
            options = await run_in_daemon_thread(self._resolve)
            runner = self._new_runner(self, options, self)
            self._ended = runner
            card = self._narrowed(await self._started(runner))
        except ModelhostError as error:
            hopeless = isinstance(error, NotReadyError) and error.retry is False
            self.status = states.on_load_failed(self.status, error.message, time.monotonic(), hopeless=hopeless)
            self._metrics.load_failures.labels(self.name).inc()
            self._log.error("load failed", model=self.name, reason=error.message)
            if hopeless:
                raise
            raise NotReadyError(
                f"model {self.name!r} cannot be loaded: {error.message}",
                code=error.code,
                retry_after=self.status.retry_at and self.status.retry_at - time.monotonic(),
            ) from None
        except BaseException:
            self.status = states.change(self.status, state="cold")
            raise
        # Nothing waits from here to the end: the worker may die at any time, and `lost` must find it in its place.
        self.card = card
        self._slots = asyncio.Semaphore(card.concurrency)
        self._runner = runner
        self.status = states.on_ready(self.status)
        asyncio.get_running_loop().run_in_executor(None, keep_card, self.revision, card)
        seconds = time.monotonic() - began
        self._metrics.load_seconds.labels(self.name).observe(seconds)
        self._log.info("loaded", model=self.name, seconds=round(seconds, 2), device=card.device)
        return runner

    async def _started(self, runner: Runner) -> ModelCard:
        """Have a runner load the model, in the time it gets for that. Raises `ModelhostError`."""
        most = self.config.load_timeout
        self._starting_since = time.monotonic()
        try:
            async with asyncio.timeout(most):
                return await runner.start()
        except TimeoutError:
            said = f"it was not loaded within {most:g} s; where it needs longer, raise `load_timeout` of the model"
            raise BackendFailedError(said) from None
        finally:
            self._starting_since = None

    def _resolve(self) -> dict[str, Any]:
        """Return the options with every source's path in them; blocks while weights are fetched and verified."""
        options = dict(self.config.options)
        for option, found in self.weights.items():
            resolved = [self._resolved(weights) for weights in found]
            options[option] = resolved if isinstance(options.get(option), list) else resolved[0]
        return options

    def _resolved(self, weights: Weights) -> dict[str, Any]:
        def report(done: int, whole: int) -> None:
            self.progress = (done, whole)

        path = weights.resolve(self.config.download, report)
        return {"uri": weights.uri, "path": str(path), **({"sha256": weights.sha256} if weights.sha256 else {})}

    def _narrowed(self, card: ModelCard) -> ModelCard:
        wanted = self.config.concurrency
        if wanted is not None and wanted < card.concurrency:
            card = msgspec.structs.replace(card, concurrency=wanted)
        return card

    def lost(self) -> None:
        """Its worker answers no more: start another when it is gone, at once or after a back-off."""
        self._ended, self._runner = self._runner, None
        now = time.monotonic()
        if len(self._in_flight) == 1:
            (flight,) = self._in_flight.values()
            self._evidence = None if flight.live else Evidence.of(flight.request)
        self.status = states.on_crash(self.status, "its worker died", now)
        loop = asyncio.get_running_loop()
        self._dying = loop.create_future()
        self._restarting = loop.call_later(max(0.0, (self.status.retry_at or now) - now), self._restart)
        self._log.error("worker lost", model=self.name, in_flight=len(self._in_flight))

    def died(self, death: Death) -> None:
        """Its worker is gone, and now it is known why."""
        self.status = states.change(self.status, reason=f"its worker died: {death.why}")
        self._log.error("worker died", model=self.name, reason=death.why)
        evidence, self._evidence = self._evidence, None
        if evidence:
            evidence.drop() if death.from_outside else self._poison_requests.blame(evidence, time.monotonic())
        dying, self._dying = self._dying, None
        if dying:
            dying.set_result(None)

    def _restart(self) -> None:
        self._restarting = None
        if self._loading is None and states.may_load(self.status, time.monotonic() + 0.001):
            self._begin_loading()

    async def unload(self, patience: float) -> int:
        """Refuse new requests, let running ones finish for `patience` seconds, then end the worker; returns bytes freed."""
        if self._restarting:
            self._restarting.cancel()
            self._restarting = None
        if self._loading is not None:
            loading = self._loading
            loading.cancel()
            await asyncio.wait({loading})
            if self._loading is loading:  # cancelled before its first step: its `finally` never ran
                self._loading = None
                self.status = states.change(self.status, state="cold")
        runner = self._runner
        if runner is None:
            return 0
        self.status = states.change(self.status, state="draining")
        if self._in_flight and patience:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience)
        if self._in_flight:
            self._log.warning("unloading with requests in flight", model=self.name, in_flight=len(self._in_flight))
        if self._runner is runner:
            self._runner = None
        freed = await runner.stop()
        if self._restarting:  # it died while its requests finished
            self._restarting.cancel()
            self._restarting = None
        for flight in list(self._in_flight.values()):  # nobody works on what an ended runner was given
            flight.settle()
        self.status = states.change(self.status, state="cold", retry_at=None)
        self._log.info("unloaded", model=self.name, freed_mb=round(freed / 2**20, 1))
        return freed

    # Work

    def call(self, ability: Ability, request: Any, context: Context, record: CallRecord) -> AsyncGenerator[Any, None]:
        """Run a request: wait for the model and for a slot, then yield its events. Raises `ModelhostError` when read."""
        return run_call(self, ability, request, context, record)

    async def admit(self, ability: Ability, request: Any, context: Context) -> Slot:
        """Wait until the model is loaded and has a slot, and take it. Raises `ModelhostError`."""
        if self._poison_requests:
            await self._refuse_killers(request)
        if self.abilities:  # where they are known already, there is no need to load it to find out
            self._check_ability(ability)
        number = self._calls = self._calls + 1
        held: list[asyncio.Semaphore] = []

        def settle() -> None:
            for slots in held:
                slots.release()
            held.clear()
            self._in_flight.pop(number, None)
            if not self._in_flight:
                self._idle.set()

        runner, slots = self._runner, self._slots_of(ability)
        loading = queued = 0.0
        if runner is not None and self.status.state == "ready" and not slots.locked():
            held.append(slots)
            await slots.acquire()
        else:
            self.waiting += 1
            try:
                async with in_time(context):
                    runner, loading, queued = await self._free_slot(ability, held)
            finally:
                self.waiting -= 1
        try:
            if self._poison_requests:  # again: it may have killed one while this one waited for the next
                await self._refuse_killers(request)
            self._check(ability, request)
        except BaseException:
            settle()
            raise
        self._in_flight[number] = _Flight(request, context.input is not None, settle)
        self._idle.clear()
        return Slot(runner, settle, loading, queued)

    def finished(self) -> None:
        """Note that a call has come to its end, as it should."""
        self.status = states.on_finished(self.status)

    async def _refuse_killers(self, request: Any) -> None:
        if await self._poison_requests.refuses(request, time.monotonic()):
            raise BackendCrashedError(
                "this request has ended the model's worker twice; it is not tried again",
                retry=False,
                code="request_refused",
            )

    def meter(self, ability: Ability) -> CallMeter:
        """Return what counts and times the calls of an ability."""
        meter = self._meters.get(ability)
        if meter is None:
            meter = self._meters[ability] = self._metrics.meter(self.name, ability)
        return meter

    def _slots_of(self, ability: Ability) -> asyncio.Semaphore:
        return self._beside if ability in UNCOUNTED else self._slots

    async def _free_slot(self, ability: Ability, held: list[asyncio.Semaphore]) -> tuple[Runner, float, float]:
        """Wait until the model is loaded and has room; a model that died or was unloaded meanwhile is loaded again.

        Returns the seconds that took, beside the runner: for loading, and for a slot after that.
        """
        loading = queued = 0.0
        while True:
            ready, asked = self.status.state == "ready", time.monotonic()
            runner = await self.load()
            loaded = time.monotonic()
            slots = self._slots_of(ability)
            await slots.acquire()
            loading += 0.0 if ready else loaded - asked
            queued += time.monotonic() - loaded
            if runner is self._runner:
                held.append(slots)
                return runner, loading, queued
            slots.release()

    def _check_ability(self, ability: Ability) -> None:
        if ability not in self.abilities:
            able = self.who_can(ability, ())
            hint = f"; models that can: {', '.join(able)}" if able else ""
            raise UnsupportedError(f"model {self.name!r} cannot {ability}{hint}", param="model")

    def _check(self, ability: Ability, request: Any) -> None:
        """Refuse what the card says the model cannot do, rather than drop it without a word."""
        assert self.card is not None
        self._check_ability(ability)
        needed = tuple(needs(request))
        for need in needed:
            if not need.met_by(self.card):
                able = self.who_can(ability, needed)
                hint = f"; models that can: {', '.join(able)}" if able else "; no model here is known to"
                raise UnsupportedError(f"model {self.name!r} does not support {need.what}{hint}", param=need.param)
        if error := ruled_out(self.card, request):
            raise error


@contextlib.asynccontextmanager
async def in_time(context: Context) -> AsyncIterator[None]:
    """Turn waiting beyond the call's deadline into a `DeadlineError`."""
    try:
        async with asyncio.timeout(context.remaining()):
            yield
    except TimeoutError:
        raise DeadlineError("the request's time was up before the model was free to serve it", retry=True) from None


def _found(weights: Weights) -> Path | None:
    """Look for weights without minding why they cannot be looked for: that is for the load to tell."""
    try:
        return weights.find()
    except ModelhostError:
        return None


def _consume(task: "asyncio.Task[Any]") -> None:
    """Look at a background task's outcome: the model's status already tells it."""
    if not task.cancelled():
        task.exception()
