"""The connection guard and what it is sent: too much, what is no HTTP, and many requests on one connection."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from guarded import Hosts, hosts as hosts
from modelhost.http.server.limits import MAX_HEAD, MAX_PIPELINED
from raw_client import CHUNKED, GET, Client, chat, many
from serving import Served, eventually

pytestmark = pytest.mark.hostile


@pytest.fixture
def host(hosts: Hosts) -> Served:
    return hosts("")


# Size.


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
        GET + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
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


def test_a_coding_that_is_not_spoken_is_refused_and_not_taken_for_text(host: Served) -> None:
    with Client(host.url) as client:
        coded = CHUNKED.replace(b"chunked", b"gzip, chunked") + b"3\r\nabc\r\n0\r\n\r\n"
        assert client.send(coded).error() == (501, "unsupported_transfer_coding")


@pytest.mark.parametrize("stream", [True, False])
def test_who_knows_no_chunks_gets_none(host: Served, stream: bool) -> None:
    whole = chat("hello old world", stream=stream).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with Client(host.url) as client:
        client.send(whole)
        with contextlib.suppress(EOFError):
            while True:
                client._more()
        head, _, body = client._read.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    if stream:
        events = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
        assert events.pop() == b"[DONE]"
        said = "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events)
    else:
        said = json.loads(body)["choices"][0]["message"]["content"]
    assert said.strip() == "hello old world"


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
