"""Many calls at once over one socket, the same on both ends: the host calls a worker, and a worker calls back.

Each call's events are bounded by credit: the side that reads grants bytes, the side that works stops when they are used up,
so a slow reader stalls its own call only. Everything that became ready in one turn of the event loop leaves in one frame.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import BackendCrashedError, BackendFailedError, BadInputError, ModelhostError
from modelhost.contract.event_stream import BatchedEvents, ClosableEvents, EventStream
from modelhost.contract.loop_turn import slice_end
from modelhost.contract.types.abilities import ABILITIES, EVENTS, REQUESTS, Ability
from modelhost.wire import frames
from modelhost.wire.frames import WINDOW

MAX_EVENT = frames.MAX_FRAME // 2
"""Bytes of the largest event. Chosen, because it fits a frame with what stands around it; what is longer must come in pieces."""

FRAME_BYTES = 1024 * 1024
"""Bytes up to about which events leave in one frame, also those that were put together; then another begins. Chosen, because
decoding a longer one would keep the host's loop for milliseconds."""

Handler = Callable[[Ability, str, Any, Context], ClosableEvents[Any]]
"""Runs a call that came in: (ability, model, request, context) → events."""

_event_encoder = msgspec.msgpack.Encoder(enc_hook=frames.to_wire)
_event_decoders: dict[Ability, msgspec.msgpack.Decoder[list[Any]]] = {
    ability: msgspec.msgpack.Decoder(list[EVENTS[ability]], dec_hook=frames.from_wire)  # type: ignore[valid-type]
    for ability in ABILITIES
}
_request_decoders: dict[Ability, msgspec.msgpack.Decoder[Any]] = {
    ability: msgspec.msgpack.Decoder(REQUESTS[ability], dec_hook=frames.from_wire) for ability in ABILITIES
}


class _Outgoing:
    """A call we made: its events arrive in `stream`; `settled` is called when the other end has really stopped."""

    __slots__ = ("abandoned", "decode", "feeding", "input_credit", "settled", "spooled", "stream")

    def __init__(self, decode: Callable[[Any], list[Any]], stream: EventStream[Any], settled: Callable[[], None] | None) -> None:
        self.decode = decode
        self.stream = stream
        self.settled = settled
        self.spooled: list[Path] = []
        self.input_credit = _Budget()
        self.feeding: asyncio.Task[None] | None = None
        self.abandoned: int | None = None
        """How often it has been looked at since its reader gave it up."""

    def end(self, error: ModelhostError | None = None) -> None:
        self.stream.finish(error)
        if self.feeding:
            self.feeding.cancel()
        for path in self.spooled:
            path.unlink(missing_ok=True)
        if self.settled:
            self.settled()


class _Budget:
    """Bytes that may still be sent; may go below zero by the last piece."""

    __slots__ = ("_left", "_waiter")

    def __init__(self) -> None:
        self._left = WINDOW
        self._waiter: asyncio.Future[None] | None = None

    def grant(self, amount: int) -> None:
        self._left += amount
        if self._left > 0 and self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def spend(self, amount: int) -> None:
        """Take `amount`; when that used everything up, wait until there is some again."""
        self._left -= amount
        while self._left <= 0:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class _Incoming:
    """A call made to us: a task that works on it."""

    __slots__ = ("budget", "context", "input", "task")

    def __init__(self, context: Context, live_input: EventStream[bytes] | None) -> None:
        self.context = context
        self.input = live_input
        self.budget = _Budget()
        self.task: asyncio.Task[None] | None = None


class Channel(asyncio.Protocol):
    """One end of the line. Frames that are not about calls go to `on_frame`; `on_lost` says that the other end is gone."""

    def __init__(
        self,
        *,
        first_id: int,
        handler: Handler,
        on_frame: Callable[[frames.AnyFrame], None],
        on_lost: Callable[[], None],
        context_for: Callable[..., Context] = Context,
        spool: Path | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._next_id = first_id
        self._handler = handler
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._context_for = context_for
        self._spool = spool
        self._reader = frames.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._outgoing: dict[int, _Outgoing] = {}
        self._incoming: dict[int, _Incoming] = {}
        self._ready: dict[int, list[msgspec.Raw]] = {}
        self._flush_planned = False
        self._unsent: list[bytes] = []
        self.cut = False
        """Whether this end has cut the line."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Handle every frame that is complete; what is no frame closes the connection."""
        try:
            for frame in self._reader.feed(data):
                self._act_on(frame)
        except Exception:  # whatever the other end says, it can only harm itself
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every call at once."""
        self._transport = None
        self._on_lost()
        outgoing, self._outgoing = self._outgoing, {}
        for call in outgoing.values():
            call.end(BackendCrashedError("the model's worker process ended while it served this request"))
        for incoming in self._incoming.values():
            incoming.context.cancel()
            if incoming.task:
                incoming.task.cancel()

    # Both sides

    @property
    def alive(self) -> bool:
        """Return whether the other end is there."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def serving(self) -> int:
        """Return how many calls are being worked on at this end."""
        return len(self._incoming)

    def send(self, frame: frames.Frame) -> None:
        """Send one frame; nothing happens when the other end is gone. On the loop's thread only.

        What one turn of the loop sends leaves in one write, at its end: each write wakes the other process.
        """
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(frames.encode(frame))

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(unsent))

    def close(self) -> None:
        """Cut the line."""
        self.cut = True
        if self._transport is not None:
            self._transport.abort()

    def _act_on(self, frame: frames.AnyFrame) -> None:
        match frame:
            case frames.Events():
                for id_, raw in frame.calls:
                    if call := self._outgoing.get(id_):
                        self._take_events(id_, call, raw)
            case frames.End():
                if call := self._outgoing.pop(frame.id, None):
                    call.end()
            case frames.Error() if frame.id is not None:
                if call := self._outgoing.pop(frame.id, None):
                    call.end(ModelhostError.from_facts(frame.facts))
            case frames.Credit():
                if frame.input and (call := self._outgoing.get(frame.id)):
                    call.input_credit.grant(frame.bytes)
                elif not frame.input and (incoming := self._incoming.get(frame.id)):
                    incoming.budget.grant(frame.bytes)
            case frames.Call():
                self._begin(frame)
            case frames.Input():
                if (incoming := self._incoming.get(frame.id)) and incoming.input is not None:
                    incoming.input.put(frame.data, len(frame.data))
                    if frame.end:
                        incoming.input.finish()
            case frames.Cancel():
                if incoming := self._incoming.get(frame.id):
                    incoming.context.cancel()
                    if incoming.task:
                        incoming.task.cancel()
            case _:
                self._on_frame(frame)

    # Calls we make

    def call(
        self,
        ability: Ability,
        model: str,
        request: Any,
        info: CallInfo,
        *,
        live: AsyncIterator[bytes] | None = None,
        settled: Callable[[], None] | None = None,
    ) -> EventStream[Any]:
        """Ask the other end; the events arrive in the stream. On the loop's thread only.

        `settled` is called once, when the other end has stopped working on it: after the last event, or some time after
        the stream was closed early.
        """
        id_ = self._next_id
        self._next_id += 2
        stream: EventStream[Any] = EventStream(
            on_taken=self._granter(id_), on_close=lambda: self._from_any_thread(self._abandon, id_)
        )
        call = _Outgoing(_event_decoders[ability].decode, stream, settled)
        if not self.alive:
            call.end(BackendCrashedError("the model's worker process has ended"))
            return stream
        try:
            raw = msgspec.Raw(self._encode(request, call.spooled))
            self.send(frames.Call(id=id_, ability=ability, model=model, request=raw, info=info))
        except (OverflowError, RecursionError, TypeError, NotImplementedError):
            call.end(BadInputError("a value in the request is too large, too deep or of a kind no worker can be sent"))
            return stream
        except ModelhostError as error:
            call.end(error)
            return stream
        self._outgoing[id_] = call
        if live is not None:
            call.feeding = self._loop.create_task(self._live_input(id_, live))
        return stream

    def _granter(self, id_: int) -> Callable[[int], None]:
        """Return what is told of each event that was read, and grants the other end as many bytes anew, half a window at once."""
        taken = 0

        def grant(amount: int) -> None:
            nonlocal taken
            taken += amount
            if taken >= WINDOW // 2:
                self._from_any_thread(self.send, frames.Credit(id=id_, bytes=taken))
                taken = 0

        return grant

    def overdue(self, looks: int) -> bool:
        """Look once more whether every call in flight was given up by its reader over `looks` looks ago: the other end is stuck.

        Counted, because on a clock time passes while this process is stopped, and the other end with it.
        """
        for call in self._outgoing.values():
            if call.abandoned is not None:
                call.abandoned += 1
        calls = self._outgoing.values()
        return bool(calls) and all(call.abandoned is not None and call.abandoned > looks for call in calls)

    def _encode(self, request: Any, spooled: list[Path]) -> bytes:
        def hook(value: Any) -> Any:
            wired = value.to_wire(self._spool)
            if "path" in wired and self._spool is not None and Path(wired["path"]).parent == self._spool:
                spooled.append(Path(wired["path"]))
            return wired

        return msgspec.msgpack.Encoder(enc_hook=hook).encode(request)

    def _take_events(self, id_: int, call: _Outgoing, raw: msgspec.Raw) -> None:
        data = memoryview(raw)
        try:
            events = call.decode(data)
        except msgspec.MsgspecError:
            call.stream.finish(BackendFailedError("the worker sent an event that this host does not know"))
            self._abandon(id_)
            return
        call.stream.put_all(events, data.nbytes)

    def _abandon(self, id_: int) -> None:
        """Tell the other end to stop; what still comes of the call is dropped."""
        if (call := self._outgoing.get(id_)) and call.abandoned is None:
            call.abandoned = 0
            self.send(frames.Cancel(id=id_))

    async def _live_input(self, id_: int, live: AsyncIterator[bytes]) -> None:
        try:
            async for data in live:
                if (call := self._outgoing.get(id_)) is None:
                    return
                self.send(frames.Input(id=id_, data=data))
                await call.input_credit.spend(len(data))
            self.send(frames.Input(id=id_, end=True))
        except Exception:
            if call := self._outgoing.get(id_):
                call.stream.fail(BackendFailedError("the live input of this call broke off"))

    def _from_any_thread(self, act: Callable[[Any], None], argument: Any) -> None:
        if asyncio._get_running_loop() is self._loop:
            act(argument)
        else:
            with contextlib.suppress(RuntimeError):  # the loop has closed, and the line with it
                self._loop.call_soon_threadsafe(act, argument)

    # Calls made to us

    def _begin(self, frame: frames.Call) -> None:
        live: EventStream[bytes] | None = None
        if frame.info.live:
            live = EventStream(
                on_taken=lambda amount: self._from_any_thread(self.send, frames.Credit(id=frame.id, bytes=amount, input=True))
            )
        context = self._context_for(frame.info, input=live)
        incoming = self._incoming[frame.id] = _Incoming(context, live)
        incoming.task = self._loop.create_task(self._work(frame, incoming))
        incoming.task.add_done_callback(lambda _: self._ended(frame.id))

    def _ended(self, id_: int) -> None:
        """Send the end of a call that was given up before it began: its task has never run."""
        if self._incoming.pop(id_, None):
            self.send(frames.End(id=id_))

    async def _work(self, frame: frames.Call, call: _Incoming) -> None:
        """Run one call and send what it yields; it ends with `End` or `Error`, always."""
        last: frames.End | frames.Error = frames.End(id=frame.id)
        try:
            request = _request_decoders[frame.ability].decode(frame.request)
            events = self._handler(frame.ability, frame.model, request, call.context)
            batched = events if isinstance(events, BatchedEvents) else None
            unpaid = 0
            until = slice_end()  # of an async iterator that never waits: cancels, pings and other calls get their turn
            async with contextlib.aclosing(events):
                async for event in events:
                    raw = _event_encoder.encode(event)
                    if len(raw) > MAX_EVENT:
                        raise BackendFailedError(f"an event of {len(raw)} bytes is too large; give it in pieces")
                    self._post(frame.id, msgspec.Raw(raw))
                    unpaid += len(raw)
                    if batched is not None and batched.mid_batch and unpaid < FRAME_BYTES:
                        continue  # what was put together leaves in one frame
                    await call.budget.spend(unpaid)
                    unpaid = 0
                    if time.monotonic() >= until:
                        await asyncio.sleep(0)
                        until = slice_end()
        except asyncio.CancelledError:
            pass
        except ModelhostError as error:
            last = frames.Error(id=frame.id, facts=error.facts())
        except Exception as error:
            failure = BackendFailedError(f"the call failed inside the worker ({type(error).__name__})")
            last = frames.Error(id=frame.id, facts=failure.facts())
        finally:
            call.context.cancel()
            if call.input is not None:
                call.input.close()
            self._incoming.pop(frame.id, None)
            self._flush()
            self._send_last(last)

    def _send_last(self, frame: frames.End | frames.Error) -> None:
        """Send the end of a call, in other words where nobody can encode it: whoever reads would wait for ever."""
        try:
            self.send(frame)
        except Exception as error:
            failure = BackendFailedError(f"the call failed, and its error cannot be sent ({type(error).__name__})")
            self.send(frames.Error(id=frame.id, facts=failure.facts()))

    def _post(self, id_: int, event: msgspec.Raw) -> None:
        """Queue an event for the frame that leaves at the end of this turn of the loop."""
        self._ready.setdefault(id_, []).append(event)
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        ready, self._ready = self._ready, {}
        calls: list[tuple[int, msgspec.Raw]] = []
        size = 0
        for id_, events in ready.items():
            raw = msgspec.Raw(_event_encoder.encode(events))
            calls.append((id_, raw))
            size += len(memoryview(raw))
            if size > FRAME_BYTES:
                self.send(frames.Events(calls=calls))
                calls, size = [], 0
        if calls:
            self.send(frames.Events(calls=calls))
