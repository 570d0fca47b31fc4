"""Puts a host together from its plan: models made, extensions loaded, router on top."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

from modelhost.access.key_ring import KeyRing
from modelhost.caching import Cache
from modelhost.config import Loaded
from modelhost.contract.context import Context
from modelhost.contract.failures import FailureReport
from modelhost.contract.log import Level, Log
from modelhost.contract.types import Ability
from modelhost.dialogue import Dialogue
from modelhost.observability.logs import say
from modelhost.observability.metrics import Metrics
from modelhost.planning import Plan
from modelhost.plugins.extensions import Extensions
from modelhost.pool import Model, Pool
from modelhost.pool.model_gauges import ModelGauges
from modelhost.router import Router
from modelhost.runner import DeathWatch, Runner
from modelhost.runner.inline import InlineRunner
from modelhost.runner.machine import all_memory
from modelhost.runner.process import ProcessRunner
from modelhost.runner.spec import WorkerSpec
from modelhost.running_call import CallDetails, RunningCall
from modelhost.worker.log_limit import MOST, LogLimit


class ModelHost:
    """A running host without its HTTP surface. Make, start and stop it on one event loop."""

    def __init__(self, plan: Plan, log: Log) -> None:
        self.loaded = plan.loaded
        self.config = plan.config
        self.plugins = dict(plan.plugins)
        self.key_ring = KeyRing(plan.loaded, plan.keys, log)
        self.draining = False
        self.debug_plugins: frozenset[str] = frozenset()
        """Plugins whose failures are printed whole: for whoever writes them, on a terminal."""
        self.metrics = Metrics()
        self._log = log
        self._threads = self.config.server.threads or max(1, (os.cpu_count() or 2) - 1)
        self.extensions = Extensions(log, self.config.extensions, self._call_from_backend)
        about = log.bind(part="models")
        self.pool = Pool(Model(planned, new_runner=self._new_runner, log=about, metrics=self.metrics) for planned in plan.models)
        self.metrics.register(ModelGauges(self.pool))
        kept = Cache(int(self.config.cache.max_mb * 2**20))
        self.metrics.cache_bytes.set_function(lambda: kept.bytes)
        self.router = Router(self.pool, plan, self.extensions, kept, self.metrics, log)
        self.dialogue = Dialogue.of(self.config, self.router, self.metrics, log.bind(part="http"))
        self._preloading: asyncio.Task[None] | None = None
        self._watching_keys: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, loaded: Loaded, log: Log) -> "ModelHost":
        """Make the plan and the host; blocks for the time that describing the plugins takes."""
        return cls(Plan.of(loaded), log)

    async def start(self) -> None:
        """Start extensions; begin loading what is to be preloaded, without waiting for it, and looking for changed keys."""
        await self.extensions.start()
        loop = asyncio.get_running_loop()
        self._preloading = loop.create_task(self.pool.preload())
        self._watching_keys = loop.create_task(self.key_ring.watch())

    @property
    def preloaded(self) -> bool:
        """Whether everything that is to be preloaded has been tried."""
        return self._preloading is not None and self._preloading.done()

    async def stop(self, patience: float = 0.0) -> None:
        """Unload everything."""
        self.draining = True
        for task in (self._preloading, self._watching_keys):
            if task:
                task.cancel()
        await self.pool.stop(patience)
        await self.extensions.stop()

    def _new_runner(self, model: Model, options: dict[str, Any], watch: DeathWatch) -> Runner:
        log = _limited(self._log.bind(part="backends", model=model.name))

        def failed(report: FailureReport) -> None:
            model.last_failure = report
            if model.plugin.name in self.debug_plugins:
                where = f"{model.name} failed in {report.what} (request {report.request_id or '-'})"
                say(f"{where}:\n{report.traceback}")

        if model.planned.run == "inline":
            return InlineRunner(
                model.plugin.name,
                model.name,
                options,
                threads=1,
                log=log,
                host_call=self._call_from_backend,
                failed=failed,
            )
        devices = ",".join(model.config.devices)
        visible = {"CUDA_VISIBLE_DEVICES": devices, "HIP_VISIBLE_DEVICES": devices} if devices else {}
        spec = WorkerSpec(
            plugin=model.plugin.name,
            model=model.name,
            options=options,
            python=model.plugin.python,
            env=visible | model.config.env,
            threads=self.pool.share_of_threads(model, self._threads),
            patience=self.config.server.worker_timeout,
            cancel_grace=self.config.server.cancel_grace,
            memory=all_memory() if model.config.max_memory_mb is None else int(model.config.max_memory_mb * 2**20),
        )
        return ProcessRunner(spec, log=log, watch=watch, host_call=self._call_from_backend, failed=failed)

    def _call_from_backend(self, context: Context, ability: Ability, model: str, request: Any) -> RunningCall[Any]:
        return self.router.start(ability, model, request, CallDetails.within(context))


def _limited(log: Log) -> Log:
    """Bound what a backend logs also where it has none of our code around it, or runs in the host."""
    loop = asyncio.get_running_loop()

    def say(level: Level, event: str, facts: dict[str, Any]) -> None:
        getattr(log, level)(event, **facts)

    def later(seconds: float, act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: the host has ended
            loop.call_soon_threadsafe(loop.call_later, seconds, act)

    return Log(LogLimit(say, later, most=2 * MOST))  # a worker of ours has dropped the rest before
