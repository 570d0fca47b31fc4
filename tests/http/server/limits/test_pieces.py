"""The connection guard and any bytes, in any pieces."""

import asyncio
import itertools

import pytest
import uvicorn
from guarded import Pretended, echo
from hypothesis import given, settings, strategies as st
from modelhost.config import ServerConfig
from modelhost.http.server.limits import Connections, LimitedConnection
from raw_client import CHUNKED, GET, chat
from uvicorn.server import ServerState

pytestmark = pytest.mark.hostile


def answers_to(pieces: list[bytes]) -> tuple[bytes, bool]:
    """What a server of one connection says to bytes that come in pieces, and whether it closes."""

    async def serve() -> tuple[bytes, bool]:
        connections = Connections(ServerConfig())
        state = ServerState()
        protocol = LimitedConnection(connections, uvicorn.Config(echo, log_config=None), state, {})
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
