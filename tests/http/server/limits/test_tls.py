"""The connection guard before a TLS handshake is done: such clients are counted, give way and are ended as all others are."""

import contextlib
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from guarded import MODELS
from raw_client import Client, chat
from serving import Serve, Served, eventually

pytestmark = pytest.mark.hostile

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)
"""How a handshake begins that says it has 512 bytes; the rest never comes."""
LONG = 8
"""Seconds: far beyond the time-outs here, however busy the machine is, and less than where nobody sets one."""

Hosts = Callable[[str], Served]


@pytest.fixture(scope="module")
def hosts(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Hosts that speak TLS, by their settings; after all that was done to them they have nothing to say about it."""
    pem = tmp_path_factory.mktemp("tls") / "pem"
    trustme.CA().issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    made: dict[str, Served] = {}

    def host(server: str) -> Served:
        if server not in made:
            made[server] = served = serve(f"[server]\ntls_cert = '{pem}'\ntls_key = '{pem}'\n{server}{MODELS}")
            served.client = httpx.Client(
                base_url=served.url, timeout=30, trust_env=False, verify=False, headers={"connection": "close"}
            )
            served.chat("echo").raise_for_status()
        return made[server]

    yield host
    for one in made.values():
        lines = [line for line in one.log if '"event":"request"' not in line]
        assert [line for line in lines if any(word in line for word in ("Traceback", "xception", "error", "warning"))] == []


@pytest.fixture
def crowded(hosts: Hosts) -> Served:
    """A host with room for 12, 8 of one address; whoever says nothing could stay for long."""
    host = hosts("max_connections = 12\nmax_connections_per_address = 8\nheader_timeout = 60\n")
    eventually(lambda: connections_of(host) == 0)
    return host


def connections_of(host: Served) -> int:
    """How many established connections the host's process has on its port, its own word for it apart."""
    port = f"0100007F:{int(host.url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1] == port and row[3] in ("01", "08") for row in rows)


def metric(host: Served, name: str) -> float:
    """A count of the host's."""
    lines = host.client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def served(host: Served, source: str) -> bool:
    """Whether somebody who comes from an address is answered, over a connection of its own."""
    transport = httpx.HTTPTransport(local_address=source, verify=False)
    with httpx.Client(base_url=host.url, transport=transport, timeout=LONG) as client:
        body = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
        return client.post("/v1/chat/completions", json=body).is_success


@pytest.mark.parametrize("sent", [b"", b"\x16", HELLO])
def test_a_handshake_that_does_not_come_to_an_end_is_given_up_in_time(hosts: Hosts, sent: bytes) -> None:
    host = hosts("header_timeout = 0.4\n")
    before = metric(host, 'modelhost_connections_refused_total{reason="late_handshake"}')
    with Client(host.url) as client:
        began = time.monotonic()
        assert client.send(sent).ended()
        assert 0.35 < time.monotonic() - began < LONG
    assert metric(host, 'modelhost_connections_refused_total{reason="late_handshake"}') == before + 1


def test_a_handshake_that_comes_byte_by_byte_is_given_up_in_time(hosts: Hosts) -> None:
    host = hosts("header_timeout = 0.4\n")
    with Client(host.url) as client:
        client.socket.settimeout(0.05)
        began = time.monotonic()
        for byte in HELLO * 100:
            client.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                assert client.ended()
                break
        assert time.monotonic() - began < LONG


def test_plain_http_is_ended_at_once(crowded: Served) -> None:
    with Client(crowded.url) as client:
        assert client.send(chat()).ended()


def test_a_crowd_that_ends_no_handshake_gives_way_to_a_newcomer_of_its_address(crowded: Served) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Client(crowded.url)).send(HELLO if n % 2 else b"") for n in range(30)]
        eventually(lambda: connections_of(crowded) == 8)
        assert all(client.ended() for client in crowd[:22]), "those that have waited longest"
        assert served(crowded, "127.0.0.1")
        assert crowd[22].ended()
        assert served(crowded, "127.0.0.2")
        eventually(lambda: connections_of(crowded) == 7)


def test_crowds_that_end_no_handshake_give_way_to_a_newcomer_from_elsewhere(crowded: Served) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Client(crowded.url, source=f"127.0.0.{2 + n % 3}")) for n in range(40)]
        eventually(lambda: connections_of(crowded) == 12)
        assert metric(crowded, "modelhost_connections") == 12, "with the one that asks"
        assert served(crowded, "127.0.0.9")
        assert sum(client.socket.fileno() >= 0 for client in crowd) == 40
    eventually(lambda: connections_of(crowded) == 0)
    assert metric(crowded, "modelhost_connections") == 1


def test_whoever_comes_through_the_handshake_is_counted_once(crowded: Served) -> None:
    with contextlib.ExitStack() as stack:
        for n in range(5):
            client = stack.enter_context(Client(crowded.url, source="127.0.0.5"))
            context = ssl._create_unverified_context()
            line = stack.enter_context(context.wrap_socket(client.socket, server_hostname="localhost"))
            line.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert line.recv(12) == b"HTTP/1.1 200"
            assert metric(crowded, "modelhost_connections") == n + 2
    eventually(lambda: connections_of(crowded) == 0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_request_in_one_piece_with_the_end_of_the_handshake_is_answered(crowded: Served, version: ssl.TLSVersion) -> None:
    context = ssl._create_unverified_context()
    context.minimum_version = context.maximum_version = version
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(theirs, ours, server_hostname="localhost")
    with Client(crowded.url) as client:
        for _ in range(3):
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(ours.read())
                theirs.write(client.socket.recv(65536))
        tls.write(chat("word " * 30_000))
        client.send(ours.read())
        said = b""
        while len(said) < 12:
            with contextlib.suppress(ssl.SSLWantReadError):
                said += tls.read(12)
                continue
            theirs.write(client.socket.recv(65536))
        assert said == b"HTTP/1.1 200"


def test_a_host_that_stops_does_not_wait_for_handshakes(serve: Serve, tmp_path: Path) -> None:
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    host = serve(f"[server]\ntls_cert = '{tmp_path}/pem'\ntls_key = '{tmp_path}/pem'\nheader_timeout = 60\n{MODELS}")
    with Client(host.url) as client:
        client.send(HELLO)
        eventually(lambda: connections_of(host) == 1)
        began = time.monotonic()
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(LONG) == 0
        assert time.monotonic() - began < LONG
        with contextlib.suppress(ConnectionError):
            assert client.socket.recv(1, socket.MSG_PEEK) == b""


def test_a_client_that_keeps_its_connection_does_not_hold_up_the_end(serve: Serve, tmp_path: Path) -> None:
    pem = tmp_path / "pem"
    trustme.CA().issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    host = serve(f"[server]\ntls_cert = '{pem}'\ntls_key = '{pem}'\n{MODELS}")
    with httpx.Client(base_url=host.url, trust_env=False, verify=False) as client:
        assert client.get("/livez").status_code == 200
        assert host.stop() == 0
    assert not any('"level":"error"' in line for line in host.log)
