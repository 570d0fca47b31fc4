"""Guards every connection: uvicorn reads for ever what comes slowly, and keeps whatever comes without an end.

A connection waits for its client, or its client waits for us. While it waits for its client there is a time by which something
must be done (`_due`), and it may be closed to make room for another; while a request is at work, neither. One look a `TICK` at
every connection stands for all the timers: a timer of the event loop for each request would cost more than all else here.
"""

import asyncio
import http
import ipaddress
import math
import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, cast

import httptools
import msgspec
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from modelhost.config import ServerConfig
from modelhost.errors import BadInputError, ModelhostError, OverloadedError, OverQuotaError
from modelhost.http.errors import envelope
from modelhost.logs import host_log

MAX_HEAD = 64 * 1024
"""Bytes of a request line and its headers; of the trailers too, of which nothing is kept."""
MAX_URL = 16 * 1024
"""Bytes of a URL; ours are short."""
MAX_HEADERS = 100
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
MAX_LINGERING = 256
"""Refused clients that linger at once; beyond, the oldest is torn down."""
TICK = 0.25
"""Seconds between two looks at the connections."""
SPARE_FILES = 512
"""Open files that are kept for other things than clients: workers, models, refused clients."""

NEVER = math.inf

Phase = Literal["head", "body", "idle", "leaving", "upgraded"]
"""What comes next from the client; from one that is `leaving` nothing is taken any more."""

_REFUSALS: dict[str, tuple[int, ModelhostError] | None] = {
    "malformed": (400, BadInputError("this is not valid HTTP/1.1", code="malformed_request")),
    "late_headers": (408, BadInputError("the request's headers took too long to arrive", code="request_timeout")),
    "late_body": (408, BadInputError("the request's body came too slowly", code="request_timeout")),
    "long_url": (414, BadInputError("the URL is longer than this host takes", code="url_too_long")),
    "large_headers": (
        431,
        BadInputError(f"more than {MAX_HEADERS} headers or {MAX_HEAD} bytes of them", code="headers_too_large"),
    ),
    "pipelined": (429, OverQuotaError("too many requests sent ahead on one connection")),
    "full": (503, OverloadedError("every connection this host takes is at work; ask again in a moment")),
    "silent": None,
    "dropped": None,
    "unread": None,
}
"""Why connections are refused or closed, and what they are told; the last three cannot be told anything."""


def _answer(status: int, error: ModelhostError) -> bytes:
    body = msgspec.json.encode(envelope(error))
    retry = "retry-after: 1\r\nx-should-retry: true" if error.retry else "x-should-retry: false"
    head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\nconnection: close\r\n{retry}\r\n\r\n".encode() + body


ANSWERS = {reason: _answer(*refusal) if refusal else b"" for reason, refusal in _REFUSALS.items()}
"""What goes out, ready to be written."""

_Queue = OrderedDict["GuardedConnection", None]
"""Connections by how long they have waited; in a plain dictionary finding the first gets slower with each one taken out."""


class Connections:
    """The connections of one server: how many there are, who is waiting, and who has been refused.

    `refused` counts by reason: `silent` sent nothing, `dropped` made room for another, `unread` did not take its answer, `full`
    came when nothing could make room; the others are told why. Addresses for which `exempt` is true have no limit of their own.
    """

    def __init__(self, config: ServerConfig, *, exempt: Callable[[str], bool] = lambda address: False) -> None:
        self.refused = dict.fromkeys(_REFUSALS, 0)
        self.write_timeout = config.write_timeout
        self.patience: dict[Phase, float] = {
            "head": config.header_timeout,
            "body": REST_SECONDS,
            "idle": config.idle_timeout,
            "leaving": LINGER,
        }
        self._most = config.max_connections
        self._most_of_one = config.max_connections_per_address
        self._exempt = exempt
        self._open: set[GuardedConnection] = set()
        self._waiting = _Queue()
        self._peers: dict[str, _Peers] = {}
        self._lingering = _Queue()
        self._looking = False
        self._looked = 0.0

    @property
    def open(self) -> int:
        """How many there are, WebSockets among them; those on their way out are not counted."""
        return len(self._open)

    def take(self, connection: "GuardedConnection", address: str) -> bool:
        """Count a newcomer, closing for it whoever has waited longest where there are too many; False where all are at work."""
        name = "" if self._exempt(address) else _network_of(address)
        peers = self._peers.get(name)
        if peers and peers.open >= self._most_of_one:
            crowd = peers.waiting
        elif len(self._open) >= self._most:
            crowd = self._waiting
        else:
            crowd = None
        if crowd is not None:
            if not crowd:
                return False
            next(iter(crowd)).drop()
        if name:
            connection.peers = self._peers.setdefault(name, peers or _Peers(name))
            connection.peers.open += 1
        self._open.add(connection)
        if not self._looking:
            self._looking = True
            self._looked = connection.loop.time()
            connection.loop.call_later(TICK, self._look, connection.loop)
        return True

    def waits(self, connection: "GuardedConnection") -> None:
        """Put a connection behind all that wait for their clients."""
        if connection in self._open:
            self._waiting[connection] = None
            self._waiting.move_to_end(connection)
            if connection.peers:
                connection.peers.waiting[connection] = None
                connection.peers.waiting.move_to_end(connection)

    def works(self, connection: "GuardedConnection") -> None:
        """Keep a connection from being closed to make room."""
        self._waiting.pop(connection, None)
        if connection.peers:
            connection.peers.waiting.pop(connection, None)

    def linger(self, connection: "GuardedConnection") -> None:
        """Count a connection no longer, but see that it ends."""
        self.forget(connection)
        self._lingering[connection] = None
        if len(self._lingering) > MAX_LINGERING:
            self._lingering.popitem(last=False)[0].transport.abort()

    def forget(self, connection: "GuardedConnection") -> None:
        """Count a connection no longer; once or more often."""
        self._lingering.pop(connection, None)
        if connection not in self._open:
            return
        self.works(connection)
        self._open.discard(connection)
        if peers := connection.peers:
            peers.open -= 1
            if not peers.open:
                self._peers.pop(peers.name, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        since, self._looked = now - self._looked, now
        for connection in (*self._open, *self._lingering):
            connection.look(now, since)
        self._looking = bool(self._open or self._lingering)
        if self._looking:
            loop.call_later(TICK, self._look, loop)


class _Peers:
    """What is open and what waits of one address."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = 0
        self.waiting = _Queue()


def _network_of(address: str) -> str:
    """Give what is one client: an IPv4 address, or the 64 bits of an IPv6 address that its provider gave it."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())


class GuardedConnection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with an end to everything: size, count and time."""

    peers: _Peers | None = None

    def __init__(
        self, connections: Connections, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any
    ) -> None:
        super().__init__(config, server_state, app_state, **more)
        # uvicorn has the parser go on after `connection: close`, where nothing may follow.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._guard = connections
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
        self._last_words = b""
        """Said once what is at work has been answered."""

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Count the connection, or refuse it."""
        super().connection_made(transport)
        if self._guard.take(self, self.client[0] if self.client else ""):
            self._settle()
        else:
            self._refuse("full")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request at work, which with pipelining is not the one that uvicorn tells."""
        self._guard.forget(self)
        self._stop_running()
        self.pipeline.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close what has no request at work."""
        if self._running is None:
            self.transport.close()
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
                self.handle_websocket_upgrade()
            else:
                self._parse_without_upgrade(data[upgrade.args[0] :])

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its wish for another protocol: the parser would not see its body. Java asks for h2c."""
        version = self.parser.get_http_version()
        head = [b"%s %s HTTP/%s\r\n" % (self.scope["method"].encode(), self.url, version.encode())]
        head += [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"".join([*head, b"\r\n", rest]))

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; it stays counted until it is lost."""
        self._phase = "upgraded"
        super().handle_websocket_upgrade()
        successor = cast(asyncio.Protocol, self.transport.get_protocol())
        lost = successor.connection_lost

        def connection_lost(exc: Exception | None) -> None:
            self._guard.forget(self)
            lost(exc)

        successor.connection_lost = connection_lost  # type: ignore[method-assign]  # for this one connection

    # What the parser finds.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._phase = "head"
        super().on_message_begin()

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
        if self._running is None:
            patience = self._guard.patience.get(self._phase, NEVER)
        elif self._phase == "body" and self.cycle is self._running:
            patience = self._guard.patience["head"]
        else:
            patience = NEVER
        self._due = self.loop.time() + patience
        if patience == NEVER:
            self._guard.works(self)
        else:
            self._guard.waits(self)

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
        self._stalled = now + self._guard.write_timeout
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
                self._guard.waits(self)
        self._got = 0

    def _look_at_writing(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._stalled = NEVER
            self._settle()
            return
        taken, self._unsent = max(0, self._unsent - unsent), unsent
        self._stalled = min(self._stalled + taken / MIN_RATE, now + self._guard.write_timeout)
        if self._stalled <= now:
            self._guard.refused["unread"] += 1
            self.transport.abort()

    def _late(self, now: float) -> None:
        if self.transport.get_write_buffer_size():
            self._watch_writing(now)  # it is still taking an earlier answer: nothing else is asked of it
        elif self._phase == "leaving":
            self.transport.abort()
        elif self._phase == "head":
            self._refuse("late_headers" if self.scope else "silent")
        elif self._phase == "body" and self._running is not None:
            self._refuse("late_body")
        else:
            self._leave(b"")

    # The end.

    def drop(self) -> None:
        """Close it at once to make room."""
        self._guard.refused["dropped"] += 1
        self._guard.forget(self)
        self._phase = "leaving"
        self.transport.abort()

    def _refuse(self, reason: str) -> None:
        """Answer with an error and close; requests that are at work are answered first."""
        self._guard.refused[reason] += 1
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
        self._guard.linger(self)
        self._settle()
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if answer and self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()


def allow_open_files(connections: int) -> None:
    """Let the process open as many files as the system grants, and warn where the connections would not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass  # then it stays as it is
    if soft != resource.RLIM_INFINITY and soft < connections + SPARE_FILES:
        host_log().warning("max_connections is more than this process may open", max_connections=connections, open_files=soft)
