"""The connection guard and crowds: who makes room for whom, and that the others do not notice."""

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from guarded import Hosts, Inside, Pretended, Watched, echo, hosts as hosts, in_a_loop
from modelhost.config import ServerConfig
from modelhost.http.server.limits import FAST, Connections, LimitedConnection
from raw_client import GET, Client, chat
from serving import Served, eventually
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

pytestmark = pytest.mark.hostile
CROWDED = "max_connections = 12\nmax_connections_per_address = 8\n"


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
        if sent == chat():
            assert waiting[0].ended(), "between two requests nothing is said"
        else:
            assert waiting[0].error() == (503, "overloaded")
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


def test_a_fast_client_is_served_while_three_hundred_slow_ones_hold_connections(hosts: Hosts) -> None:
    host = hosts("")
    with contextlib.ExitStack() as stack:
        for n in range(300):
            stack.enter_context(Client(host.url, source="127.0.0.2")).send((b"", GET, chat()[:-3])[n % 3])
            if n % 10 == 0:
                began = time.monotonic()
                with Client(host.url, source=random.choice(["127.0.0.1", "127.0.0.2"])) as fast:
                    assert fast.send(chat()).said() == "hello"
                assert time.monotonic() - began < 5, "less than the ten seconds that a slow one may take"


# What can be seen only from inside.


@pytest.fixture
def inside() -> Iterator[Inside]:
    with Inside(header_timeout=0.4, max_connections=5) as server:
        yield server


def test_a_websocket_is_counted_until_it_is_lost_and_is_not_closed_while_others_of_its_address_only_connect(
    inside: Inside,
) -> None:
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


@in_a_loop
async def test_who_sends_a_body_fast_is_not_closed_for_a_newcomer() -> None:
    among = Connections(ServerConfig(max_connections=3))
    slow, fast, newcomer = b"x" * 1000, b"x" * 2 * FAST, GET + b"\r\n"
    for sent, dropped in ((slow, "busy"), (fast, "idle")):
        crowd = {
            "busy": Watched(b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n", among=among),
            "idle": Watched(among=among),
            "other": Watched(among=among),
        }
        crowd["busy"].connection.data_received(sent)
        crowd["busy"].seconds_until_closed(1)
        crowd["new"] = Watched(newcomer, among=among)
        assert [name for name, watched in crowd.items() if watched.transport.closed] == [dropped]
        for watched in crowd.values():
            watched.end()


def test_an_ipv6_network_counts_as_one_address_and_exempt_ones_have_no_limit() -> None:
    async def count(addresses: list[str], **more: Any) -> int:
        connections = Connections(ServerConfig(max_connections_per_address=3), **more)
        for address in addresses:
            protocol = LimitedConnection(connections, uvicorn.Config(echo, log_config=None), ServerState(), {})
            protocol.client = None
            protocol.transport = Pretended()
            protocol.flow = FlowControl(protocol.transport)
            connections.take(protocol, address)
            connections.waits(protocol)
        return connections.open

    assert asyncio.run(count([f"2001:db8::{n:x}" for n in range(9)])) == 3
    assert asyncio.run(count([f"2001:db8:0:{n:x}::1" for n in range(9)])) == 9
    assert asyncio.run(count([f"::ffff:10.0.0.{n}" for n in range(9)])) == 9
    assert asyncio.run(count(["10.0.0.1"] * 9)) == 3
    assert asyncio.run(count(["10.0.0.1"] * 9, exempt=lambda address: address == "10.0.0.1")) == 9
