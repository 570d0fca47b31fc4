"""A model in a worker process: nothing it does can harm the host, and its memory is free when the process has ended."""

import asyncio
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from modelhost.contract.card import ModelCard
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import (
    BackendFailedError,
    ModelhostError,
    NotReadyError,
    PluginError,
    UnsupportedError,
)
from modelhost.contract.event_stream import ClosableEvents, EventStream
from modelhost.contract.failures import FailureReport
from modelhost.contract.log import Log
from modelhost.contract.types import Ability
from modelhost.runner import DeathWatch, HostCall
from modelhost.runner.child import Child
from modelhost.runner.death import Death, death_of, oom_kills
from modelhost.runner.spec import WorkerSpec
from modelhost.wire import frames
from modelhost.wire.channel import Channel
from modelhost.wire.vocabulary import Unknown
from modelhost.worker.serve import REQUEST_FIELDS

T = TypeVar("T")

HELLO_SECONDS = 30.0
"""Seconds an interpreter gets to say hello. Chosen, because one starts in well under a second, on a busy machine in a few."""

STOP_SECONDS = 10.0
"""Seconds a worker gets to unload before it is killed. Chosen, because freeing a GPU's memory takes a second or two."""

LAST_SECONDS = 1.0
"""Seconds a worker that hung up gets to end by itself. Chosen, because one that is killed at once would look like one that
somebody else has killed."""

MOST_INTERVAL = 5.0
"""Seconds between two pings, or less for a short patience. Chosen, because one ping costs nothing, and a worker that hangs is
ended soon after its `patience`."""


class ProcessRunner:
    """Runs a model in `python -m modelhost.worker`, over a socket pair that has neither a port nor a path."""

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        log: Log,
        watch: DeathWatch,
        host_call: HostCall,
        failed: Callable[[FailureReport], None] = lambda report: None,
    ) -> None:
        """Prepare a worker; `failed` is told what its backend raises without meaning to."""
        self._failed = failed
        self._spec = spec
        self._log = log
        self._watch_over = watch
        self._host_call = host_call
        self._child: Child | None = None
        self._exited: asyncio.Future[int] | None = None
        self._lost: asyncio.Future[None] | None = None
        self._hello: asyncio.Future[None] | None = None
        self._ready: asyncio.Future[ModelCard] | None = None
        self._missing: dict[str, frozenset[str]] = {}
        self._unknown: Unknown | None = None
        self._stopping = False
        self._started = False
        self._told_lost = False
        self._ended_by_us = False
        self._why = ""
        self._rss = 0
        self._measures: dict[str, float] = {}
        self._unanswered = 0
        self._oom_kills = (0, 0)
        """Of all processes of the system, at the last look and at the one before."""
        self._folder: Path | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> ModelCard:
        """Start the process and load the model in it."""
        self._loop = asyncio.get_running_loop()
        self._lost, self._hello, self._ready = (self._loop.create_future() for _ in range(3))
        self._exited = self._loop.create_future()
        self._oom_kills = (oom_kills(),) * 2
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="modelhost-worker-"))
            await self._connect()
            await self._until(self._hello, HELLO_SECONDS)
            self._watching = self._loop.create_task(self._watch())
            spec = self._spec
            self._channel.send(frames.Load(plugin=spec.plugin, model=spec.model, options=spec.options, threads=spec.threads))
            card: ModelCard = await self._until(self._ready, None)
        except OSError as error:
            await self._end()
            raise NotReadyError(f"a worker cannot be started now: {error.strerror}") from None
        except BaseException:
            await self._end()
            raise
        if self._lost.done():
            raise BackendFailedError(f"the worker ended as soon as the model was loaded: {self._death().why}")
        self._started = True
        return card

    async def _connect(self) -> None:
        assert self._folder is not None
        self._channel = Channel(
            first_id=0,
            handler=self._serve_worker,
            on_frame=self._on_frame,
            on_lost=self._on_lost,
            context_for=self._context,
            spool=self._folder,
        )
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._child = Child(self._spec, theirs.fileno(), self._folder, self._on_exit)
        except BaseException:
            ours.close()
            raise
        await _to_its_end(self._loop.create_unix_connection(lambda: self._channel, sock=ours))

    async def _until(self, future: asyncio.Future[Any], seconds: float | None) -> Any:
        """Wait for an answer of the worker, but not longer than it lives."""
        assert self._lost is not None
        await asyncio.wait({future, self._lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        if self._lost.done():
            assert self._exited is not None
            await asyncio.wait({self._exited}, timeout=STOP_SECONDS)
            raise BackendFailedError(f"the worker ended while it started: {self._death().why}")
        raise BackendFailedError(f"the worker said nothing for {seconds:.0f} s after it was started")

    def _on_frame(self, frame: frames.AnyFrame) -> None:
        assert self._hello is not None
        assert self._ready is not None
        match frame:
            case frames.Hello() if not self._hello.done():
                if frame.protocol != frames.PROTOCOL:
                    self._hello.set_exception(
                        PluginError(
                            f"the worker's modelhost {frame.version} speaks protocol {frame.protocol}, this host "
                            f"{frames.PROTOCOL}: install the same modelhost in {self._spec.python}"
                        )
                    )
                    return
                for ability, fields in REQUEST_FIELDS.items():
                    if missing := frozenset(fields) - frozenset(frame.fields.get(ability, ())):
                        self._missing[ability] = missing
                self._unknown = Unknown(frame.structs)
                self._hello.set_result(None)
            case frames.Ready() if not self._ready.done():
                self._ready.set_result(frame.card)
            case frames.Error() if not self._ready.done():
                self._ready.set_exception(ModelhostError.from_facts(frame.facts))
            case frames.LogLine():
                getattr(self._log, frame.level)(frame.event, **frame.facts)
            case frames.Failed():
                self._failed(frame.report)
            case frames.Stats():
                self._unanswered = 0
                self._rss = frame.rss
                self._measures = frame.measures
            case _:
                pass

    async def _watch(self) -> None:
        """Ping the worker; end one that does not answer, or that does not stop working when it is told to.

        Time is counted in pings and never read from a clock: where the host itself is stopped for a while (a container that is
        paused, a laptop that is closed) its worker may have answered, or was stopped as well.
        """
        spec = self._spec
        pings = max(4, ceil(spec.patience / MOST_INTERVAL))
        interval = spec.patience / pings
        seq = 0
        while True:
            self._channel.send(frames.Ping(seq=seq))
            self._unanswered += 1
            seq += 1
            await asyncio.sleep(interval)
            self._oom_kills = (oom_kills(), self._oom_kills[0])
            if self._unanswered >= pings:
                self._why = f"it did not answer for {spec.patience:g} s"
            elif self._channel.overdue(ceil(spec.cancel_grace / interval)):
                self._why = f"it went on working for {spec.cancel_grace:g} s after it was told to stop"
            else:
                continue
            self._kill()
            return

    def _on_lost(self) -> None:
        assert self._lost is not None
        if not self._lost.done():
            self._lost.set_result(None)
            if self._started and not self._stopping:
                self._told_lost = True
                self._watch_over.lost()
        # A worker whose line is cut is of no use any more, even if it lives.
        if self._channel.cut or self._stopping:
            self._kill()
        else:
            self._loop.call_later(LAST_SECONDS, self._kill)

    def _on_exit(self, status: int) -> None:
        assert self._exited is not None
        assert self._child is not None
        if not self._exited.done():
            self._exited.set_result(status)
        self._on_lost()  # the end of the process may be seen before the end of the line
        if self._watching:
            self._watching.cancel()
        self._channel.close()
        self._child.close()
        self._remove_folder()
        if self._told_lost:  # who has heard the one must hear the other
            self._watch_over.died(self._death())

    def _death(self) -> Death:
        if self._exited is None or not self._exited.done():
            return Death(why=self._why or "its line was cut")
        ran_out = oom_kills() > self._oom_kills[1]
        return death_of(self._exited.result(), why=self._why, ended_by_us=self._ended_by_us, out_of_memory=ran_out)

    def call(
        self, ability: Ability, request: Any, context: Context, settled: Callable[[], None] | None = None
    ) -> EventStream[Any]:
        """Send a call to the worker."""
        if missing := self._missing.get(ability):
            for field in msgspec.structs.fields(type(request)):
                if field.name in missing and getattr(request, field.name) != field.default:
                    raise _too_new(field.name)
        if self._unknown and (name := self._unknown.within(request)):
            raise _too_new(name)
        info = msgspec.structs.replace(context.info, remaining=context.remaining(), live=context.input is not None)
        live: AsyncIterator[bytes] | None = context.input
        return self._channel.call(ability, self._spec.model, request, info, live=live, settled=settled)

    def _serve_worker(self, ability: Ability, model: str, request: Any, context: Context) -> ClosableEvents[Any]:
        return self._host_call(context, ability, model, request)

    def _context(self, info: CallInfo, *, input: EventStream[bytes] | None) -> Context:  # noqa: A002
        return Context(info, log=self._log, input=input)

    async def stop(self) -> int:
        """Let the worker unload and end; it is killed if it takes too long."""
        self._stopping = True
        if self._exited is None or self._exited.done():
            return 0
        held = self.memory()
        self._channel.send(frames.Drain())
        await asyncio.wait({self._exited}, timeout=STOP_SECONDS)
        await self._end()
        return held

    async def _end(self) -> None:
        self._stopping = True
        if self._child is None:
            self._remove_folder()
            return
        self._kill()
        assert self._exited is not None
        await asyncio.wait({self._exited})

    def _kill(self) -> None:
        if self._child is not None and self._exited is not None and not self._exited.done():
            self._ended_by_us = True
            self._child.kill(signal.SIGKILL)

    def _remove_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def memory(self) -> int:
        """Return the worker's own share of memory: what comes free when it ends."""
        own = self._child.memory() if self._child else 0
        return self._rss if own is None else own

    def measures(self) -> dict[str, float]:
        """Return the backend's own figures, as of the last ping."""
        return self._measures

    def output(self) -> str:
        """Return the end of what the worker printed."""
        return self._child.output() if self._child else ""

    @property
    def pid(self) -> int | None:
        """Return the worker's process id."""
        return self._child.pid if self._child else None


def _too_new(name: str) -> UnsupportedError:
    return UnsupportedError(f"{name} is newer than the modelhost in this model's environment; upgrade it there", param=name)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not be left half done: a cancellation takes effect when it is over.

    A connection that is given up while the loop takes over its socket leaves it in doubt who closes the descriptor.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
