"""A worker process: one model, served over the socket it was started with, until the host says stop or is gone."""

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import msgspec

from modelhost.concurrency.daemon_threads import DaemonThreads
from modelhost.concurrency.thread_bridge import ThreadBridge
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import BackendFailedError, ModelhostError
from modelhost.contract.event_stream import EventStream
from modelhost.contract.failures import Failure, FailureReport
from modelhost.contract.log import Log
from modelhost.contract.types.abilities import ABILITIES, REQUESTS, Ability
from modelhost.wire import frames
from modelhost.wire.channel import Channel
from modelhost.wire.vocabulary import vocabulary
from modelhost.worker.instance import Instance
from modelhost.worker.log_limit import LogLimit
from modelhost.worker.parent import end_with_parent
from modelhost.worker.plugin import import_backend

REQUEST_FIELDS = {ability: [field.name for field in msgspec.structs.fields(REQUESTS[ability])] for ability in ABILITIES}


def serve(fd: int) -> int:
    """Serve the host over the socket `fd`; returns the exit status."""
    end_with_parent()
    faulthandler.enable()  # where a runtime crashed is printed, and kept with what else the worker printed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the host, which then tells us
    asyncio.run(_Worker(socket.socket(fileno=fd)).run())
    sys.stdout.flush()
    sys.stderr.flush()
    # A backend's own threads may hang; they must not keep its memory.
    os._exit(0)


class _Worker:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._over = asyncio.Event()
        self._instance: Instance | None = None
        self._threads = DaemonThreads("modelhost-load")

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._limited = LogLimit(self._log, self._later)
        self._channel = Channel(
            first_id=1,
            handler=self._handle,
            on_frame=self._on_frame,
            on_lost=self._over.set,
            context_for=self._context,
        )
        await self._loop.create_unix_connection(lambda: self._channel, sock=self._socket)
        self._channel.send(
            frames.Hello(
                protocol=frames.PROTOCOL,
                version=version("modelhost"),
                python=sys.version.split()[0],
                pid=os.getpid(),
                fields={str(ability): fields for ability, fields in REQUEST_FIELDS.items()},
                structs=vocabulary(),
            )
        )
        await self._over.wait()

    def _on_frame(self, frame: frames.AnyFrame) -> None:
        match frame:
            case frames.Load():
                self._threads.run(lambda: self._load(frame))
            case frames.Ping():
                measures = self._instance.measures() if self._instance else {}
                stats = frames.Stats(seq=frame.seq, rss=resident_bytes(), calls=self._channel.serving, measures=measures)
                self._channel.send(stats)
            case frames.Drain():
                self._threads.run(self._unload)

    def _load(self, frame: frames.Load) -> None:
        """Load the model; in a thread, so that pings are answered meanwhile."""
        answer: frames.Frame
        try:
            backend = import_backend(frame.plugin)
            instance = Instance(
                backend,
                frame.options,
                model=frame.model,
                threads=frame.threads,
                log=Log(self._limited),
                failed=self._tell_failure,
            )
            answer = frames.Ready(card=instance.load())
            self._instance = instance
        except ModelhostError as error:
            if error.__cause__:
                self._tell_failure(Failure(what="load", error=error.__cause__))
            answer = frames.Error(facts=error.facts())
        except BaseException as error:
            self._tell_failure(Failure(what="load", error=error))
            failure = BackendFailedError(f"loading failed ({type(error).__name__})")
            answer = frames.Error(facts=failure.facts())
        self._loop.call_soon_threadsafe(self._channel.send, answer)

    def _unload(self) -> None:
        if self._instance:
            self._instance.unload()
        self._loop.call_soon_threadsafe(self._over.set)

    def _handle(self, ability: Ability, model: str, request: Any, context: Context) -> Any:
        assert self._instance is not None
        return self._instance.call(ability, request, context)

    def _context(self, info: CallInfo, *, input: EventStream[bytes] | None) -> Context:  # noqa: A002
        return Context(info, call=self._call_host, log=Log(self._limited), input=input)

    def _call_host(self, context: Context, ability: Ability, model: str, request: Any) -> EventStream[Any]:
        """Send a backend's call of another model to the host, from whatever thread it runs in."""

        def events() -> EventStream[Any]:
            info = msgspec.structs.replace(context.info, remaining=context.remaining())
            return self._channel.call(ability, model, request, info)

        reply = ThreadBridge(self._loop, events).begin()
        context.on_cancel(reply.close)
        return reply

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, act)

    def _log(self, level: Any, event: str, facts: dict[str, Any]) -> None:
        plain = {key: value if isinstance(value, (int, float, bool)) else str(value) for key, value in facts.items()}
        self._send(frames.LogLine(level=level, event=event, facts=plain))

    def _tell_failure(self, failure: Failure) -> None:
        self._send(frames.Failed(report=FailureReport.of(failure)))

    def _send(self, frame: frames.Frame) -> None:
        """Send a frame, from whatever thread."""
        if asyncio._get_running_loop() is self._loop:
            self._channel.send(frame)
        else:
            self._loop.call_soon_threadsafe(self._channel.send, frame)


def resident_bytes() -> int:
    """Return this process's resident memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123  # every ping: a Path costs more than the read
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0
