"""The connection guard over real sockets: what slow, greedy and broken clients get, and that others do not notice them."""

import asyncio
import contextlib
import functools
import itertools
import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from modelhost.config import ServerConfig
from modelhost.http.guard import FAST, MAX_HEAD, MAX_PIPELINED, Connections, GuardedConnection
from serving import Serve, Served, eventually
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

pytestmark = pytest.mark.hostile

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
HASTY = "header_timeout = 0.3\nidle_timeout = 0.6\nwrite_timeout = 0.8\n"
CROWDED = "max_connections = 12\nmax_connections_per_address = 8\n"


class Client:
    """A client that says exactly what it is told to."""

    def __init__(self, url: str, *, source: str = "127.0.0.1", receives: int = 0) -> None:
        self.socket = socket.socket()
        if receives:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(10)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        self._read = b""

    def send(self, *pieces: bytes) -> "Client":
        """Send bytes, as long as somebody takes them."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.socket.sendall(piece)
        return self

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._read += data

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer that says how long it is."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(self._read) < int(headers["content-length"]):
            self._more()
        body, self._read = self._read[: int(headers["content-length"])], self._read[int(headers["content-length"]) :]
        return int(status.split()[1]), headers, body

    def error(self) -> tuple[int, str]:
        """Read an answer that must be OpenAI's envelope and the last one; gives its status and its code."""
        status, headers, body = self.answer()
        assert (headers["content-type"], headers["connection"]) == ("application/json", "close")
        error = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert self.ended()
        return status, error["code"]

    def said(self) -> str:
        """Read the answer of a chat."""
        status, _, body = self.answer()
        assert status == 200, body
        return str(json.loads(body)["choices"][0]["message"]["content"]).strip()

    def ended(self) -> bool:
        """Whether nothing more comes but the end."""
        try:
            return not self._read and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *raised: object) -> None:
        self.socket.close()


def chat(text: str = "hello", model: str = "echo", *, headers: str = "", **settings: Any) -> bytes:
    """A whole request."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **settings}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def hosts(serve: Serve) -> Iterator[Callable[[str], Served]]:
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


Hosts = Callable[..., Served]


@pytest.fixture
def hasty(hosts: Hosts) -> Served:
    return hosts(HASTY)


@pytest.fixture
def host(hosts: Hosts) -> Served:
    return hosts("")


# Time.


@pytest.mark.parametrize("sent", [b"G", GET, b"GET /" + b"x" * 100, GET + b"x-a: b"])
def test_headers_that_do_not_come_to_an_end_are_refused_in_time(hasty: Served, sent: bytes) -> None:
    with Client(hasty.url) as client:
        began = time.monotonic()
        assert client.send(sent).error() == (408, "request_timeout")
        assert 0.25 < time.monotonic() - began < 3


def test_headers_that_come_byte_by_byte_are_refused_in_time(hasty: Served) -> None:
    with Client(hasty.url) as client:
        client.socket.settimeout(0.05)
        began = time.monotonic()
        client.send(b"GET /")
        while time.monotonic() - began < 5:
            client.send(b"x")
            with contextlib.suppress(TimeoutError):
                client._more()
                break
        client.socket.settimeout(10)
        assert client.error() == (408, "request_timeout")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
def test_who_says_nothing_is_told_nothing(hasty: Served, sent: bytes) -> None:
    with Client(hasty.url) as client:
        assert client.send(sent).ended()


def test_a_connection_without_a_request_is_closed_but_not_before_its_time(hasty: Served) -> None:
    with Client(hasty.url) as client:
        client.send(chat()).said()
        began = time.monotonic()
        assert client.ended()
        assert 0.55 < time.monotonic() - began < 3


def test_headers_of_a_later_request_have_a_deadline_too(hasty: Served) -> None:
    with Client(hasty.url) as client:
        client.send(chat()).said()
        assert client.send(GET).error() == (408, "request_timeout")


@pytest.mark.parametrize("part", [b"", b"{", b'{"model": "echo"'])
def test_a_body_that_does_not_come_is_refused_in_time(hasty: Served, part: bytes) -> None:
    with Client(hasty.url) as client:
        began = time.monotonic()
        assert client.send(chat().partition(b"\r\n\r\n")[0], b"\r\n\r\n", part).error() == (408, "request_timeout")
        assert 0.25 < time.monotonic() - began < 3


def test_a_slow_request_is_not_taken_for_a_slow_client(hasty: Served) -> None:
    with Client(hasty.url) as client:
        assert client.send(chat("one two three", "slow")).said() == "one two three"


def test_the_work_for_a_client_that_does_not_read_is_cancelled(hasty: Served) -> None:
    with Client(hasty.url, receives=4096) as client:
        client.send(chat("word " * 400_000, "torrent", stream=True))
        eventually(lambda: hasty.worker("torrent").get("in_flight") == 1)
        eventually(lambda: hasty.worker("torrent").get("in_flight") == 0, seconds=8)
        seen = 0
        with contextlib.suppress(ConnectionError):
            while data := client.socket.recv(2**20):
                seen += len(data)
    assert seen < 400_000 * 100


# Size.


def many(n: int) -> bytes:
    return b"".join(b"x-%d: y\r\n" % i for i in range(n))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET + many(100) + b"\r\n", 431),
        (GET + many(3000) + b"\r\n", 431),
        (GET + b"x: " + b"y" * MAX_HEAD + b"\r\n\r\n", 431),
        (GET + b"x: " + b"y" * 2 * MAX_HEAD, 431),
        (GET + b"x" * 2 * MAX_HEAD, 431),
        (GET + b"".join(b"x%d: %s\r\n" % (i, b"y" * 1000) for i in range(90)) + b"\r\n", 431),
        (b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"x" * 2 * MAX_HEAD, 414),
        (b"\r\n" * MAX_HEAD, 431),
        (CHUNKED + b"3\r\nabc\r\n0\r\n" + b"x" * 8 * MAX_HEAD, 431),
        (CHUNKED + b"3\r\nabc\r\n0\r\n" + b"x: " + b"y" * 8 * MAX_HEAD, 431),
        (CHUNKED + b"3\r\nabc\r\n0\r\n" + many(60_000), 431),
        (CHUNKED + b"3;" + b"x" * 8 * MAX_HEAD, 431),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_too_large_is_refused_while_it_comes(host: Served, sent: bytes, status: int) -> None:
    with Client(host.url) as client:
        code = {431: "headers_too_large", 414: "url_too_long"}[status]
        assert client.send(sent).error() == (status, code)


def test_large_but_not_too_large_headers_are_taken(host: Served) -> None:
    with Client(host.url) as client:
        client.send(chat(headers="".join(f"x-{i}: {'y' * 650}\r\n" for i in range(96))))
        assert client.said() == "hello"


def test_trailers_are_read_over(host: Served) -> None:
    whole = chat("trailing").partition(b"\r\n\r\n")[2]
    with Client(host.url) as client:
        client.send(CHUNKED, b"%x\r\n%s\r\n0\r\nhost: elsewhere\r\nx: y\r\n\r\n" % (len(whole), whole))
        assert client.said() == "trailing"
        assert client.send(chat("next")).said() == "next"


def resident(host: Served) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{host.process.pid}/status").read_text())[0]) * 1024


@pytest.mark.parametrize("opening", [GET, GET + b"x: ", b"GET /", CHUNKED + b"1\r\na\r\n0\r\n", CHUNKED + b"1;", b"\r\n"])
def test_fifty_megabytes_of_what_does_not_end_are_not_kept(host: Served, opening: bytes) -> None:
    filler = b"\r\n" * 2**19 if opening == b"\r\n" else b"x" * 2**20
    host.client.get("/livez")
    before = resident(host)
    for _ in range(50):
        with Client(host.url) as client:
            assert client.send(opening, filler).error()[0] in (414, 431)
    assert resident(host) - before < 8 * 2**20


# Form.


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"GET / HTTP/1.1\nhost: x\n\n",
        b"GET http://localhost HTTP/1.1\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        GET + b"a : b\r\n\r\n",
        GET + b"a: b\r\n c\r\n\r\n",
        GET + b"a: b\x00\r\n\r\n",
        GET + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        GET + b"transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
        GET + b"content-length: 1\r\ncontent-length: 1\r\n\r\n",
        GET + b"content-length: +1\r\n\r\n",
        GET + b"transfer-encoding: chunked, identity\r\n\r\n",
        GET + b"transfer-encoding: identity\r\n\r\n",
        CHUNKED + b"3\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc0\r\n\r\n",
        CHUNKED + b"3\r\nabc\n0\r\n\r\n",
        CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nabc",
    ],
    ids=lambda value: str(value)[-40:],
)
def test_what_is_not_http_gets_the_envelope(host: Served, sent: bytes) -> None:
    with Client(host.url) as client:
        assert client.send(sent).error() == (400, "malformed_request")


def test_nothing_is_answered_after_connection_close(host: Served) -> None:
    with Client(host.url) as client:
        client.send(chat("first", headers="connection: close\r\n") + chat("second"))
        assert client.said() == "first"
        assert client.ended()


@pytest.mark.parametrize("wish", ["h2c", "websocket2", "TLS/1.0"])
def test_a_wish_for_another_protocol_is_read_over_and_the_body_stays_a_body(host: Served, wish: str) -> None:
    with Client(host.url) as client:
        head, _, body = chat("as ever", headers=f"connection: upgrade\r\nupgrade: {wish}\r\n").partition(b"\r\n\r\n")
        assert client.send(head + b"\r\n\r\n" + body).said() == "as ever"
        assert client.send(head + b"\r\n\r\n", body).said() == "as ever"
        assert client.send(chat("next")).said() == "next"


# Many requests on one connection.


def test_a_kept_connection_serves_one_request_after_the_other(host: Served) -> None:
    with Client(host.url) as client:
        assert [client.send(chat(f"n{n}")).said() for n in range(50)] == [f"n{n}" for n in range(50)]


def test_requests_sent_ahead_are_answered_in_order(host: Served) -> None:
    with Client(host.url) as client:
        client.send(chat("slow first", "slow") + b"".join(chat(f"n{n}") for n in range(MAX_PIPELINED)))
        assert [client.said() for _ in range(MAX_PIPELINED + 1)] == ["slow first", *(f"n{n}" for n in range(MAX_PIPELINED))]


def test_too_many_requests_sent_ahead_end_the_connection_after_those_that_were_taken(host: Served) -> None:
    with Client(host.url) as client:
        client.send(b"".join(chat(f"n{n}") for n in range(MAX_PIPELINED + 100)))
        assert [client.said() for _ in range(MAX_PIPELINED + 1)] == [f"n{n}" for n in range(MAX_PIPELINED + 1)]
        assert client.error() == (429, "rate_limit_exceeded")


@pytest.mark.parametrize("broken", [b"hello\r\n\r\n", GET + many(101), CHUNKED + b"3\r\nabcxx"])
def test_what_is_broken_behind_a_request_at_work_does_not_break_its_answer(host: Served, broken: bytes) -> None:
    with Client(host.url) as client:
        client.send(chat("whole", "slow") + broken)
        assert client.said() == "whole"
        assert client.error()[0] in (400, 431)


def test_all_work_of_a_client_that_leaves_is_cancelled_though_it_sent_ahead(host: Served) -> None:
    with Client(host.url) as client:
        client.send(chat("word " * 1000, "slow", stream=True) + chat("never", "slow"))
        eventually(lambda: host.worker("slow").get("in_flight") == 1)
    eventually(lambda: host.worker("slow").get("in_flight") == 0, seconds=5)


# Crowds.


@pytest.fixture
def crowded(hosts: Hosts) -> Iterator[Served]:
    """A host with room for 12, 8 of one address; nobody is there yet."""
    host = hosts(CROWDED)
    host.client.close()
    host.client = type(host.client)(base_url=host.url, timeout=30, trust_env=False, headers={"connection": "close"})
    eventually(lambda: connections_of(host) == 0)
    yield host
    eventually(lambda: connections_of(host) == 0)


def connections_of(host: Served) -> int:
    """How many established connections the host's process has on its port."""
    port = f"0100007F:{int(host.url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1] == port and row[3] in ("01", "08") for row in rows)


def at_work(host: Served, source: str) -> Client:
    """A client whose request is being answered."""
    client = Client(host.url, source=source).send(chat("word " * 1000, "slow", stream=True))
    client._more()
    return client


@pytest.mark.parametrize("sent", [b"", GET, chat()[:-5], chat()])
def test_a_newcomer_takes_the_place_of_who_has_waited_longest_at_its_address(crowded: Served, sent: bytes) -> None:
    with contextlib.ExitStack() as stack:
        waiting = []
        for n in range(8):
            waiting.append(stack.enter_context(Client(crowded.url)))
            waiting[n].send(sent)
            if sent == chat():
                waiting[n].said()
        elsewhere = stack.enter_context(Client(crowded.url, source="127.0.0.2")).send(chat())
        elsewhere.said()
        if sent and sent != chat():
            eventually(lambda: connections_of(crowded) == 9)
        newcomer = stack.enter_context(Client(crowded.url))
        assert newcomer.send(chat()).said() == "hello"
        assert waiting[0].ended()
        assert all(client.send(b"x").socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for client in waiting[1:])
        assert elsewhere.send(chat()).said() == "hello"


def test_a_newcomer_takes_the_place_of_who_has_waited_longest_of_all(crowded: Served) -> None:
    with contextlib.ExitStack() as stack:
        working = [stack.enter_context(at_work(crowded, "127.0.0.1")) for _ in range(8)]
        idle = []
        for _ in range(4):
            idle.append(stack.enter_context(Client(crowded.url, source="127.0.0.2")))
            idle[-1].send(chat()).said()
        newcomer = stack.enter_context(Client(crowded.url, source="127.0.0.3"))
        assert newcomer.send(chat()).said() == "hello"
        assert idle[0].ended()
        assert idle[1].send(chat()).said() == "hello"
        for client in working:
            client._more()


def test_where_all_are_at_work_a_newcomer_is_asked_to_come_again(crowded: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(at_work(crowded, "127.0.0.1"))
        newcomer = stack.enter_context(Client(crowded.url))
        status, headers, body = newcomer.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert json.loads(body)["error"]["code"] == "overloaded"
        assert newcomer.ended()
        with Client(crowded.url, source="127.0.0.2") as other:
            assert other.send(chat()).said() == "hello"


def test_a_fast_client_is_served_while_three_hundred_slow_ones_hold_connections(host: Served) -> None:
    with contextlib.ExitStack() as stack:
        for n in range(300):
            stack.enter_context(Client(host.url, source="127.0.0.2")).send((b"", GET, chat()[:-3])[n % 3])
            if n % 10 == 0:
                began = time.monotonic()
                with Client(host.url, source=random.choice(["127.0.0.1", "127.0.0.2"])) as fast:
                    assert fast.send(chat()).said() == "hello"
                assert time.monotonic() - began < 1


# What can be seen only from inside.


class Inside:
    """A server in this process, with an application that answers with what it was asked."""

    def __init__(self, **server: Any) -> None:
        self.connections = Connections(ServerConfig(**server))
        guarded: Any = functools.partial(GuardedConnection, self.connections)
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


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    with Inside(header_timeout=0.4, idle_timeout=0.4, write_timeout=0.4, max_connections=5) as server:
        yield server


def test_a_body_of_the_least_speed_is_taken_and_one_below_is_not(inside: Inside) -> None:
    def send_at(rate: int) -> int:
        with Client(inside.url) as client:
            client.send(b"POST / HTTP/1.1\r\ncontent-length: 1500\r\n\r\n")
            client.socket.settimeout(100 / rate)
            for _ in range(15):
                client.send(b"x" * 100)
                with contextlib.suppress(TimeoutError):
                    client._more()
                    break
            client.socket.settimeout(10)
            return client.answer()[0]

    assert send_at(2000) == 200
    assert send_at(500) == 408


def test_who_sends_a_body_fast_is_not_closed_for_a_newcomer() -> None:
    with Inside(max_connections=3) as server, contextlib.ExitStack() as stack:
        busy = stack.enter_context(Client(server.url))
        busy.send(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (60 * (FAST // 20)))
        idle = [stack.enter_context(Client(server.url)) for _ in range(2)]
        for n in range(60):
            busy.send(b"x" * (FAST // 20))
            if n == 50:
                newcomer = stack.enter_context(Client(server.url))
                assert newcomer.send(GET, b"\r\n").answer()[0] == 200
            time.sleep(0.02)
        assert busy.answer()[0] == 200
        assert idle[0].ended()


def test_a_websocket_is_counted_until_it_is_lost_and_is_never_closed_for_others(inside: Inside) -> None:
    eventually(lambda: inside.connections.open == 0)
    with connect(inside.url.replace("http", "ws"), proxy=None) as socket_:
        socket_.send("before")
        assert socket_.recv() == "before"
        crowd = [Client(inside.url) for _ in range(8)]
        eventually(lambda: inside.connections.open == 1, seconds=5)
        socket_.send("after")
        assert socket_.recv() == "after"
        for client in crowd:
            client.socket.close()
    with pytest.raises(ConnectionClosed):
        socket_.recv()
    eventually(lambda: inside.connections.open == 0)


def test_every_refusal_is_counted_by_its_reason_and_the_reasons_are_fixed(inside: Inside) -> None:
    before = dict(inside.connections.refused)
    with Client(inside.url) as broken, Client(inside.url) as silent, Client(inside.url) as late:
        late.send(GET)
        broken.send(b"nonsense\r\n\r\n").error()
        silent.ended()
        late.error()
    after = inside.connections.refused
    assert {reason: after[reason] - before[reason] for reason in after if after[reason] != before[reason]} == {
        "malformed": 1,
        "silent": 1,
        "late_headers": 1,
    }
    assert set(after) == set(before)


# Any bytes, in any pieces.


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

    def get_write_buffer_size(self) -> int:
        return self.unsent


def answers_to(pieces: list[bytes]) -> tuple[bytes, bool]:
    """What a server of one connection says to bytes that come in pieces, and whether it closes."""

    async def serve() -> tuple[bytes, bool]:
        connections = Connections(ServerConfig())
        state = ServerState()
        protocol = GuardedConnection(connections, uvicorn.Config(echo, log_config=None), state, {})
        transport = Pretended()
        protocol.connection_made(transport)
        for piece in pieces:
            for _ in range(200):
                if not transport.paused:
                    break
                await asyncio.sleep(0)
            if not transport.closed:
                protocol.data_received(piece)
        for _ in range(300):
            await asyncio.sleep(0)
            if not state.tasks:
                break
        closed = transport.closed
        protocol.connection_lost(None)
        await asyncio.gather(*state.tasks)
        assert connections.open == 0
        return transport.written, closed

    return asyncio.run(serve())


VALID = [
    chat("one"),
    GET + b"\r\n",
    CHUNKED + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx: y\r\n\r\n",
    chat("two", headers="connection: upgrade\r\nupgrade: h2c\r\n"),
    b"\r\nHEAD /x?y=%20 HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
    chat("three"),
]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % len(data) for place in at)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@settings(max_examples=80)
@given(st.lists(st.sampled_from(VALID), min_size=1, max_size=8), st.lists(st.integers(0, 10_000), max_size=30))
def test_wherever_requests_are_cut_the_answers_are_the_same(requests: list[bytes], at: list[int]) -> None:
    whole, closed = answers_to(requests)
    assert whole.count(b"HTTP/1.1 200 OK") == len(requests)
    assert not closed
    assert answers_to(cut(b"".join(requests), at)) == (whole, closed)


@settings(max_examples=150)
@given(
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from(VALID), st.sampled_from([GET, CHUNKED, b"\r\n", b"0\r\n\r\n"])))
)
def test_any_bytes_get_whole_answers_or_the_end(pieces: list[bytes]) -> None:
    written, closed = answers_to(pieces)
    if not written.endswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
        assert written == b"" or written.startswith(b"HTTP/1.1 ")
    if b"\r\nconnection: close\r\n" in written:
        assert closed


class Watched:
    """A connection of which the test says what time it is."""

    def __init__(self, *pieces: bytes) -> None:
        self.transport = Pretended()
        self.connection = GuardedConnection(Connections(ServerConfig()), uvicorn.Config(idle, log_config=None), ServerState(), {})
        self.connection.connection_made(self.transport)
        for piece in pieces:
            self.connection.data_received(piece)
        self.now = asyncio.get_running_loop().time()

    def seconds_until_closed(self, most: int) -> int:
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


@in_a_loop
async def test_time_in_which_we_do_not_read_is_not_the_clients() -> None:
    watched = Watched(b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n", b"x" * 100_000)
    assert watched.transport.paused
    assert watched.seconds_until_closed(1000) == 1000
    watched.connection.flow.resume_reading()
    assert 25 < watched.seconds_until_closed(1000) < 35
    watched.end()


@in_a_loop
async def test_who_takes_a_long_answer_slowly_is_waited_for_and_who_takes_none_of_it_is_not() -> None:
    watched = Watched(GET + b"\r\n")
    watched.transport.unsent = 2_000_000
    watched.connection.pause_writing()
    for _ in range(300):
        watched.transport.unsent -= 5_000
        assert watched.seconds_until_closed(1) == 1
    assert 25 < watched.seconds_until_closed(1000) < 35
    assert watched.connection._guard.refused["unread"] == 1
    watched.end()


def test_an_ipv6_network_counts_as_one_address_and_exempt_ones_have_no_limit() -> None:
    async def count(addresses: list[str], **more: Any) -> int:
        connections = Connections(ServerConfig(max_connections_per_address=3), **more)
        for address in addresses:
            protocol = GuardedConnection(connections, uvicorn.Config(echo, log_config=None), ServerState(), {})
            protocol.client = None
            protocol.transport = Pretended()
            assert connections.take(protocol, address)
            connections.waits(protocol)
        return connections.open

    assert asyncio.run(count([f"2001:db8::{n:x}" for n in range(9)])) == 3
    assert asyncio.run(count([f"2001:db8:0:{n:x}::1" for n in range(9)])) == 9
    assert asyncio.run(count([f"::ffff:10.0.0.{n}" for n in range(9)])) == 9
    assert asyncio.run(count(["10.0.0.1"] * 9)) == 3
    assert asyncio.run(count(["10.0.0.1"] * 9, exempt=lambda address: address == "10.0.0.1")) == 9
