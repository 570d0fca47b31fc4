"""The life of a model: loaded once however many ask, brought back when it dies, put off while that is of no use, unloaded."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from modelhost.concurrency.daemon_threads import run_in_daemon_thread
from modelhost.contract.card import ModelCard
from modelhost.contract.errors import BackendFailedError, ModelhostError, NotReadyError
from modelhost.contract.log import Log
from modelhost.observability.metrics import Metrics
from modelhost.planning import PlannedModel
from modelhost.plugins.cards import keep_card
from modelhost.pool import status as states
from modelhost.pool.poison_requests import PoisonRequests
from modelhost.pool.queue import Queue
from modelhost.pool.weights import ModelWeights
from modelhost.runner import DeathWatch, Runner
from modelhost.runner.death import Death

Start = Callable[[dict[str, Any], DeathWatch], Runner]
"""Makes a runner with these (resolved) options."""

LONG_LOAD = 0.1
"""Part of `load_timeout` after which a load counts as hanging for /health: chosen, as a minute of ten."""


class Lifecycle:
    """Starts and ends a model's runner as its status allows. All of it belongs to the host's event loop."""

    def __init__(
        self,
        planned: PlannedModel,
        weights: ModelWeights,
        queue: Queue,
        poison: PoisonRequests,
        *,
        start: Start,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self.status = states.first(enabled=planned.config.enabled, problem=planned.problem)
        self.card = planned.card
        """Of the last time it was loaded, also by an earlier run of the host."""
        self.runner: Runner | None = None
        self.ended: Runner | None = None
        """The last one that died or could not be loaded: what it printed tells why."""
        self._name = planned.name
        self._config = planned.config
        self._card_key = planned.card_key
        self._weights = weights
        self._queue = queue
        self._poison = poison
        self._start = start
        self._log = log
        self._metrics = metrics
        self._loading: asyncio.Task[Runner] | None = None
        self._starting_since: float | None = None
        self._restarting: asyncio.TimerHandle | None = None
        self._dying: asyncio.Future[None] | None = None

    @property
    def ails(self) -> str | None:
        """What somebody should look at: why it is failed or in back-off, or that it loads for long; None if it is well."""
        if self.status.state in ("failed", "backoff"):
            return self.status.reason
        seconds = 0.0 if self._starting_since is None else time.monotonic() - self._starting_since
        return f"it has been loading for {seconds:.0f} s" if seconds > LONG_LOAD * self._config.load_timeout else None

    # Up

    async def load(self) -> Runner:
        """Return the runner, loading the model first if need be; everybody who asks meanwhile waits for the same load."""
        if self.runner is not None and self.status.state == "ready":
            return self.runner
        if self._loading is None:
            self._may_load()
            self._begin_loading()
        loading = self._loading
        assert loading is not None
        await asyncio.wait({loading})  # unlike awaiting it, leaves it alone when this request is cancelled
        if loading.cancelled():
            raise NotReadyError(f"model {self._name!r} was unloaded while it was loading; ask again", retry_after=1)
        error = loading.exception()
        if isinstance(error, ModelhostError):
            # Everybody who waited gets an error of their own: one object must not collect all their tracebacks.
            raise ModelhostError.from_facts(error.facts())
        return loading.result()

    def _may_load(self) -> None:
        """Raise `NotReadyError` while loading must not be tried."""
        now = time.monotonic()
        if states.may_load(self.status, now):
            return
        reason, retry_at = self.status.reason, None if self.status.hopeless else self.status.retry_at
        if self.status.state == "draining":
            raise NotReadyError(f"model {self._name!r} is being unloaded; ask again", retry_after=1)
        if retry_at is None:
            raise NotReadyError(f"model {self._name!r} cannot serve: {reason}", retry=False)
        raise NotReadyError(f"model {self._name!r} cannot serve now: {reason}", retry_after=max(0.1, retry_at - now))

    def _begin_loading(self) -> None:
        self._loading = asyncio.get_running_loop().create_task(self._load())
        self._loading.add_done_callback(_consume)  # those who wait may have left by then

    async def _load(self) -> Runner:
        self.status = states.on_load(self.status)
        self._cancel_restart()
        began = time.monotonic()
        try:
            runner, card = await self._started()
        except ModelhostError as error:
            raise self._load_failed(error) from None
        except BaseException:
            self.status = states.change(self.status, state="cold")
            raise
        finally:
            self._loading = None
        # Nothing waits from here to the end: the worker may die at any time, and `lost` must find it in its place.
        self.card, self.runner = card, runner
        self.status = states.on_ready(self.status)
        self._queue.open(runner, card.concurrency)
        asyncio.get_running_loop().run_in_executor(None, keep_card, self._card_key, card)
        seconds = time.monotonic() - began
        self._metrics.load_seconds.labels(self._name).observe(seconds)
        self._log.info("loaded", model=self._name, seconds=round(seconds, 2), device=card.device)
        return runner

    async def _started(self) -> tuple[Runner, ModelCard]:
        """Resolve the weights and have a runner load the model, in the time it gets for that. Raises `ModelhostError`."""
        if self._dying:
            await asyncio.wait({self._dying})  # unlike awaiting it, does not cancel it with us
        options = await run_in_daemon_thread(lambda: self._weights.resolve(self._config.options, self._config.download))
        runner = self.ended = self._start(options, self)
        most = self._config.load_timeout
        self._starting_since = time.monotonic()
        try:
            async with asyncio.timeout(most):
                return runner, self._narrowed(await runner.start())
        except TimeoutError:
            said = f"it was not loaded within {most:g} s; where it needs longer, raise `load_timeout` of the model"
            raise BackendFailedError(said) from None
        finally:
            self._starting_since = None

    def _narrowed(self, card: ModelCard) -> ModelCard:
        wanted = self._config.concurrency
        if wanted is not None and wanted < card.concurrency:
            card = msgspec.structs.replace(card, concurrency=wanted)
        return card

    def _load_failed(self, error: ModelhostError) -> ModelhostError:
        """Note that a load has failed, and return what those who wait for it are told."""
        hopeless = isinstance(error, NotReadyError) and error.retry is False
        now = time.monotonic()
        self.status = states.on_load_failed(self.status, error.message, now, hopeless=hopeless)
        self._metrics.load_failures.labels(self._name).inc()
        self._log.error("load failed", model=self._name, reason=error.message)
        if hopeless:
            return error
        said, wait = f"model {self._name!r} cannot be loaded: {error.message}", self.status.retry_at
        return NotReadyError(said, code=error.code, retry_after=wait and wait - now)

    def finished(self) -> None:
        """Note that a request has been answered: whatever kills the worker later, it is not the model as such."""
        self.status = states.on_finished(self.status)

    # Down

    def lost(self) -> None:
        """Its worker answers no more: start another when it is gone, at once or after a back-off."""
        self.ended, self.runner = self.runner, None
        now = time.monotonic()
        self._poison.suspect(self._queue.alone())
        self._log.error("worker lost", model=self._name, in_flight=self._queue.in_flight)
        loop = asyncio.get_running_loop()
        self._dying = loop.create_future()
        if self.status.state == "draining":  # whoever unloads it goes on from here
            return
        self.status = states.on_crash(self.status, "its worker died", now)
        self._restarting = loop.call_later(max(0.0, (self.status.retry_at or now) - now), self._restart)
        self._queue.close()

    def died(self, death: Death) -> None:
        """Its worker is gone, and now it is known why."""
        self.status = states.change(self.status, reason=f"its worker died: {death.why}")
        self._log.error("worker died", model=self._name, reason=death.why)
        self._poison.judge(death, time.monotonic())
        dying, self._dying = self._dying, None
        if dying:
            dying.set_result(None)

    def _restart(self) -> None:
        self._restarting = None
        if self._loading is None and states.may_load(self.status, time.monotonic() + 0.001):
            self._begin_loading()

    def _cancel_restart(self) -> None:
        if self._restarting:
            self._restarting.cancel()
            self._restarting = None

    async def unload(self, patience: float) -> int:
        """Refuse new requests, let running ones finish for `patience` seconds, then end the worker; returns bytes freed."""
        self._cancel_restart()
        await self._stop_loading()
        runner = self.runner
        if runner is None:
            return 0
        self.status = states.change(self.status, state="draining")
        self._queue.pause()
        await self._queue.idle(patience)
        if self._queue.in_flight:
            self._log.warning("unloading with requests in flight", model=self._name, in_flight=self._queue.in_flight)
        if self.runner is runner:
            self.runner = None
        freed = await runner.stop()
        if self.status.state != "draining":  # somebody else has unloaded it meanwhile
            return freed
        self._queue.settle_all()
        self.status = states.change(self.status, state="cold", retry_at=None)
        self._queue.close()
        self._log.info("unloaded", model=self._name, freed_mb=round(freed / 2**20, 1))
        return freed

    async def _stop_loading(self) -> None:
        loading = self._loading
        if loading is None:
            return
        loading.cancel()
        await asyncio.wait({loading})
        if self._loading is loading:  # cancelled before its first step: its `finally` never ran
            self._loading = None
            self.status = states.change(self.status, state="cold")


def _consume(task: "asyncio.Task[Any]") -> None:
    """Look at a background task's outcome: the model's status already tells it."""
    if not task.cancelled():
        task.exception()
