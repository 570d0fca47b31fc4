"""The connection guard and shares: no key and no address keeps others out, and whether the host lives can always be asked."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from guarded import Watched, in_a_loop
from modelhost.config import ServerConfig
from modelhost.contract.errors import OverloadedError, OverQuotaError
from modelhost.http.server.limits import Connections
from raw_client import GET, Client, chat, handshake
from serving import Serve, Served, eventually

pytestmark = pytest.mark.hostile

KEYS = {name: f"the-key-of-{name}-0123456789" for name in ("greedy", "modest")}
CONFIG = """
[server]
max_connections = 40
max_connections_per_address = 20

[models.echo]
plugin = "echo"
run = "inline"

[models.slow]
plugin = "echo"
options = { delay = 30 }
""" + "".join(f'\n[keys.{name}]\nkey = "{key}"\nscopes = ["inference", "admin"]\n' for name, key in KEYS.items())


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    host.client.headers.update({"authorization": f"Bearer {KEYS['modest']}", "connection": "close"})
    return host


@pytest.fixture(autouse=True)
def nobody_else_is_there(request: pytest.FixtureRequest) -> None:
    """Wait until what the test before began has been given up."""
    if "host" in request.fixturenames:
        client = request.getfixturevalue("host").client
        eventually(lambda: len(client.get("/v1/requests").json()["data"]) <= 1)


def bearer(name: str) -> str:
    return f"authorization: Bearer {KEYS[name]}\r\n"


@contextlib.contextmanager
def lines(host: Served, number: int, *, sources: int = 1) -> Iterator[list[Client]]:
    """WebSockets of the greedy key that are open and at rest."""
    with contextlib.ExitStack() as stack:
        opened = []
        for n in range(number):
            client = stack.enter_context(Client(host.url, source=f"127.0.0.{2 + n % sources}"))
            client.send(handshake("/v1/generate_ws?model=echo", bearer("greedy")))
            while b"\r\n\r\n" not in client._read:
                client._more()
            opened.append(client)
        yield opened


def alive(host: Served, source: str) -> bool:
    with Client(host.url, source=source) as client:
        return client.send(GET + b"connection: close\r\n\r\n").answer()[0] == 200


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.3", "127.0.0.9"])
def test_lines_at_rest_of_one_key_give_way_to_another_key(host: Served, source: str) -> None:
    with lines(host, 40, sources=2) as opened:
        for _ in range(3):
            assert alive(host, source)
            with Client(host.url, source=source) as other:
                assert other.send(chat(headers=bearer("modest"))).said() == "hello"
        parted = [client for client in opened[:6] if client._read.endswith(b"\r\n\r\n") and _parted(client)]
        assert parted, "those that have rested longest"
        assert opened[-1].send(b"\x89\x80\0\0\0\0").socket.recv(2) == b"\x8a\x00", "and no others"


def _parted(client: Client) -> bool:
    client.socket.settimeout(0.2)
    with contextlib.suppress(TimeoutError, ConnectionError):
        head = client.socket.recv(100)
        return head[:1] == b"\x88" and head[2:4] == (1013).to_bytes(2, "big")
    return False


def test_a_thousand_at_work_of_one_key_are_its_share_and_no_more(host: Served) -> None:
    with contextlib.ExitStack() as stack:
        working = []
        for n in range(30):
            client = stack.enter_context(Client(host.url, source=f"127.0.0.{2 + n % 2}"))
            working.append(client.send(chat("x", "slow", headers=bearer("greedy"))))
        refused = [client.answer()[0] for client in working[20:]]
        assert refused == [429] * 10
        assert host.chat("echo").status_code == 200
        with Client(host.url, source="127.0.0.2") as other:
            assert other.send(chat(headers=bearer("modest"))).said() == "hello"


def test_a_line_takes_part_in_its_keys_share_only_while_a_model_is_at_work_for_it(host: Served) -> None:
    with lines(host, 25, sources=2) as opened:
        prompt = b'{"prompt": "x", "model": "slow"}'
        frame = bytes([0x81, 0x80 | len(prompt)]) + bytes(4) + prompt
        for client in opened:
            client.send(frame)
        eventually(lambda: sum(b"rate_limit_exceeded" in said(client) for client in opened[15:]) == 5)


def said(client: Client) -> bytes:
    client.socket.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        client._more()
    return client._read


def test_where_all_are_at_work_it_can_be_asked_whether_the_host_lives(serve: Serve) -> None:
    host = serve('[server]\nmax_connections = 3\n[models.slow]\nplugin = "echo"\noptions = { delay = 30 }\n')
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Client(host.url)).send(chat("x", "slow"))
        eventually(lambda: answers(host.url, [chat("x", "slow")]) == [503])
        assert all(alive(host, "127.0.0.1") for _ in range(5))
        assert answers(host.url, [GET + b"\r\n", chat(), b"", GET[:9]] * 15) == [200, 503, 503, 503] * 15
        late = stack.enter_context(Client(host.url))
        assert late.error() == (503, "overloaded"), "who says nothing is told as well"


def answers(url: str, requests: list[bytes]) -> list[int]:
    """Statuses of requests sent by a crowd that comes at once; 0 for an end without a word."""

    async def one(request: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request)
        head = await reader.read(12)
        writer.close()
        return int(head[9:12] or 0)

    async def crowd() -> list[int]:
        return list(await asyncio.gather(*map(one, requests)))

    return asyncio.run(crowd())


@pytest.mark.parametrize("many", [20, 250])
def test_a_burst_beyond_the_limit_is_told_and_nobody_gets_an_end_without_a_word(host: Served, many: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(Client(host.url)).send(chat("x", "slow", headers=bearer("greedy")))
        got = answers(host.url, [chat(headers=bearer("greedy"))] * many)
        assert set(got) <= {200, 429, 503}, got


# What can be seen only from inside.


@in_a_loop
async def test_who_has_the_most_gives_way_and_of_those_who_has_waited_longest() -> None:
    among = Connections(ServerConfig(max_connections=6))
    held = {name: Watched(among=among) for name in ("a1", "b1", "a2", "a3", "b2", "a4")}
    for name, watched in held.items():
        among.identify(watched.connection, name[0])
    order = []
    for _ in range(4):
        Watched(among=among)
        order += [name for name, watched in held.items() if watched.transport.closed and name not in order]
    assert order[:3] == ["a1", "a2", "b1"]


@in_a_loop
async def test_a_share_is_given_back_and_a_guest_with_a_key_that_has_nothing_comes_in() -> None:
    among = Connections(ServerConfig(max_connections=2))
    first, second = Watched(GET + b"\r\n", among=among), Watched(GET + b"\r\n", among=among)
    among.identify(first.connection, "a")
    among.identify(second.connection, "a")
    end = among.begin(first.connection)
    with pytest.raises(OverQuotaError, match="1 requests at work"):
        among.begin(second.connection)
    guests = [Watched(GET + b"\r\n", among=among) for _ in range(3)]
    assert [guest.connection.guest for guest in guests] == [True] * 3
    for key in ("", "a"):
        with pytest.raises(OverloadedError):
            among.identify(guests[0].connection, key)
    among.identify(guests[1].connection, "b")
    assert not guests[1].connection.guest
    assert among.open == 3
    end()
    among.begin(second.connection)()
    for watched in (first, second, *guests):
        watched.end()
    assert (among.open, among._holders, len(among._guests)) == (0, {}, 0)


@pytest.mark.parametrize(("files", "most"), [(100, 50), (600, 300), (1024, 512), (2000, 1000), (float("inf"), 1000)])
def test_there_are_no_more_connections_than_the_process_may_open_files(files: float, most: int) -> None:
    among = Connections(ServerConfig())
    assert among.fit(files) is (most < 1000)
    assert among.most == most
    assert among.most + among._most_guests + among._most_lingering < files
