"""A model in a worker process: nothing it does can harm the host, and its memory is free when the process has ended."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelhost.card import ModelCard
from modelhost.context import CallInfo, Context
from modelhost.errors import (
    BackendFailedError,
    ModelhostError,
    NotReadyError,
    PluginError,
    UnsupportedError,
)
from modelhost.log import Log
from modelhost.mailbox import Mailbox
from modelhost.runner import DeathWatch, HostCall
from modelhost.structs import Struct
from modelhost.types import Ability
from modelhost.wire import frames
from modelhost.wire.channel import Channel
from modelhost.worker.daemons import Daemons
from modelhost.worker.serve import REQUEST_FIELDS

HELLO_SECONDS = 30.0
"""An interpreter that has not said hello by then never will."""

STOP_SECONDS = 10.0
"""What a worker gets to unload before it is killed."""

OUTPUT_BYTES = 64 * 1024
"""How much of a worker's raw output is kept."""

_SECRET = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)|^MODELHOST_", re.IGNORECASE)

_daemons = Daemons("modelhost-reaper")


class WorkerSpec(Struct):
    """What is started: which plugin in which interpreter, for which model."""

    plugin: str
    model: str
    options: dict[str, Any] = {}
    python: str = sys.executable
    env: dict[str, str] = {}
    threads: int = 1
    patience: float = 60.0
    """Seconds without an answer to a ping after which a worker counts as hung."""
    cancel_grace: float = 30.0
    """Seconds a backend gets to stop working on cancelled calls before its worker is ended."""


class ProcessRunner:
    """Runs a model in `python -m modelhost.worker`, over a socket pair that has neither a port nor a path."""

    def __init__(self, spec: WorkerSpec, *, log: Log, watch: DeathWatch, host_call: HostCall) -> None:
        self._spec = spec
        self._log = log
        self._watch_over = watch
        self._host_call = host_call
        self._process: subprocess.Popen[bytes] | None = None
        self._exited: asyncio.Future[int] | None = None
        self._lost: asyncio.Future[None] | None = None
        self._hello: asyncio.Future[None] | None = None
        self._ready: asyncio.Future[ModelCard] | None = None
        self._missing: dict[str, frozenset[str]] = {}
        self._stopping = False
        self._started = False
        self._told_lost = False
        self._why = ""
        self._rss = 0
        self._heard = 0.0
        self._folder: Path | None = None
        self._output = bytearray()
        self._pipe: asyncio.ReadTransport | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> ModelCard:
        """Start the process and load the model in it."""
        self._loop = asyncio.get_running_loop()
        self._lost, self._hello, self._ready = (self._loop.create_future() for _ in range(3))
        self._exited = self._loop.create_future()
        self._folder = Path(tempfile.mkdtemp(prefix="modelhost-"))
        try:
            await self._connect()
            self._watching = self._loop.create_task(self._watch())
            await self._until(self._hello, HELLO_SECONDS)
            spec = self._spec
            self._channel.send(frames.Load(plugin=spec.plugin, model=spec.model, options=spec.options, threads=spec.threads))
            card: ModelCard = await self._until(self._ready, None)
        except BaseException:
            await self._end(signal.SIGKILL)
            raise
        if self._lost.done():
            raise BackendFailedError(f"the worker ended as soon as the model was loaded: {self._why or self._obituary()}")
        self._started = True
        return card

    async def _connect(self) -> None:
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
                self._process = self._spawn(theirs.fileno())
        except BaseException:
            ours.close()
            raise
        process = self._process
        exited = self._exited
        assert exited is not None

        def reap() -> None:
            status = process.wait()
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody asks any more
                self._loop.call_soon_threadsafe(self._on_exit, status)

        _daemons.run(reap)
        assert process.stdout is not None
        self._pipe, _ = await self._loop.connect_read_pipe(lambda: _OutputReader(self._output), process.stdout)
        ours.setblocking(False)
        await self._loop.create_unix_connection(lambda: self._channel, sock=ours)
        self._heard = self._loop.time()

    def _spawn(self, fd: int) -> subprocess.Popen[bytes]:
        spec = self._spec
        try:
            return subprocess.Popen(
                [spec.python, "-P", "-m", "modelhost.worker", "run", str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[fd],
                env=worker_environment(os.environ, spec),
                cwd=self._folder,
                start_new_session=True,
            )
        except OSError as error:
            raise NotReadyError(
                f"the interpreter {spec.python!r} of model {spec.model!r} cannot be started ({error.strerror}); "
                "check its `python`",
                retry=False,
            ) from None

    async def _until(self, future: asyncio.Future[Any], seconds: float | None) -> Any:
        """Wait for an answer of the worker, but not longer than it lives."""
        assert self._lost is not None
        await asyncio.wait({future, self._lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        if self._lost.done():
            assert self._exited is not None
            await asyncio.wait({self._exited}, timeout=STOP_SECONDS)
            raise BackendFailedError(f"the worker ended while it started: {self._why or self._obituary()}")
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
                self._hello.set_result(None)
            case frames.Ready() if not self._ready.done():
                self._ready.set_result(frame.card)
            case frames.Error() if not self._ready.done():
                self._ready.set_exception(ModelhostError.from_facts(frame.facts))
            case frames.LogLine():
                getattr(self._log, frame.level)(frame.event, **frame.facts)
            case frames.Stats():
                self._heard = self._loop.time()
                self._rss = frame.rss
            case _:
                pass

    async def _watch(self) -> None:
        """Ping the worker; end one that does not answer, or that does not stop working when it is told to."""
        seq = 0
        patience = self._spec.patience
        while True:
            self._channel.send(frames.Ping(seq=seq))
            seq += 1
            await asyncio.sleep(min(5.0, patience / 4))
            if self._loop.time() - self._heard > patience:
                self._why = f"it did not answer for {patience:g} s"
            elif self._channel.overdue(self._spec.cancel_grace):
                self._why = f"it went on working for {self._spec.cancel_grace:g} s after it was told to stop"
            else:
                continue
            self._kill(signal.SIGKILL)
            return

    def _on_lost(self) -> None:
        assert self._lost is not None
        if not self._lost.done():
            self._lost.set_result(None)
            if self._started and not self._stopping:
                self._told_lost = True
                self._watch_over.lost()
        # A worker whose line is cut is of no use any more, even if it lives.
        self._kill(signal.SIGKILL)

    def _on_exit(self, status: int) -> None:
        assert self._exited is not None
        self._on_lost()  # the end of the process may be seen before the end of the line
        if not self._exited.done():
            self._exited.set_result(status)
        if self._watching:
            self._watching.cancel()
        self._channel.close()
        self._kill(signal.SIGKILL)  # what it may have started itself
        if self._pipe:  # a child that got away may hold the other end for ever
            self._pipe.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._told_lost:  # who has heard the one must hear the other
            self._watch_over.died(self._why or self._obituary())

    def _obituary(self) -> str:
        if self._exited is None or not self._exited.done():
            return "its line was cut"
        status = self._exited.result()
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(-status).name}"
        return f"it exited with status {status}"

    def call(self, ability: Ability, request: Any, context: Context, settled: Callable[[], None] | None = None) -> Mailbox[Any]:
        """Send a call to the worker."""
        if missing := self._missing.get(ability):
            for field in msgspec.structs.fields(type(request)):
                if field.name in missing and getattr(request, field.name) != field.default:
                    raise UnsupportedError(
                        f"{field.name} is newer than the modelhost in this model's environment; upgrade it there",
                        param=field.name,
                    )
        info = msgspec.structs.replace(context.info, remaining=context.remaining(), live=context.input is not None)
        live: AsyncIterator[bytes] | None = context.input
        return self._channel.call(ability, self._spec.model, request, info, live=live, settled=settled)

    def _serve_worker(self, ability: Ability, model: str, request: Any, context: Context) -> AsyncIterator[Any]:
        return self._host_call(context, ability, model, request)

    def _context(self, info: CallInfo, *, input: Mailbox[bytes] | None) -> Context:  # noqa: A002
        return Context(info, log=self._log, input=input)

    async def stop(self) -> int:
        """Let the worker unload and end; it is killed if it takes too long."""
        self._stopping = True
        if self._exited is None or self._exited.done():
            return 0
        held = self.memory()
        self._channel.send(frames.Drain())
        await asyncio.wait({self._exited}, timeout=STOP_SECONDS)
        await self._end(signal.SIGKILL)
        return held

    async def _end(self, how: signal.Signals) -> None:
        self._stopping = True
        if self._process is None:
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
            return
        self._kill(how)
        assert self._exited is not None
        await asyncio.wait({self._exited})

    def _kill(self, how: signal.Signals) -> None:
        """Signal the worker and all it started: it leads a session of its own."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, how)

    def memory(self) -> int:
        """Give the worker's own share of memory: what comes free when it ends."""
        if self._process is None:
            return 0
        with contextlib.suppress(OSError, ValueError, StopIteration):
            rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
            kilobytes = next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))
            return int(kilobytes) * 1024
        return self._rss

    def output(self) -> str:
        """Give the end of what the worker printed."""
        return self._output.decode(errors="replace")

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._process.pid if self._process else None


class _OutputReader(asyncio.Protocol):
    """Keeps the end of what a worker prints, and never lets it wait for us."""

    def __init__(self, kept: bytearray) -> None:
        self._kept = kept

    def data_received(self, data: bytes) -> None:
        self._kept += data[-OUTPUT_BYTES:]
        del self._kept[:-OUTPUT_BYTES]


def worker_environment(base: Mapping[str, str], spec: WorkerSpec) -> dict[str, str]:
    """Give the environment a worker sees: the host's without its secrets, with the model's own on top."""
    env = {name: value for name, value in base.items() if not _SECRET.search(name)}
    threads = str(spec.threads)
    env |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if threading.current_thread() is threading.main_thread():
        # The kernel ends a worker with the *thread* that started it, so only a thread that lives as long as we do may ask.
        env["MODELHOST_PARENT"] = str(os.getpid())
    return env | spec.env
