"""What a connection becomes when it is upgraded: a WebSocket that is read no faster than it may be answered.

uvicorn reads on whatever happens to what it writes, and answers every ping: whoever only sends fills the host's memory.
Here a line is read a little at a time: nothing while answers wait to be taken, while the application has a message to read, or
before the handshake is done, and of a message that nobody has asked for yet no more than its beginning. What is not read stays
with the client.
"""

import asyncio
import codecs
import http
from typing import Any, Literal

import msgspec
from uvicorn import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request, Response

from modelhost.contract.errors import BackendFailedError, BadInputError, ForbiddenError
from modelhost.http.openai.dialect import OPENAI
from modelhost.http.routing.errors import WebSocketMethodError, WebSocketVersionError
from modelhost.http.routing.statuses import SWITCHING_PROTOCOLS, status_of
from modelhost.http.server.limits.connections import Connection, Connections

PIECE = 4096
"""Bytes that are parsed in one turn of the loop: 700 frames at most, which take some 5 ms."""
MANY = 64
"""Pings, pongs, fragments and what comes after our close: so many in a piece are more work than they carry."""
AHEAD = 64 * 1024
"""Bytes of a message that are read before the application asks for one: as many as a connection holds anyway."""
PART = 32 * 1024
"""Bytes or characters of a message that are written at once, as a fragment: with TLS each byte is there three times meanwhile."""
UNDER_WAY = 10 * 2**20
"""Bytes after our close that come from before the client has seen it: what the system's buffers on both sides hold. What follows
is read slowly."""
REST = 0.02
"""Seconds that whoever sends so many waits before the next piece is read."""

_NO_HANDSHAKE = BadInputError("this is no valid WebSocket handshake (RFC 6455, section 4.1)", code="malformed_request")
_OTHER_VERSION = WebSocketVersionError("this host speaks version 13 of the WebSocket protocol")
_REJECTIONS = {
    status_of(error): error
    for error in (_NO_HANDSHAKE, _OTHER_VERSION, ForbiddenError("this WebSocket was refused"), WebSocketMethodError())
}
_FAILED = BackendFailedError("something went wrong in the host; its log says where", code="internal_error")


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket with a bound on everything that it keeps. `watched` is the connection that it was."""

    def __init__(
        self, watched: Connection, among: Connections, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._watched = watched
        self._among = among
        self._unread = memoryview(b"")
        """What came and has not been parsed."""
        self._resting = False
        self._heard = 0.0
        """When something came last."""
        self._idle_frames = 0
        self._message = bytearray()
        """What has come of a message: each of its fragments would cost more than it carries."""
        self._asked = 0
        """How often the application waits for a message."""
        self._holding = False
        """Whether nothing is taken from the line."""
        self._sending = asyncio.Lock()
        self._after_close = 0
        """Bytes that came after our close."""
        self.conn.reject = _rejection  # type: ignore[method-assign]

    def shake_hands(self, head: bytes) -> bool:
        """Answer a request to upgrade, or have the application answer it; False if it cannot be read."""
        super().data_received(head)
        return self.handshake_initiated

    def handle_connect(self, event: Request) -> None:
        """Count what is no handshake; a good one goes to the application."""
        super().handle_connect(event)
        if self.response.status_code != SWITCHING_PROTOCOLS:
            self._among.refused["handshake"] += 1
        else:
            self.scope["modelhost.connection"] = self._watched  # type: ignore[typeddict-unknown-key]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, and count it no longer."""
        self._unread = memoryview(b"")
        self._among.forget(self._watched)
        super().connection_lost(exc)

    def part(self) -> None:
        """Close the line to make room; the client may still answer."""
        if self.close_sent or not self.handshake_complete:
            self.transport.abort()
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.TRY_AGAIN_LATER})
        self.conn.send_close(CloseCode.TRY_AGAIN_LATER, "this line had to make room for another")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
        self._go_on()

    # Reading.

    def data_received(self, data: bytes) -> None:
        """Take what came; it is parsed when it may be answered."""
        self._heard = self.loop.time()
        self._unread = memoryview(bytes(self._unread) + data) if self._unread else memoryview(data)
        self._go_on()

    def _go_on(self) -> None:
        """Parse a piece of what came, if it may be, and see to the next."""
        if self._unread and self._may_parse():
            piece, self._unread = self._unread[:PIECE], self._unread[PIECE:]
            self._idle_frames = 0
            self._after_close += len(piece) if self.close_sent else 0
            super().data_received(piece)  # type: ignore[arg-type]  # it is appended to a bytearray
            if (answers := self.conn.data_to_send()) and not self.transport.is_closing():
                self.transport.write(b"".join(answers))
            slowly = self._idle_frames > MANY or self._after_close > UNDER_WAY
            if self._unread or slowly:
                self._resting = True
                self.loop.call_later(REST if slowly else 0, self._rested)
        self._hold()

    def _rested(self) -> None:
        self._resting = False
        self._go_on()

    def _may_parse(self) -> bool:
        return self.handshake_complete and not (self._must_wait or self.transport.is_closing())

    @property
    def _must_wait(self) -> bool:
        """Whether something else has to happen before more of the line can be parsed."""
        if self.read_paused or self._resting or not self.writable.is_set():
            return True
        wanted = self._asked or self.close_sent
        return not wanted and len(self.conn.reader.buffer) + len(self._message) >= AHEAD

    def _hold(self) -> None:
        """Take from the line only what can be parsed at once."""
        self._holding = bool(self._unread) or self._must_wait
        if self.transport.is_closing():
            self._unread = memoryview(b"")
        elif self._holding:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        """Return the next message; the line is read again when there is no other."""
        self._asked += 1
        try:
            if self.queue.empty():
                self._go_on()
            message: Any = await self.queue.get()
        finally:
            self._asked -= 1
        if self.queue.empty():
            self.read_paused = False
            self._go_on()
        if "text" in message:  # not before: text may take four times the memory of its bytes
            message["text"] = str(message["text"], "utf-8")
        return message

    def handle_text(self, event: Frame) -> None:
        """Begin a message, which may be all of it."""
        self._begin("text", event)

    def handle_bytes(self, event: Frame) -> None:
        """Begin a message, which may be all of it."""
        self._begin("bytes", event)

    def _begin(self, kind: Literal["text", "bytes"], event: Frame) -> None:
        self.curr_msg_data_type = kind
        self._message = bytearray()
        self.handle_cont(event)

    def handle_cont(self, event: Frame) -> None:
        """Take more of a message: in one piece, as each of its fragments would cost more than it carries."""
        data, event.data = event.data, b""  # the parser keeps the last frame until there is another
        if not event.fin:
            self._idle_frames += 1
            self._message += data
            return
        if self._message:
            self._message += data
            data, self._message = bytes(self._message), bytearray()
        self._pass_on(data)

    def _pass_on(self, whole: Any) -> None:
        if self.close_sent:  # nobody reads it; the client's answer to our close still has to come
            self._idle_frames += 1
            return
        if self.curr_msg_data_type == "text" and not _is_utf8(whole):
            self.conn.fail(CloseCode.INVALID_DATA, "text has to be UTF-8")
            self.handle_parser_exception()
            return
        message: Any = {"type": "websocket.receive", self.curr_msg_data_type: bytes(whole)}
        self.queue.put_nowait(message)
        self.read_paused = True
        self._watched.used()

    def handle_ping(self) -> None:
        """Leave its answer to the end of the piece."""
        self._idle_frames += 1

    def handle_pong(self, event: Frame) -> None:
        """Note that the client is there."""
        self._idle_frames += 1
        super().handle_pong(event)

    def keepalive_timeout(self) -> None:
        """Give up a client that is silent; not one that is not read."""
        if self._holding or self._heard > self.ping_sent_at:
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    # Writing.

    async def send(self, message: Any) -> None:
        """Send a message when the client has taken those before it."""
        if self.transport.is_closing() and not self.close_sent:
            raise ClientDisconnected  # what is written now would only be warned of
        async with self._sending:
            whole = message.get("text") if message.get("bytes") is None else message["bytes"]
            if whole and len(whole) > PART and self.handshake_complete and not self.close_sent:
                await self._send_parts(whole)
            else:
                await super().send(message)
        self._watched.used()
        self._go_on()

    async def _send_parts(self, whole: str | bytes) -> None:
        """Send a long message in fragments, each when the client has taken those before it."""
        for start in range(0, len(whole), PART):
            try:
                await self.writable.wait()
            except asyncio.CancelledError:
                if start:  # half of it has been sent: what follows must not be taken for the other half
                    self._send_part(whole, start, len(whole))
                raise
            self._send_part(whole, start, start + PART)

    def _send_part(self, whole: str | bytes, start: int, end: int) -> None:
        if self.transport.is_closing():
            raise ClientDisconnected
        part, last = whole[start:end], end >= len(whole)
        data = part.encode() if isinstance(part, str) else part
        try:
            if start:
                self.conn.send_continuation(data, last)
            elif isinstance(part, str):
                self.conn.send_text(data, last)
            else:
                self.conn.send_binary(data, last)
        except InvalidState:  # the line was closed meanwhile
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))

    def pause_writing(self) -> None:
        """Begin to watch whether the client takes what is written, and take nothing from it meanwhile."""
        super().pause_writing()
        self._watched.pause_writing()
        self._hold()

    def resume_writing(self) -> None:
        """End that."""
        super().resume_writing()
        self._watched.resume_writing()
        self._go_on()


def _is_utf8(text: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(text), PIECE):
            decoder.decode(text[start : start + PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _rejection(status: int, text: str) -> Response:
    """Refuse in OpenAI's words, as everything before a route."""
    error = _REJECTIONS.get(int(status), _FAILED)
    body = msgspec.json.encode(OPENAI.body_of(error))
    headers = Headers({"Connection": "close", "Content-Length": str(len(body)), "Content-Type": "application/json"})
    headers["X-Should-Retry"] = "false"
    if error in (_NO_HANDSHAKE, _OTHER_VERSION):
        headers["Sec-WebSocket-Version"] = "13"
    return Response(int(status), http.HTTPStatus(status).phrase, headers, body)
