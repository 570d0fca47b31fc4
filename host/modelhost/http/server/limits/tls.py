"""A connection before its TLS handshake is done: counted and watched like every other.

The event loop's own TLS server says nothing of a connection before its handshake is done, so that a crowd of clients which
never end it would hold descriptors that nobody counts. Here a connection is counted when it is accepted, and what comes of
the handshake takes its place. `loop.start_tls` would be the public way: but uvloop reads from a transport that was paused in
`connection_made`, and what comes before `start_tls` has begun would be lost.
"""

import asyncio
import math
import ssl
from typing import Any

from uvicorn import Config
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState
from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]  # its stubs leave it out

from modelhost.http.server.limits.connection import GUEST_SECONDS, LimitedConnection
from modelhost.http.server.limits.connections import Connection, Connections

NEVER = 1e6
"""Seconds, for uvloop's own timer: `header_timeout` is what counts here."""
READ = 32 * 1024
"""Bytes that are read from the system at once: two records of TLS. uvloop reads 256 KiB, and has them four times meanwhile."""


class TlsHandshake(Connection):
    """A client that has not yet done its handshake; it has `header_timeout` for it, and as much again for its first request."""

    def __init__(
        self,
        context: ssl.SSLContext,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        **more: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._context = context
        self._connections = connections
        self._others = server_state.connections
        self._after = LimitedConnection(connections, config, server_state, app_state, **more)
        """What it becomes."""
        self._due = math.inf

    @property
    def upgraded(self) -> bool:
        """It is no WebSocket yet."""
        return False

    @property
    def at_work(self) -> bool:
        """Nothing has been asked yet."""
        return False

    def used(self) -> None:
        """Nothing can be said on it yet."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Count the connection, or refuse it, and begin with its handshake."""
        self.transport = transport
        self._others.add(self)  # type: ignore[arg-type]  # whatever has `shutdown`
        address = get_remote_addr(transport)
        self._connections.take(self, address[0] if address else "")
        self._connections.waits(self)
        patience = self._connections.config.header_timeout
        self._due = self.loop.time() + (min(patience, GUEST_SECONDS) if self.guest else patience)
        if not transport.is_closing():
            self._begin()

    def _begin(self) -> None:
        result = self.loop.create_future()
        result.add_done_callback(self._ended)
        tls = SSLProtocol(self.loop, _Success(self), self._context, result, server_side=True, ssl_handshake_timeout=NEVER)
        self.transport.set_protocol(_Reading(tls))
        tls.connection_made(self.transport)

    def _ended(self, result: "asyncio.Future[None]") -> None:
        result.exception()  # it was no TLS, or was given up: nobody is to be told
        self._end()

    def succeed(self, encrypted: Any) -> None:
        """Make room for what it becomes."""
        self._end()
        # The lower one has to be above a record (16 KiB and a little): with a part of one there, nothing more would be read.
        encrypted.set_read_buffer_limits(high=2 * READ, low=READ)
        encrypted.set_protocol(self._after)
        self._after.connection_made(encrypted)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        self._end()

    def shutdown(self) -> None:
        """Close it, because the server stops."""
        self.transport.abort()

    def look(self, now: float, since: float) -> None:
        """Give up who takes too long."""
        if self._due <= now:
            self._close("full" if self.guest else "late_handshake")

    def drop(self) -> None:
        """Close it to make room."""
        self._close("dropped")

    def turn_away(self) -> None:
        """Close it, because there is no room."""
        self._close("full")

    def _close(self, reason: str) -> None:
        """Close it without a word: nothing can be said before the handshake is done."""
        self._connections.refused[reason] += 1
        self._end()
        self.transport.abort()

    def _end(self) -> None:
        self._connections.forget(self)
        self._others.discard(self)


class _Reading(asyncio.BufferedProtocol):
    """uvloop's TLS with less read at once: who does not take its answers must not fill the host's memory."""

    def __init__(self, tls: Any) -> None:
        self._get_buffer = tls.get_buffer
        self.buffer_updated = tls.buffer_updated  # type: ignore[method-assign]
        self.eof_received = tls.eof_received  # type: ignore[method-assign]
        self.pause_writing = tls.pause_writing  # type: ignore[method-assign]
        self.resume_writing = tls.resume_writing  # type: ignore[method-assign]
        self.connection_lost = tls.connection_lost  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        buffer: memoryview = self._get_buffer(sizehint)
        return buffer[:READ]


class _Success(asyncio.Protocol):
    """What hears of the handshake's end, and of nothing else."""

    def __init__(self, handshake: TlsHandshake) -> None:
        self._handshake = handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._handshake.succeed(transport)
