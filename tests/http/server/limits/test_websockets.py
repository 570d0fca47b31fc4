"""The connection guard after an upgrade: a flood costs the host next to nothing, and whoever reads nothing is ended."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from fake_plugins import fake_plugin
from guarded import MODELS, Inside
from modelhost.http.routing.websocket import PATIENCE
from raw_client import Client, handshake
from serving import Serve, Served, eventually
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.sync.client import connect
from websockets.uri import parse_uri

pytestmark = pytest.mark.hostile

MOST = 2 * 2**20
"""Bytes that a client which reads nothing may cost the host."""

PARROT = """
from modelhost import hookimpl


class Parrot:
    @hookimpl
    def app(self):
        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({**message, "type": "websocket.send"})

        return application
"""


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


GENERATE, LISTEN, SPEAK, REPEAT = "/v1/generate_ws?model=echo", "/ws/stt?model=echo", "/ws/tts?model=echo", "/x/parrot"
FLOODS = {
    "pings": (GENERATE, b"", frame(Opcode.PING, b"p" * 125)),
    "empty pings": (LISTEN, b"", frame(Opcode.PING)),
    "pongs": (SPEAK, b"", frame(Opcode.PONG)),
    "fragments of nothing": (REPEAT, frame(Opcode.TEXT, fin=False), frame(Opcode.CONT, fin=False)),
    "fragments of a byte": (GENERATE, frame(Opcode.BINARY, fin=False), frame(Opcode.CONT, b"x", fin=False)),
    "texts": (LISTEN, b"", frame(Opcode.TEXT, b"x")),
    "binaries": (SPEAK, b"", frame(Opcode.BINARY)),
    "prompts": (REPEAT, b"", frame(Opcode.TEXT, b'{"prompt": "%s", "model": "echo"}' % (b"word " * 100))),
    "messages of a MiB": (REPEAT, b"", frame(Opcode.BINARY, bytes(2**20))),
    "texts of a MiB": (REPEAT, b"", frame(Opcode.TEXT, b"x" * 2**20)),
}
"""Where a flood goes, what begins it, and what it is made of."""
TOO_OVER_TLS = ("pings", "texts", "messages of a MiB", "texts of a MiB")
"""What is answered; the others are the same as over TCP."""


@pytest.fixture(scope="module", params=["plain", "tls"])
def host(request: pytest.FixtureRequest, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A host with an extension's application, over TCP and over TLS; it has nothing to say about what is done to it."""
    folder = tmp_path_factory.mktemp("site")
    fake_plugin(folder, "parrot", PARROT, target="Parrot", group="modelhost.extensions")
    server = "write_timeout = 1\n"
    if request.param == "tls":
        trustme.CA().issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "pem")
        server += f"tls_cert = '{folder / 'pem'}'\ntls_key = '{folder / 'pem'}'\n"
    # What is freed goes back to the system at once: counted is what lives, and not what the C library keeps for later.
    env = {"PYTHONPATH": str(folder), "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    served = serve(f"[server]\n{server}{MODELS}", env=env)
    served.client = httpx.Client(base_url=served.url, timeout=30, trust_env=False, verify=False)
    served.chat("echo").raise_for_status()
    with open_line(served, GENERATE) as line:
        flood(line, "pings")  # so that nothing is counted below that the process needs once
    yield served
    assert [line for line in served.log if '"level":"error"' in line or not line.startswith(("{", "modelhost"))] == []


def open_line(host: Served, path: str) -> socket.socket:
    """A WebSocket whose client takes as little as it can."""
    client = Client(host.url, receives=4096)
    line = client.socket
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    if host.url.startswith("https"):
        line = ssl._create_unverified_context().wrap_socket(line, server_hostname="localhost")
    line.sendall(handshake(path))
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += line.recv(1)
    assert b" 101 " in said
    return line


FLOOD = 32 * 2**20
"""Bytes: more than the system's buffers on both sides of a line hold, which grow up to 10 MiB."""


def flood(line: socket.socket, kind: str, *, most: int = FLOOD) -> int:
    """Send until nobody takes it; returns how many bytes went out."""
    _, begins, goes_on = FLOODS[kind]
    sending = goes_on * (65536 // len(goes_on) + 1)
    line.settimeout(0.3)
    gone = 0
    with contextlib.suppress(OSError):
        line.sendall(begins)
        while gone < most:
            line.sendall(sending)
            gone += len(sending)
    return gone


def rss(host: Served) -> int:
    return int(Path(f"/proc/{host.process.pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_costs_the_host_next_to_nothing(host: Served, kind: str) -> None:
    if host.url.startswith("https") and kind not in TOO_OVER_TLS:
        return
    path = FLOODS[kind][0]
    costs = []
    while not costs or (costs[-1] >= MOST and len(costs) < 3):  # the first may make the process keep what any other would need
        with open_line(host, path) as line:
            before = rss(host)
            sent = flood(line, kind)
            costs.append(rss(host) - before)
            assert host.client.get("/livez").status_code == 200
        assert sent < FLOOD or kind == "pongs", "what nobody answers fills the system's buffers and no more"
    assert costs[-1] < MOST


@pytest.mark.parametrize("path", ["/v1/generate_ws?model=echo", "/ws/stt", "/x/parrot"])
def test_whoever_takes_nothing_of_the_answers_is_ended(host: Served, path: str) -> None:
    with open_line(host, path) as line:
        flood(line, "pings")
        line.settimeout(20)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:  # until that fails; if nobody ended the line, this would be a TimeoutError
                line.sendall(FLOODS["pings"][-1] * 1000)


def test_what_is_sent_after_our_close_is_read_as_far_as_it_was_under_way(host: Served) -> None:
    with open_line(host, LISTEN) as line:
        line.sendall(frame(Opcode.TEXT, b"x") * PATIENCE)
        while b"too many bad messages" not in line.recv(4096):
            pass
        assert flood(line, "messages of a MiB", most=2 * FLOOD) < 2 * FLOOD


@pytest.mark.parametrize("path", [GENERATE, LISTEN, SPEAK])
def test_who_asks_and_leaves_at_once_is_no_line_in_the_log_but_the_requests(host: Served, path: str) -> None:
    said = len(host.log)
    asked = frame(Opcode.TEXT, b'{"type": "%s"}' % (b"cancel" if path == GENERATE else b"end"))
    with open_line(host, path) as line:
        line.sendall(asked * 20 + frame(Opcode.CLOSE, b"\x03\xe8"))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while line.recv(4096):
                pass
    eventually(lambda: len(host.log) > said)
    host.client.get("/livez")
    assert all('"event":"request"' in line for line in host.log[said:])


def test_text_that_is_no_utf8_ends_the_line_without_a_word_in_the_log(host: Served) -> None:
    said = len(host.log)
    for data in (b"\xff\xfe", b"\xf0\x9f\x98", b"x" * 70_000 + b"\xc3", b"\xed\xa0\x80"):
        with open_line(host, "/v1/generate_ws") as line:
            line.sendall(frame(Opcode.TEXT, data))
            assert line.recv(4) == b"\x88\x16\x03\xef", "1007"
    host.client.get("/livez")
    assert all('"event":"request"' in line for line in host.log[said:])


def test_text_in_fragments_cut_within_a_character_is_one_message(host: Served) -> None:
    words = "grüß €uch 😀".encode()
    with open_line(host, "/x/parrot") as line:
        line.sendall(frame(Opcode.TEXT, words[:3], fin=False))
        for byte in words[3:-1]:
            line.sendall(frame(Opcode.CONT, bytes([byte]), fin=False) + frame(Opcode.PING, b"?"))
        line.sendall(frame(Opcode.CONT, words[-1:]))
        said = b""
        while not said.endswith(words):
            said += line.recv(100)
    assert said.count(b"\x8a\x01?") == len(words) - 4


def test_a_megabyte_comes_whole_and_in_order(host: Served) -> None:
    data = bytes(range(256)) * 4000
    url = host.url.replace("http", "ws", 1)
    unverified = ssl._create_unverified_context() if url.startswith("wss") else None
    with connect(f"{url}/x/parrot", proxy=None, max_size=None, ssl=unverified) as line:
        for number in range(8):
            line.send(bytes([number]) + data)
        assert [line.recv() == bytes([number]) + data for number in range(8)] == [True] * 8
        line.ping().wait(5)


def test_a_long_text_comes_whole_whatever_its_characters_take(host: Served) -> None:
    text = "grüß €uch 😀" * 50_000
    url = host.url.replace("http", "ws", 1)
    unverified = ssl._create_unverified_context() if url.startswith("wss") else None
    with connect(f"{url}/x/parrot", proxy=None, max_size=None, ssl=unverified) as line:
        assert line.protocol.extensions == [], "a kilobyte that unfolds to a megabyte is not taken"
        line.send(text)
        line.ping().wait(5)
        assert line.recv() == text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Sec-WebSocket-Version: 13\r\n", 400),
        ("Sec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n", 400),
        (f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX: {'y' * 9000}\r\n", 431),
    ],
)
def test_a_handshake_that_is_none_is_refused_in_the_envelope(headers: str, status: int) -> None:
    with Inside() as inside, Client(inside.url) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n{headers}\r\n".encode())
        got, answered, body = client.answer()
        assert (got, answered["content-type"], answered["connection"]) == (status, "application/json", "close")
        assert b'"error":{"message":' in body
        assert client.ended()


def test_what_is_sent_right_behind_the_handshake_is_heard() -> None:
    with Inside() as inside, Client(inside.url) as client:
        client.send(handshake("/") + frame(Opcode.TEXT, b"early"))
        while not client._read.endswith(b"\x81\x05early"):
            client._more()
        assert client._read.startswith(b"HTTP/1.1 101 ")


class Hasty(Inside):
    """Gives up a long message while the client does not read, and says something else."""

    def __init__(self) -> None:
        super().__init__()
        self.gave_up = threading.Event()

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            async with asyncio.timeout(0.1):
                await send({"type": "websocket.send", "bytes": bytes(LONG)})
        except TimeoutError:
            self.gave_up.set()
        await send({"type": "websocket.send", "text": "after"})
        await receive()


LONG = 16 * 2**20
"""Bytes: more than the system's buffers on both sides of a line hold."""


def test_a_long_message_that_is_given_up_midway_comes_whole_all_the_same() -> None:
    inside = Hasty()
    with inside, Client(inside.url) as client:
        client.send(handshake("/"))
        assert inside.gave_up.wait(10)
        while not client._read.endswith(b"\x81\x05after"):
            client._more()
    reader = ClientProtocol(parse_uri("ws://localhost/"), max_size=None, state=State.OPEN)
    reader.receive_data(client._read.partition(b"\r\n\r\n")[2])
    frames: list[Any] = reader.events_received()
    assert [frame.fin for frame in frames] == [False] * (len(frames) - 2) + [True] * 2
    assert sum(len(frame.data) for frame in frames[:-1]) == LONG
