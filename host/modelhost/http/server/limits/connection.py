"""A connection that speaks HTTP/1.1, with an end to everything: size, count and time.

While it waits for its client there is a time by which something must be done (`_due`), and it may be closed to make room for
another; while a request is at work, neither.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Literal

import httptools
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from modelhost.http.server.limits.connections import Connection, Connections
from modelhost.http.server.limits.old_http import without_chunks
from modelhost.http.server.limits.refusals import ANSWERS, MAX_HEAD, MAX_HEADERS, MAX_URL
from modelhost.http.server.limits.websocket import LimitedWebSocket

MAX_PIPELINED = 16
"""Requests that may wait on one connection for those before them."""
MIN_RATE = 1024
"""Bytes a second that a client sends of a body, or takes of an answer that is held up, on average; the first seconds are free."""
MAX_CREDIT = 30.0
"""Seconds a client may rest at most in the middle of a body, however fast it was before."""
FAST = 64 * 1024
"""Bytes a second of a body that does not count as waiting."""
REST_SECONDS = 5.0
"""What a client gets to finish a body whose answer it already has."""
LINGER = 1.0
"""Seconds a refused client gets to read why before the connection is torn down; what it still sends is dropped."""
GUEST_SECONDS = 2.0
"""What a client for whom there is no room gets to say what it wants."""

NEVER = math.inf

Phase = Literal["head", "body", "idle", "leaving", "upgraded"]
"""What comes next from the client; from one that is `leaving` nothing is taken any more."""


class LimitedConnection(HttpToolsProtocol, Connection):
    """uvicorn's HTTP/1.1 with an end to everything: size, count and time."""

    def __init__(
        self, connections: Connections, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any
    ) -> None:
        super().__init__(config, server_state, app_state, **more)
        # uvicorn has the parser go on after `connection: close`, where nothing may follow.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._connections = connections
        self._patience: dict[Phase, float] = {
            "head": connections.config.header_timeout,
            "body": REST_SECONDS,
            "idle": connections.config.idle_timeout,
            "leaving": LINGER,
        }
        self._phase: Phase = "head"
        self._due = NEVER
        self._stalled = NEVER
        """When it is given up because the client takes nothing of `_unsent`, the bytes that were waiting at the last look."""
        self._unsent = 0
        self._running: RequestResponseCycle | None = None
        """The request being answered; uvicorn's own `cycle` is the last one that has come."""
        self._fed = 0
        """Bytes that came at once last."""
        self._quiet = 0
        """Bytes that have come since the parser last had something to show for them: what it keeps is no more than that."""
        self._got = 0
        """Bytes of a body since the last look."""
        self._reason = "malformed"
        self._line: LimitedWebSocket | None = None
        """What it has become."""
        self._working = 0
        """Pieces of work for it."""
        self._last_words = b""
        """Said once what is at work has been answered."""

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Count the connection, or refuse it."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(HIGH_WATER_LIMIT)  # TLS would have eight times that
        self._connections.take(self, self.client[0] if self.client else "")
        if self._phase != "leaving":
            self._settle()

    @property
    def upgraded(self) -> bool:
        """Whether it is a WebSocket."""
        return self._phase == "upgraded"

    @property
    def at_work(self) -> bool:
        """Whether its client waits for an answer."""
        return self._running is not None or self._working > 0

    def begin(self) -> Callable[[], None]:
        """Count a piece of work of its key's; returns what is to be called once at its end. Raises `OverQuotaError`."""
        end_of_key = self._connections.begin(self)
        self._working += 1
        self.used()

        def end() -> None:
            end_of_key()
            self._working -= 1
            self.used()

        return end

    def identify(self, key: str) -> None:
        """Note whose key its request carries. Raises `OverloadedError` for a guest that may not come in."""
        self._connections.identify(self, key)

    def used(self) -> None:
        """Note that something was just said on a WebSocket, or that work for it began or ended."""
        if self._phase == "upgraded":
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request at work, which with pipelining is not the one that uvicorn tells."""
        self._connections.forget(self)
        self._stop_running()
        self.pipeline.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close what has no request at work."""
        if self._running is None:
            self.transport.close()
            if not self.transport.get_write_buffer_size():
                self.connections.discard(self)  # with TLS it lasts until the client has closed it as well: nobody waits for that
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse; what is wrong or too much ends the connection, after the answers that are owed."""
        if self._phase == "leaving":
            return
        phase, cycle = self._phase, self.cycle
        self._fed = len(data)
        self._quiet += self._fed
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(self._reason)
            return
        if self._quiet > MAX_HEAD:
            self._refuse("large_headers")
        elif phase != self._phase or cycle is not self.cycle:
            self._settle()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.scope["method"] == "CONNECT" or (self._should_upgrade() and self._running is not None):
                raise httptools.HttpParserError from None
            if self._should_upgrade():
                self.handle_websocket_upgrade(data[upgrade.args[0] :])
            else:
                self._parse_without_upgrade(data[upgrade.args[0] :])

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its wish for another protocol: the parser would not see its body. Java asks for h2c."""
        version = self.parser.get_http_version()
        head = [b"%s %s HTTP/%s\r\n" % (self.scope["method"].encode(), self.url, version.encode())]
        head += [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"".join([*head, b"\r\n", rest]))

    def handle_websocket_upgrade(self, rest: bytes = b"") -> None:
        """Hand the line over; it stays counted, and watched, until it is lost."""
        self._phase = "upgraded"
        self._settle()
        self.connections.discard(self)
        head = [b"%s %s HTTP/1.1\r\n" % (self.scope["method"].encode(), self.url)]
        head += [b"%s: %s\r\n" % (name, value) for name, value in self.headers]
        self._line = line = LimitedWebSocket(self, self._connections, self.config, self.server_state, self.app_state)
        line.connection_made(self.transport)
        self.transport.set_protocol(line)
        if not line.shake_hands(b"".join([*head, b"\r\n"])):
            self._refuse("large_headers")  # a line of it is longer than the WebSockets' own parser takes
        elif rest:
            line.data_received(rest)

    # What the parser finds.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._phase = "head"
        super().on_message_begin()
        self.scope["modelhost.connection"] = self  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        super().on_url(url)
        if len(self.url) > MAX_URL:
            self._give_up("long_url")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those that come after a body are not kept."""
        if self._phase == "head":
            if len(self.headers) >= MAX_HEADERS:
                self._give_up("large_headers")
            # What uvicorn does, written out: one call more for every header was two fifths of what the guard costs.
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._give_up("transfer_coding" if value.lower().endswith(b"chunked") else "malformed")
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, or queue it behind those before it."""
        # Without a look at each header nearly always: what came cannot be too much.
        if (self._fed > MAX_HEAD or self._quiet > MAX_HEAD) and self._head_size() > MAX_HEAD:
            self._give_up("large_headers")
        if self.parser.should_upgrade():
            self.scope["method"] = self.parser.get_method().decode()
            self._quiet = 0
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._give_up("pipelined")
        super().on_headers_complete()
        self._quiet = self._got = 0
        self._phase = "body"

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._quiet = 0
        self._got += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if not self.parser.should_upgrade():
            self._quiet = 0
            self._phase = "idle"
            super().on_message_complete()

    def _give_up(self, reason: str) -> None:
        """Stop the parser, and see that `data_received` knows why."""
        self._reason = reason
        raise ValueError(reason)

    # The requests.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.keep_alive = cycle.keep_alive and not self.guest
        if cycle.scope["http_version"] == "1.0":
            app = without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Start what waits, and else wait for the client: without uvicorn's timer, for which there is `_due`."""
        self.server_state.total_requests += 1
        self._running = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words:
            self._leave(self._last_words)
        self._settle()

    def _stop_running(self) -> None:
        """Let the request at work see that its client is gone."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
            self._running = None

    # Time.

    def _settle(self) -> None:
        """Say until when the client must have done what is next, if anything."""
        if self._phase == "upgraded":
            self._due = NEVER  # its keep-alive sees to that
            if self._working:
                self._connections.works(self)
            else:
                self._connections.waits(self)
            return
        if self._running is None:
            patience = self._patience.get(self._phase, NEVER)
            if self.guest:
                patience = min(patience, GUEST_SECONDS)
        elif self._phase == "body" and self.cycle is self._running:
            patience = self._patience["head"]
        else:
            patience = NEVER
        self._due = self.loop.time() + patience
        if patience == NEVER:
            self._connections.works(self)
        else:
            self._connections.waits(self)

    def pause_writing(self) -> None:
        """Begin to watch whether the client takes what is written."""
        super().pause_writing()
        self._watch_writing(self.loop.time())

    def resume_writing(self) -> None:
        """End that."""
        super().resume_writing()
        self._stalled = NEVER
        self._settle()

    def _watch_writing(self, now: float) -> None:
        self._stalled = now + self._connections.config.write_timeout
        self._unsent = self.transport.get_write_buffer_size()

    def look(self, now: float, since: float) -> None:
        """Do what is due; `since` are the seconds since the last look."""
        if self._stalled != NEVER:
            self._look_at_writing(now)
        elif self.transport.is_closing() and self._phase != "leaving":
            # Closed by uvicorn: it ends when the client has taken everything.
            self._phase = "leaving"
            self._watch_writing(now)
        else:
            if self._phase == "body" and self._running is not None:
                self._look_at_body(now, since)
            if self._due <= now:
                self._late(now)

    def _look_at_body(self, now: float, since: float) -> None:
        if self.flow.read_paused:
            self._due += since  # it is we who do not read
        if self._got:
            self._due = min(self._due + self._got / MIN_RATE, max(self._due, now + MAX_CREDIT))
            if self._got > FAST * since and self.cycle is self._running:
                self._connections.waits(self)
        self._got = 0

    def _look_at_writing(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._stalled = NEVER
            self._settle()
            return
        taken, self._unsent = max(0, self._unsent - unsent), unsent
        self._stalled = min(self._stalled + taken / MIN_RATE, now + self._connections.config.write_timeout)
        if self._stalled <= now:
            self._connections.refused["unread"] += 1
            self.transport.abort()

    def _late(self, now: float) -> None:
        if self.transport.get_write_buffer_size():
            self._watch_writing(now)  # it is still taking an earlier answer: nothing else is asked of it
        elif self._phase == "leaving":
            self.transport.abort()
        elif self.guest:
            self._refuse("full")
        elif self._phase == "head":
            self._refuse("late_headers" if self.scope else "silent")
        elif self._phase == "body" and self._running is not None:
            self._refuse("late_body")
        else:
            self._leave(b"")

    # The end.

    def drop(self) -> None:
        """Close it to make room, and say so where something was to come."""
        self._connections.forget(self)
        if self._line is not None:
            self._connections.refused["dropped"] += 1
            self._phase = "leaving"
            self._connections.linger(self)
            self._settle()
            self._line.part()
        elif self._phase == "idle":
            self._connections.refused["dropped"] += 1
            self._leave(b"")
        else:
            self._refuse("dropped")

    def turn_away(self) -> None:
        """Close it, because there is no room."""
        self._refuse("full")

    def _refuse(self, reason: str) -> None:
        """Answer with an error and close; requests that are at work are answered first."""
        self._connections.refused[reason] += 1
        answer = ANSWERS[reason]
        if self._phase == "body":
            if self.pipeline and self.pipeline[0][0] is self.cycle:
                self.pipeline.popleft()  # its body will never be complete
            elif self.cycle.response_started:
                answer = b""
            if self.cycle is self._running:
                self._stop_running()
        if self._running is None:
            self._leave(answer)
        else:
            self._phase = "leaving"
            self._last_words = answer
            self._settle()

    def _leave(self, answer: bytes) -> None:
        """Say the last words, and close. Who is still sending would lose them if it were closed both ways at once."""
        self._phase = "leaving"
        self._connections.linger(self)
        self._settle()
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if answer and self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()
