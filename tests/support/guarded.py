"""What stands behind the connection guard in its tests: hosts, a server in this process, and connections that only pretend."""

import asyncio
import functools
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvicorn
from modelhost.config import ServerConfig
from modelhost.http.server.limits import Connections, LimitedConnection
from serving import Serve, Served, eventually
from uvicorn.server import ServerState

MODELS = """
[models.echo]
plugin = "echo"
run = "inline"

[models.slow]
plugin = "echo"
options = { pace = 4 }

[models.torrent]
plugin = "echo"
"""

Hosts = Callable[..., Served]
"""What the fixture `hosts` is: takes settings of the server, gives the host that has them."""


@pytest.fixture(scope="module")
def hosts(serve: Serve) -> Iterator[Hosts]:
    """Hosts by their settings; after all that was done to them they have nothing to say about it."""
    made = functools.cache(lambda server: serve(f"[server]\n{server}{MODELS}"))
    seen: list[Served] = []

    def host(server: str = "") -> Served:
        seen.append(made(server))
        return seen[-1]

    yield host
    for one in seen:
        one.client.get("/livez")
        assert [line for line in one.log if re.search(r"Traceback|[Ee]xception|error|WARNING|warning", line)] == []


class Inside:
    """A server in this process, with an application that answers with what it was asked."""

    def __init__(self, **server: Any) -> None:
        self.connections = Connections(ServerConfig(**server))
        guarded: Any = functools.partial(LimitedConnection, self.connections)
        config = uvicorn.Config(
            self.answer,
            port=0,
            loop="uvloop",
            http=guarded,
            ws="websockets-sansio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
        )
        sock = config.bind_socket()
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [sock]})

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
        elif scope["type"] == "http":
            await echo(scope, receive, send)

    def __enter__(self) -> "Inside":
        self._thread.start()
        eventually(lambda: self._server.started)
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the method, the path, the headers and the body."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    said = repr((scope["method"], scope["path"], scope["headers"], body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(said)).encode())]})
    await send({"type": "http.response.body", "body": said})


class Pretended(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.paused = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Watched:
    """A connection of which the test says what time it is."""

    def __init__(self, *pieces: bytes, among: Connections | None = None) -> None:
        self.transport = Pretended()
        guard = among or Connections(ServerConfig())
        self.connection = LimitedConnection(guard, uvicorn.Config(idle, log_config=None), ServerState(), {})
        self.connection.connection_made(self.transport)
        for piece in pieces:
            self.connection.data_received(piece)
        self.now = asyncio.get_running_loop().time()

    def seconds_until_closed(self, most: int) -> int:
        """Let time pass until it is closed; returns how many seconds that took."""
        for second in range(most):
            if self.transport.closed:
                return second
            self.now += 1
            self.connection.look(self.now, 1)
        return most

    def end(self) -> None:
        self.connection.connection_lost(None)


async def idle(scope: Any, receive: Any, send: Any) -> None:
    """Never read, never answer."""
    await asyncio.Event().wait()


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an asynchronous test."""
    return lambda: asyncio.run(test())
