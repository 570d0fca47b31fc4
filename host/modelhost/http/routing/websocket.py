"""A WebSocket as a conversation in typed messages; a bad one gets an error in return, and the line stays open."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from heapq import nsmallest
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

import msgspec
from litestar import WebSocket
from msgspec import UNSET, UnsetType

from modelhost.config import ServerConfig
from modelhost.contract.errors import BadInputError, DeadlineError, ModelhostError
from modelhost.contract.event_stream import EventStream
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability
from modelhost.host import ModelHost
from modelhost.http.routing.bodies.incoming import SMALL
from modelhost.http.routing.bodies.json_text import check_values
from modelhost.http.routing.calls import details_for
from modelhost.http.routing.errors import as_modelhost_error, with_client_names
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json.fields import Reader, reader_of
from modelhost.http.routing.json.foreign_fields import refuse_what_others_know
from modelhost.http.routing.json.text import decoded
from modelhost.http.routing.json_body import MOST_IGNORED, printable
from modelhost.http.routing.spelling import spelling
from modelhost.http.routing.websocket_query import merged, settings_in
from modelhost.running_call import RunningCall

T = TypeVar("T")
K = TypeVar("K", bound=Struct)

WAITING = 8
"""Messages that may wait to be read; then nothing more is taken from the line until one has been."""

WAITING_BYTES = 64 * 1024
"""What they may hold in memory, with the one at work, before nothing more is taken; one alone may hold more."""

PATIENCE = 100
"""Bad messages after which the line is closed."""

LIVE_IDLE = 30.0
"""Seconds a client may send nothing while a model listens to it."""

POLICY_VIOLATION = 1008
"""Close code (RFC 6455 §7.4.1)."""
INTERNAL_ERROR = 1011
"""RFC 6455 §7.4.1."""


class Failure(Struct, tag_field="type", tag="error"):
    """What went wrong, as in every answer of the host; the line stays open."""

    error: dict[str, Any]


class MessageSocket(Generic[T]):
    """Reads messages of the kinds in `T`, and bytes of binary frames; writes structs as JSON.

    `async with MessageSocket(…) as messages: async for message in messages: …` ends, cancelling the block, when the
    client leaves.
    """

    def __init__(
        self, socket: WebSocket[Any, Any, Any], kinds: Any, guess: dict[str, str], *, begin: tuple[type[Struct], ...]
    ) -> None:
        """Read `kinds`, a union of tagged structs; `guess` says by a field which `type` a message without one is of.

        Those of the kinds that `begin` work have in the URL's query what they leave out themselves.
        """
        self.socket = socket
        self.host: ModelHost = socket.app.state.host
        self._reader: Reader[T] = reader_of(kinds)
        self._guess = guess
        self._inbox: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        """What came, and whether it was text: as bytes, since a text may take four times their memory."""
        self._begin = frozenset(kind.__struct_config__.tag for kind in begin)
        self._settings: dict[str, Any] = {}
        self._fields_in_url = begin[0]
        self._ignored: dict[str, None] = {}
        self._held = 0
        self._room = asyncio.Event()
        self._room.set()
        self._bad = 0
        self._gone = False
        self.live = False
        """Whether a model is at work here, which holds one of its places: then the client may not be silent for long."""
        self._sending = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.socket.accept()
        self._task = asyncio.current_task()
        self._receiving = asyncio.get_running_loop().create_task(self._receive())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self._receiving.cancel()
        if self._gone:
            left = isinstance(error, OSError) and not isinstance(error, TimeoutError)
            return left or isinstance(error, asyncio.CancelledError) or error is None
        if error is None:
            await self.socket.close()
        return isinstance(error, Exception) and await self._ended_by(error)

    async def _ended_by(self, error: Exception) -> bool:
        """Tell what ends the line; returns whether that is all, as with a full disk. Else somebody has to log it."""
        known = as_modelhost_error(error)
        with contextlib.suppress(Exception):  # the client may have left as well
            await self.tell(known)
            await self.socket.close(INTERNAL_ERROR, known.code)
        return known.code != "internal_error"

    async def _receive(self) -> None:
        receive: Callable[[], Awaitable[Any]] = self.socket.receive
        while (message := await receive())["type"] != "websocket.disconnect":
            is_text = message.get("bytes") is None
            raw: bytes = message["text"].encode() if is_text else message["bytes"]
            del message
            self._inbox.put_nowait((raw, is_text))
            self._hold(sys.getsizeof(raw))
            del raw
            await self._room.wait()
        self._gone = True
        assert self._task is not None
        self._task.cancel()

    def _hold(self, size: int) -> None:
        """Count what is held of the line; take no more from it where that is too much."""
        self._held += size
        if self._held > WAITING_BYTES or self._inbox.qsize() >= WAITING:
            self._room.clear()
        else:
            self._room.set()

    async def __aiter__(self) -> AsyncIterator[T | bytes]:
        try:
            self._read_url()
        except BadInputError as error:  # it stays as it is, so there is no use in this line
            await self.tell(error)
            await self.socket.close(POLICY_VIOLATION, "the URL cannot be read")
            self._gone = True
            return
        size = 0
        while True:
            self._hold(-size)  # the one before has been dealt with
            raw = b""
            idle = LIVE_IDLE if self.live else self._server.request_timeout
            try:
                async with asyncio.timeout(idle):  # `wait_for` of Python 3.11 can lose the cancellation of who leaves
                    raw, is_text = await self._inbox.get()
            except TimeoutError:
                await self.tell(DeadlineError(f"nothing came over this line for {idle:g} s; it is closed"))
                return
            size = sys.getsizeof(raw)
            if not is_text and not _is_message(raw):
                yield raw
                continue
            try:
                message = self._read(raw)
                del raw
                yield message
                del message
            except Exception as error:  # whatever a client sends, it is told what is wrong with it
                await self.tell(error)
                self._bad += 1
                if self._bad >= PATIENCE:
                    await self.socket.close(POLICY_VIOLATION, "too many bad messages")
                    self._gone = True
                    return

    @property
    def _server(self) -> ServerConfig:
        return self.host.config.server

    def _read_url(self) -> None:
        self._settings, unknown = settings_in(self.socket.query_params, self._fields_in_url)
        if unknown and self._server.strict:
            first = unknown[0][:100]
            raise BadInputError(f"unknown field {first!r} in the URL", param=first, code="unknown_parameter")
        self._ignored = dict.fromkeys(map(printable, unknown[:MOST_IGNORED]))

    def message_in_url(self, kind: type[K]) -> K:
        """Return the message that was not sent: what the URL says, and the defaults."""
        message = kind(**self._settings)
        self._spell(message)
        return message

    def _spell(self, message: Any) -> None:
        """Note how the client calls the fields of what begins work."""
        in_flight_of(self.socket.scope).spelt = spelling(message)

    def ignored(self) -> list[str] | UnsetType:
        """Return the names of fields that nobody knows, of the messages since this was last asked, and of the URL."""
        found, self._ignored = self._ignored, {}
        return [*found][:MOST_IGNORED] or UNSET

    def _read(self, raw: bytes) -> T:
        if len(raw) > SMALL:
            check_values(raw, "the message")
        value = decoded(msgspec.json.decode, raw, "the message")
        if not isinstance(value, dict):
            raise BadInputError("a message is a JSON object")
        if "type" not in value:
            kind = next((kind for field, kind in self._guess.items() if field in value), None)
            if kind is None:
                raise BadInputError("the message has no `type`", param="type")
            value["type"] = kind
        if isinstance(value["type"], str) and value["type"] in self._begin:
            value = merged(self._settings, value)
        message, unknown = self._reader.convert(value)
        if value["type"] in self._begin:
            self._spell(message)
        refuse_what_others_know(message, unknown)
        if unknown and self._server.strict:
            first = min(unknown)[:100]
            raise BadInputError(f"unknown field {first!r}", param=first, code="unknown_parameter")
        if len(self._ignored) < MOST_IGNORED:
            self._ignored |= dict.fromkeys(map(printable, nsmallest(MOST_IGNORED, unknown)))
        return message

    def start(
        self, ability: Ability, model: str | None, request: Any, *, live: EventStream[bytes] | None = None, timed: bool = True
    ) -> RunningCall[Any]:
        """Begin a call of a model, with what follows it `live`; one that is not `timed` lasts as long as the client stays."""
        in_flight = in_flight_of(self.socket.scope)
        in_flight.calls.clear()  # the log tells of the last: there may be thousands in the life of a line
        details = details_for(in_flight, self.host, timed=timed)
        return self.host.router.start(ability, model, request, msgspec.structs.replace(details, input=live))

    def work(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Have something done beside the reading; what goes wrong with it is told."""
        task = asyncio.get_running_loop().create_task(self._counted(work))
        task.add_done_callback(self._worked)
        return task

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            end = in_flight_of(self.socket.scope).begin_work()
        except ModelhostError:
            work.close()
            raise
        try:
            await work
        finally:
            end()

    def _worked(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._gone and isinstance(error, Exception):
            self._telling = asyncio.get_running_loop().create_task(self.tell(error))
            self._telling.add_done_callback(_looked_at)

    async def send(self, message: Struct) -> None:
        """Send a message."""
        await self._send(msgspec.json.encode(message), "text")

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self._send(data, "binary")

    async def _send(self, data: bytes, mode: Literal["text", "binary"]) -> None:
        try:
            async with self._sending, asyncio.timeout(self._server.write_timeout):
                await self.socket.send_data(data, mode=mode)
        except TimeoutError:  # who does not read keeps a model's slot from others
            self._gone = True
            if self._task:
                self._task.cancel()
            raise
        except OSError:  # the client has left: so says ASGI that a server tells it
            self._gone = True
            raise

    async def tell(self, error: Exception) -> None:
        """Send an error."""
        in_flight = in_flight_of(self.socket.scope)
        named = with_client_names(as_modelhost_error(error), in_flight.spelt)
        await self._send(in_flight.dialect.error_message(named), "text")


def _is_message(frame: bytes) -> bool:
    """Whether a binary frame is a message all the same, as of clients that send bytes alone; no sound is JSON by chance."""
    if not (frame.startswith(b"{") and frame.rstrip().endswith(b"}")):
        return False
    try:
        return "type" in msgspec.json.decode(frame, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _looked_at(task: "asyncio.Task[None]") -> None:
    """See to it that nobody warns of an error which only says that the client has left."""
    if not task.cancelled():
        task.exception()
