"""Runs the application on uvicorn: binds, serves, and on SIGTERM finishes what is running before it ends."""

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from modelhost.config import ServerConfig
from modelhost.errors import ConfigError
from modelhost.host import ModelHost
from modelhost.http.app import make_app
from modelhost.http.gate import Gate

CUT_SECONDS = 1.0
"""What connections get to close once their requests have been cut."""


def bind(config: ServerConfig) -> socket.socket:
    """Take the port. Raises `ConfigError` when that cannot be, or must not be."""
    if not is_loopback(config.host) and not config.allow_unauthenticated:
        raise ConfigError(
            f"server.host = {config.host!r} lets others use the models without a key; "
            "set allow_unauthenticated = true if that is meant, or listen on 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((config.host, config.port))
        # Listening at once makes a second host on the port fail here, and lets early clients wait rather than fail.
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror}; "
            "another host may be running there, or choose another with --port"
        ) from None
    return sock


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only; a name other than `localhost` may lead anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(sock: socket.socket) -> str:
    """Give the base URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HostServer(uvicorn.Server):
    """uvicorn with our way of stopping: new requests are refused, running ones finish or are cut, the exit is clean."""

    def __init__(self, host: ModelHost, on_ready: Callable[[], None]) -> None:
        self._host = host
        self._on_ready = on_ready
        self.gate = Gate(make_app(host), host)
        super().__init__(
            uvicorn.Config(
                self.gate,
                loop="uvloop",
                http="httptools",
                lifespan="on",
                access_log=False,
                proxy_headers=False,
                log_config=None,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=int(CUT_SECONDS),
                ws_max_size=1024 * 1024,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            # What is there now stays, and requests make hardly a cycle: a tenth more requests a second (benchmarks).
            gc.collect()
            gc.freeze()
            gc.set_threshold(10_000, 20, 20)
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals ourselves: uvicorn would stop accepting at once and end with the signal."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        try:
            for number in signals:
                loop.add_signal_handler(number, self.drain)
        except (RuntimeError, ValueError):  # not the main thread: whoever runs us there stops us by `drain`
            yield
            return
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def drain(self) -> None:
        """Begin to stop; the second time stop at once."""
        if self._host.draining:
            self.should_exit = True
            return
        self._host.draining = True
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gate.empty.wait(), self._host.config.server.drain_seconds)
        self.should_exit = True


def run(host_of: Callable[[], ModelHost], sock: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until told to stop. `host_of` makes the host on the event loop that will run it."""

    async def main() -> None:
        await HostServer(host_of(), on_ready).serve(sockets=[sock])

    import uvloop

    uvloop.run(main())
