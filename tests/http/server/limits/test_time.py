"""The connection guard and the clock: slow clients are refused in time, and time that is not theirs is not held against them."""

import contextlib
import time

import pytest
from guarded import Hosts, Inside, Watched, hosts as hosts, in_a_loop
from modelhost.http.server.limits import MIN_RATE
from raw_client import GET, Client, chat
from serving import Served, eventually

pytestmark = pytest.mark.hostile

LONG = 8
"""Seconds: far beyond the time-outs here, however busy the machine is, and less than where nobody sets one."""


@pytest.fixture
def hasty(hosts: Hosts) -> Served:
    return hosts("header_timeout = 0.3\nidle_timeout = 0.6\nwrite_timeout = 0.8\n")


@pytest.mark.parametrize("sent", [b"G", GET, b"GET /" + b"x" * 100, GET + b"x-a: b"])
def test_headers_that_do_not_come_to_an_end_are_refused_in_time(hasty: Served, sent: bytes) -> None:
    with Client(hasty.url) as client:
        began = time.monotonic()
        assert client.send(sent).error() == (408, "request_timeout")
        assert 0.25 < time.monotonic() - began < LONG


def test_headers_that_come_byte_by_byte_are_refused_in_time(hasty: Served) -> None:
    with Client(hasty.url) as client:
        client.socket.settimeout(0.05)
        began = time.monotonic()
        client.send(b"GET /")
        while time.monotonic() - began < LONG:
            client.send(b"x")
            with contextlib.suppress(TimeoutError):
                client._more()
                break
        client.socket.settimeout(10)
        assert client.error() == (408, "request_timeout")
        assert time.monotonic() - began < LONG


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
def test_who_says_nothing_is_told_nothing(hasty: Served, sent: bytes) -> None:
    with Client(hasty.url) as client:
        assert client.send(sent).ended()


def test_a_connection_without_a_request_is_closed_but_not_before_its_time(hasty: Served) -> None:
    with Client(hasty.url) as client:
        client.send(chat()).said()
        began = time.monotonic()
        assert client.ended()
        assert 0.55 < time.monotonic() - began < LONG


def test_headers_of_a_later_request_have_a_deadline_too(hasty: Served) -> None:
    with Client(hasty.url) as client:
        client.send(chat()).said()
        assert client.send(GET).error() == (408, "request_timeout")


@pytest.mark.parametrize("part", [b"", b"{", b'{"model": "echo"'])
def test_a_body_that_does_not_come_is_refused_in_time(hasty: Served, part: bytes) -> None:
    with Client(hasty.url) as client:
        began = time.monotonic()
        assert client.send(chat().partition(b"\r\n\r\n")[0], b"\r\n\r\n", part).error() == (408, "request_timeout")
        assert 0.25 < time.monotonic() - began < LONG


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


# What can be seen only from inside.


def test_every_refusal_is_counted_by_its_reason_and_the_reasons_are_fixed() -> None:
    with Inside(header_timeout=0.4) as inside:
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


@in_a_loop
async def test_a_body_of_the_least_speed_is_taken_and_one_below_is_not() -> None:
    for rate, closed in ((MIN_RATE, False), (MIN_RATE // 2, True)):
        watched = Watched(b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")
        for _ in range(50):
            watched.connection.data_received(b"x" * rate)
            watched.seconds_until_closed(1)
        assert watched.transport.closed is closed
        watched.end()


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
    assert watched.connection._connections.refused["unread"] == 1
    watched.end()
