"""Runs the application on uvicorn, and on SIGTERM finishes what is running before it ends."""

import asyncio
import contextlib
import functools
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from modelhost.host import ModelHost
from modelhost.http.admin.docs import locked
from modelhost.http.app import DIALECTS, make_app, public_paths, shown_paths
from modelhost.http.middleware.access_log import Observer
from modelhost.http.middleware.gateway import Gateway
from modelhost.http.middleware.tracing import Tracing
from modelhost.http.routing.in_flight import InFlightRequests
from modelhost.http.server.bind import among, tls_context
from modelhost.http.server.connection_counts import ConnectionCounts
from modelhost.http.server.limits import Connections, LimitedConnection, TlsHandshake, open_files
from modelhost.observability.library_log import listen_to_loop
from modelhost.observability.logs import host_log

CUT_SECONDS = 1.0
"""What connections get to close once their requests have been cut."""

WEBSOCKETS: dict[str, Any] = {"ws": "websockets-sansio", "ws_max_size": 1024 * 1024, "ws_per_message_deflate": False}
"""Settings of `LimitedWebSocket`. Compressed, a kilobyte would become a message of a megabyte, and to compress one as large takes
the loop 23 ms (zlib, level 6, of base64)."""


logging.getLogger("uvicorn.error").addFilter(lambda line: "without completing handshake" not in str(line.msg))
"""Every handshake that is answered with a status gets an error of uvicorn's, which anybody could fill a log with."""


class HostServer(uvicorn.Server):
    """uvicorn with our way of stopping: new requests are refused, running ones finish or are cut, the exit is clean."""

    def __init__(self, host: ModelHost, on_ready: Callable[[], None]) -> None:
        self._host = host
        self._on_ready = on_ready
        self._requests = InFlightRequests()
        server = host.config.server
        self._tracing = Tracing.of(server)
        self.connections = Connections(server, exempt=among(server.trusted_proxies))
        gateway = Gateway(
            make_app(host, self._requests),
            server,
            dialects=DIALECTS,
            keys=lambda: host.key_ring.keys,
            draining=lambda: host.draining,
            public=public_paths(server),
            shown=shown_paths(),
            in_flight_requests=self._requests,
            observer=Observer(host.metrics, host_log(part="http"), self._tracing),
            locked=locked,
        )
        host.metrics.register(ConnectionCounts(self.connections))
        tls = tls_context(server, host.loaded.folder)
        protocol = functools.partial(TlsHandshake, tls) if tls else LimitedConnection
        super().__init__(
            uvicorn.Config(
                ProxyHeadersMiddleware(gateway, trusted_hosts=list(server.trusted_proxies))
                if server.trusted_proxies
                else gateway,
                loop="uvloop",
                http=functools.partial(protocol, self.connections),  # type: ignore[arg-type]  # it is only ever called
                lifespan="on",
                access_log=False,
                proxy_headers=False,
                log_config=None,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=int(CUT_SECONDS),
                **WEBSOCKETS,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        listen_to_loop(asyncio.get_running_loop(), host_log())
        files = open_files()
        if self.connections.fit(files):
            facts = {"max_connections": self.connections.most, "open_files": files}
            host_log().warning("fewer connections than configured: this process may not open as many files", **facts)
        await super().startup(sockets)
        if self.started:
            # What is there now stays, and requests make hardly a cycle: a tenth more requests a second (benchmarks).
            gc.collect()
            gc.freeze()
            gc.set_threshold(10_000, 20, 20)
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and see the last spans off."""
        await super().shutdown(sockets)
        if self._tracing:
            await asyncio.to_thread(self._tracing.close)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals ourselves: uvicorn would stop accepting at once and end with the signal."""
        loop = asyncio.get_running_loop()
        # A terminal that is closed ends what was started in it; without one, SIGHUP is the daemon's "read again".
        on_hangup = self.drain if sys.stderr.isatty() else self._reload
        signals = {signal.SIGTERM: self.drain, signal.SIGINT: self.drain, signal.SIGHUP: on_hangup}
        try:
            for number, handler in signals.items():
                loop.add_signal_handler(number, handler)
        except (RuntimeError, ValueError):  # not the main thread: whoever runs us there stops us by `drain`
            yield
            return
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def _reload(self) -> None:
        self._reloading = asyncio.get_running_loop().create_task(self._host.key_ring.reload())

    def drain(self) -> None:
        """Begin to stop; the second time stop at once."""
        if self._host.draining:
            self.should_exit = True
            return
        self._host.draining = True
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._requests.empty.wait(), self._host.config.server.drain_seconds)
        self.should_exit = True


def run(host_of: Callable[[], ModelHost], sock: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until told to stop. `host_of` makes the host on the event loop that will run it."""

    async def main() -> None:
        await HostServer(host_of(), on_ready).serve(sockets=[sock])

    import uvloop

    uvloop.run(main())
