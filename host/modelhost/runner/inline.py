"""A model in the host's own process, for backends that only talk to another server.

It gets a thread with an event loop of its own, so that a slow hook cannot stop the host's.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from modelhost.concurrency.thread_bridge import ThreadBridge
from modelhost.contract.card import ModelCard
from modelhost.contract.context import Context
from modelhost.contract.errors import BackendCrashedError, BackendFailedError, ModelhostError
from modelhost.contract.event_stream import EventStream
from modelhost.contract.failures import Failure, FailureReport
from modelhost.contract.log import Log
from modelhost.contract.types import Ability
from modelhost.runner import HostCall
from modelhost.worker.instance import Instance
from modelhost.worker.plugin import import_backend

STOP_SECONDS = 10.0
"""Seconds a backend gets to unload before it is left to itself: a thread cannot be killed. Chosen, because `process.STOP_SECONDS`
is the same."""


class InlineRunner:
    """Runs a model on an event loop in a thread of the host."""

    def __init__(
        self,
        plugin: str,
        model: str,
        options: dict[str, Any],
        *,
        threads: int,
        log: Log,
        host_call: HostCall,
        failed: Callable[[FailureReport], None] = lambda report: None,
    ) -> None:
        """Prepare a model; `failed` is told what it raises without meaning to."""
        self._failed = failed
        self._plugin = plugin
        self._model = model
        self._options = options
        self._threads = threads
        self._log = log
        self._host_call = host_call
        self._instance: Instance | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._host_loop = asyncio.get_running_loop()

    async def start(self) -> ModelCard:
        """Load the model in its thread."""
        host_loop = self._host_loop
        started: asyncio.Future[ModelCard] = host_loop.create_future()

        def answer(card: ModelCard | None, error: BaseException | None) -> None:
            if started.cancelled() and card is not None:  # unloaded while it loaded
                self._tell_over()
            if not started.done():
                started.set_exception(error) if error else started.set_result(card)  # type: ignore[arg-type]

        self._gone = asyncio.Event()
        self._over = asyncio.Event()
        threading.Thread(target=self._run, args=(answer,), name=f"modelhost-{self._model}", daemon=True).start()
        return await started

    def _run(self, answer: Callable[[ModelCard | None, BaseException | None], None]) -> None:
        """Load the model, tell `answer` on the host's loop, and serve until it is over."""
        try:
            backend = import_backend(self._plugin)
            instance = Instance(
                backend,
                self._options,
                model=self._model,
                threads=self._threads,
                log=self._log,
                failed=self._tell_failure,
            )
            card = instance.load()
        except ModelhostError as error:
            self._host_loop.call_soon_threadsafe(answer, None, error)
            return
        except BaseException as error:
            self._tell_failure(Failure(what="load", error=error))
            failure = BackendFailedError(f"loading failed ({type(error).__name__})")
            self._host_loop.call_soon_threadsafe(answer, None, failure)
            return
        self._instance = instance
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            self._loop = runner.get_loop()
            self._host_loop.call_soon_threadsafe(answer, card, None)
            runner.run(self._serve())
        instance.unload()
        with contextlib.suppress(RuntimeError):
            self._host_loop.call_soon_threadsafe(self._gone.set)

    def _tell_failure(self, failure: Failure) -> None:
        with contextlib.suppress(RuntimeError):  # the host's loop has closed: nobody looks any more
            self._host_loop.call_soon_threadsafe(self._failed, FailureReport.of(failure))

    async def _serve(self) -> None:
        await self._over.wait()

    def _tell_over(self) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # it is over already
            self._loop.call_soon_threadsafe(self._over.set)

    def call(
        self, ability: Ability, request: Any, context: Context, settled: Callable[[], None] | None = None
    ) -> EventStream[Any]:
        """Start a call on the model's loop."""
        loop, instance = self._loop, self._instance
        if loop is None or instance is None or loop.is_closed():
            raise BackendCrashedError("the model has been unloaded")
        host_loop = self._host_loop
        inner = Context(context.info, call=self._call_host, log=self._log, input=context.input)

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the host's loop has closed: nobody counts any more
                host_loop.call_soon_threadsafe(settled)  # type: ignore[arg-type]  # only used when there is one

        return ThreadBridge(
            loop,
            lambda: instance.call(ability, request, inner),
            on_cancel=inner.cancel,
            settled=tell if settled else None,
        ).begin()

    def _call_host(self, context: Context, ability: Ability, model: str, request: Any) -> EventStream[Any]:
        reply = ThreadBridge(self._host_loop, lambda: self._host_call(context, ability, model, request)).begin()
        context.on_cancel(reply.close)
        return reply

    async def stop(self) -> int:
        """Unload; returns 0, because what comes free cannot be told apart from the host's own memory."""
        if self._loop is not None and not self._loop.is_closed():
            self._tell_over()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), STOP_SECONDS)
        return 0

    @property
    def pid(self) -> int | None:
        """Return None: it has no process of its own."""
        return None

    def memory(self) -> int:
        """Return 0: see `stop`."""
        return 0

    def measures(self) -> dict[str, float]:
        """Return the backend's own figures."""
        return self._instance.measures() if self._instance else {}

    def output(self) -> str:
        """Return nothing: what an inline backend prints is printed by the host."""
        return ""


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
