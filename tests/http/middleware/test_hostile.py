"""Published attacks on comparable servers, over real sockets: each is refused by name, and nobody else notices."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from hostile_requests import ATTACKS, CONFIG, GOOD, SECRET, Attack
from modelhost.http.routing.bodies.incoming import SMALL as LARGE
from raw_client import Client
from serving import Serve, Served

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    host = serve(CONFIG)
    host.client.headers["authorization"] = f"Bearer {GOOD}"
    return host


@pytest.fixture(autouse=True)
def the_others_notice_nothing(host: Served) -> Iterator[None]:
    """Somebody else is served before and after, by the same worker, and the log has nothing of what was sent."""
    assert host.chat("echo", "hello").status_code == 200
    worker = host.pid_of("echo")
    yield
    assert host.chat("echo", "hello").status_code == 200
    assert host.pid_of("echo") == worker
    assert not any(SECRET in line for line in host.log)


def answer_to(url: str, sent: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; returns the status and the body of the first answer."""
    if len(sent) > LARGE:  # is read by a thread, and who has closed one side by then is taken for gone
        with Client(url) as client:
            status, _, answer = client.send(sent).answer()
            return status, answer
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), timeout=10) as line:
        try:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # refused while it was still being sent
        received = b""
        try:
            while data := line.recv(65536):
                received += data
        except ConnectionError:
            pass
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_in_the_envelope(host: Served, name: str) -> None:
    attack: Attack = ATTACKS[name]
    status, body = answer_to(host.url, attack.sent)
    assert status in attack.statuses, body[:300]
    assert body.startswith(b'{"error":{"message":"'), body[:300]
