"""Clients that take less of a stream than is made keep a model's place while nobody else wants it, and not for long after."""

import contextlib
import threading
from collections.abc import Iterator

import pytest
from raw_client import Client, chat
from serving import Serve, Served, eventually

pytestmark = pytest.mark.hostile

CONFIG = """
[models.torrent]
plugin = "echo"
concurrency = 1
"""


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(CONFIG)


@contextlib.contextmanager
def slow_reader(host: Served, request: bytes) -> Iterator[Client]:
    """A client that takes two kilobytes every second or so of what is sent to it, for as long as it lasts."""
    with Client(host.url, receives=4096) as client:
        over = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not over.wait(1) and client.socket.recv(2048):
                    pass

        reading = threading.Thread(target=drip)
        client.send(request)
        eventually(lambda: host.worker("torrent").get("in_flight") == 1)
        reading.start()
        yield client
        over.set()
        reading.join()


@pytest.mark.parametrize("path", ["chat", "generate_stream"])
def test_a_slow_reader_gives_its_place_to_who_waits_for_it(host: Served, path: str) -> None:
    request = chat("word " * 400_000, "torrent", stream=True)
    if path != "chat":
        body = b'{"model": "torrent", "prompt": "%s"}' % (b"word " * 400_000)
        request = b"POST /v1/generate_stream HTTP/1.1\r\nhost: x.localhost\r\ncontent-type: application/json\r\n"
        request += b"content-length: %d\r\n\r\n" % len(body) + body
    with slow_reader(host, request):
        answer = host.chat("torrent", "me too")
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"].strip() == "me too"
    eventually(lambda: host.worker("torrent").get("in_flight") == 0)


def test_who_reads_as_fast_as_is_made_keeps_its_place(host: Served) -> None:
    request = chat("word " * 20_000, "torrent", stream=True)
    with Client(host.url) as client:
        client.send(request)
        waiting = threading.Thread(target=host.chat, args=("torrent", "me too"))
        waiting.start()
        while not client._read.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            client._more()
            client._read = client._read[-100:]
        waiting.join()
