import asyncio
import gzip
import socket
import threading
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, strategies as st
from modelhost import (
    BackendFailedError,
    BadInputError,
    Blob,
    Context,
    DeadlineError,
    Delta,
    EmbedRequest,
    NotReadyError,
    OverloadedError,
    RequestError,
    ServiceError,
    SynthesizeRequest,
    TranscribeRequest,
)
from modelhost.authors import upstream
from modelhost.contract.context import CallInfo
from modelhost.contract.log import Log
from modelhost.testing import chat
from modelhost_openai_api.errors import ErrorDetails, error_of, seconds_to_wait

HELLO = chat("hello big world")


def envelope(message="why", **fields):
    return {"error": {"message": message, "type": "some_error", "param": None, "code": None, **fields}}


@pytest.fixture
def fails(load, stand_in):
    """Return the error of a request that is answered like this, sent once."""

    def fails(status, body=b"", **headers):
        stand_in.fail(status, body, **headers)
        with pytest.raises((RequestError, ServiceError)) as failed:
            load("generate", retries=0).events("generate", HELLO)
        return failed.value

    return fails


# answers that are too large


BOMB = gzip.compress(bytes(4 << 20))


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("packing", ["gzip", "br", "zstd", "gzip, gzip", "x-unknown"])
def test_an_answer_that_is_packed_is_refused_unread(fails, stand_in, packing, status):
    error = fails(status, BOMB, content_encoding=packing)
    assert isinstance(error, BackendFailedError)
    assert "packs its answer" in error.message
    assert stand_in.requests[-1].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("ability", ["generate", "embed", "transcribe", "synthesize"])
def test_an_answer_without_end_is_broken_off(load, stand_in, monkeypatch, ability):
    monkeypatch.setattr(upstream, "MOST", 1000)
    stand_in.fail(200, b'data: {"choices": []}\n\n' * 1000 if ability == "generate" else bytes(20_000))
    requests = {
        "generate": HELLO,
        "embed": EmbedRequest(inputs=("a",)),
        "transcribe": TranscribeRequest(audio=Blob(b"RIFF")),
        "synthesize": SynthesizeRequest(text="a"),
    }
    with pytest.raises(BackendFailedError, match="larger than"):
        load(ability, retries=0).events(ability, requests[ability])


# who can put it right


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_is_wrong_with_the_request_is_told_to_who_sent_it(fails, status):
    error = fails(status, envelope("too many tokens", param="messages", code="context_length_exceeded"))
    assert isinstance(error, BadInputError)
    assert error.message == "the upstream refuses this request: too many tokens"
    assert (error.param, error.code) == ("messages", "context_length_exceeded")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": "no such thing"}, "no such thing"),
        ({"object": "error", "message": "no such thing", "code": 400}, "no such thing"),
        ({"detail": "no such thing"}, "no such thing"),
        ({"detail": [{"loc": ["body"]}]}, "it says no more than status 400"),
        (b"<html>", "it says no more than status 400"),
        (b"", "it says no more than status 400"),
        (b'"text"', "text"),
        (b"[" * 100_000, "it says no more than status 400"),
    ],
)
def test_envelopes_of_other_servers_are_read(fails, body, reason):
    assert fails(400, body).message == f"the upstream refuses this request: {reason}"


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, NotReadyError, "set api_key"),
        (403, NotReadyError, "set api_key"),
        (402, NotReadyError, "no credit"),
        (404, NotReadyError, "'hosted-1'"),
        (405, NotReadyError, "paths"),
        (307, NotReadyError, "set base_url"),
        (408, DeadlineError, "time was up"),
        (409, OverloadedError, "try again later"),
        (429, OverloadedError, "try again later"),
        (500, BackendFailedError, "status 500"),
        (418, BackendFailedError, "status 418"),
        (502, NotReadyError, "status 502"),
        (503, NotReadyError, "try again later"),
        (504, DeadlineError, "time was up"),
        (529, OverloadedError, "try again later"),
    ],
)
def test_what_the_operator_must_put_right_says_how_and_repeats_nothing(fails, status, kind, says):
    error = fails(status, envelope("key sk-secret and secret words"), location="http://elsewhere.invalid/")
    assert type(error) is kind
    assert says in error.message
    assert "secret" not in error.message


def test_an_account_without_credit_is_not_asked_again(load, stand_in):
    stand_in.fail(429, envelope(code="insufficient_quota"))
    with pytest.raises(NotReadyError, match="no credit") as failed:
        load("generate").events("generate", HELLO)
    assert len(stand_in.requests) == 1
    assert not failed.value.retry


def test_how_long_to_wait_is_passed_on(fails):
    assert fails(429, retry_after="17").retry_after == 17
    assert fails(503, retry_after_ms="1500").retry_after == 1.5
    then = datetime.now(UTC) + timedelta(seconds=50)
    assert fails(429, retry_after=format_datetime(then, usegmt=True)).retry_after == pytest.approx(50, abs=5)


@pytest.mark.parametrize("header", ["soon", "", "nan", "-5", "Wed, 99 Nov", "1e999"])
def test_nonsense_about_waiting_is_not_believed(fails, header):
    assert not fails(429, retry_after=header).retry_after


@given(st.text())
def test_no_header_breaks_the_reading_of_it(header):
    seconds_to_wait({"retry-after": header})
    seconds_to_wait({"retry-after-ms": header})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(("error", "message", "code", "param", "type", "detail"), json_values))


@given(json_values | fields | st.builds(lambda inner: {"error": inner}, fields), st.integers(300, 599))
def test_every_complaint_becomes_an_error(value, status):
    error = error_of(status, ErrorDetails.of(value), model="m")
    assert isinstance(error, (RequestError, ServiceError))
    assert isinstance(error.code, str)


# sending again


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_was_not_worked_on_is_sent_again(load, stand_in, status):
    stand_in.fail(status, retry_after="0")
    stand_in.fail(status, retry_after="0")
    assert load("generate").events("generate", HELLO)[0] == Delta(text="hello ")
    assert len(stand_in.requests) == 3


def test_there_is_an_end_to_sending_again(load, stand_in):
    for _ in range(3):
        stand_in.fail(503, retry_after="0")
    with pytest.raises(NotReadyError):
        load("generate", retries=1).events("generate", HELLO)
    assert len(stand_in.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500])
def test_what_would_fail_again_is_not_sent_again(load, stand_in, status):
    stand_in.fail(status)
    with pytest.raises((RequestError, ServiceError)):
        load("generate").events("generate", HELLO)
    assert len(stand_in.requests) == 1


def test_the_upstreams_word_on_sending_again_goes_first(load, stand_in):
    model = load("generate")
    stand_in.fail(500, x_should_retry="true", retry_after="0")
    model.events("generate", HELLO)
    assert len(stand_in.requests) == 2
    stand_in.fail(503, x_should_retry="false")
    with pytest.raises(NotReadyError) as failed:
        model.events("generate", HELLO)
    assert len(stand_in.requests) == 3
    assert not failed.value.retry


def test_a_long_wait_is_left_to_the_caller(load, stand_in):
    stand_in.fail(429, retry_after="60")
    with pytest.raises(OverloadedError) as failed:
        load("generate").events("generate", HELLO)
    assert failed.value.retry_after == 60
    assert len(stand_in.requests) == 1


def test_nothing_is_sent_again_once_the_answer_has_begun(load, stand_in):
    stand_in.says(stand_in.chunk({"content": "a"}), stand_in.CUT)
    with pytest.raises(BackendFailedError):
        load("generate").events("generate", HELLO)
    assert len(stand_in.requests) == 1


def test_a_connection_closed_without_an_answer_is_tried_again(load, stand_in):
    """As one is that was kept open and that the upstream has just closed."""
    stream = b"data: " + b'{"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}' + b"\n\ndata: [DONE]\n\n"
    answers = [b"", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + stream]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        model = load("generate", base_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        assert model.events("generate", HELLO)[0] == Delta(text="hi")
        thread.join(10)


# nobody there, or nothing said


def test_an_upstream_that_is_away_is_not_ready(load):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(NotReadyError, match="is it running") as failed:
        load("generate", base_url=f"http://127.0.0.1:{port}", retries=0).events("generate", HELLO)
    assert failed.value.retry


def test_an_upstream_that_says_nothing_is_not_waited_for_and_not_asked_again(load, stand_in):
    model = load("generate", timeout=0.2)
    stand_in.says(stand_in.HOLD)
    with pytest.raises(DeadlineError, match=r"nothing for 0\.2 seconds"):
        model.events("generate", HELLO)
    assert len(stand_in.requests) == 1
    stand_in.says(stand_in.chunk({"content": "a"}), stand_in.HOLD)
    with pytest.raises(DeadlineError, match=r"nothing for 0\.2 seconds"):
        model.events("generate", HELLO)


# leaving


def test_a_caller_who_leaves_ends_the_upstreams_work(load, stand_in):
    stand_in.says(stand_in.chunk({"content": "a"}), stand_in.HOLD)
    model = load("generate")

    async def leave_after_the_first_event() -> None:
        async with aclosing(model.instance.call("generate", HELLO, Context())) as events:
            assert await anext(events) == Delta(text="a")

    model.run(leave_after_the_first_event())
    assert stand_in.left.wait(10)


def test_a_caller_who_leaves_before_the_answer_ends_the_upstreams_work(load, stand_in):
    stand_in.says(stand_in.HOLD)
    model = load("generate")

    async def leave_once_it_is_asked() -> None:
        asking = asyncio.create_task(model.collect("generate", HELLO))
        await asyncio.to_thread(stand_in.reached.wait, 10)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    model.run(leave_once_it_is_asked())
    assert stand_in.left.wait(10)


# what is sent along


def test_keys_headers_query_and_ids_go_along(load, stand_in):
    options = {"api_key": "k-1", "api_key_header": "api-key", "headers": {"x-team": "blue"}, "query": {"api-version": "2024-10"}}
    model = load("generate", paths={"chat": "/deployments/x/chat"}, **options)
    stand_in.says(stand_in.END)
    info = CallInfo(request_id="req_1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    model.events("generate", HELLO, Context(info))
    (request,) = stand_in.requests
    assert request.path == "/v1/deployments/x/chat"
    assert request.query == {"api-version": ["2024-10"]}
    sent = {name: request.headers.get(name) for name in ("api-key", "authorization", "x-team", "x-request-id", "traceparent")}
    assert sent == {
        "api-key": "k-1",
        "authorization": None,
        "x-team": "blue",
        "x-request-id": "req_1",
        "traceparent": info.traceparent,
    }


def test_proxies_are_used_for_what_is_elsewhere_and_never_for_this_machine(load, stand_in, monkeypatch):
    stand_in.says(stand_in.END)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, stand_in.url.removesuffix("/v1"))
    load("generate", base_url="http://upstream.invalid/v1").events("generate", HELLO)
    assert stand_in.requests[0].headers["host"] == "upstream.invalid"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:1")
    load("generate").events("generate", HELLO)
    assert len(stand_in.requests) == 2


def test_one_connection_serves_one_request_after_another(load, stand_in):
    model = load("generate")
    for _ in range(3):
        model.events("generate", HELLO)
    assert len({request.port for request in stand_in.requests}) == 1


def test_what_people_said_is_in_no_log_line(load, stand_in, capfd):
    lines = []
    log = Log(lambda level, event, facts: lines.append(f"{level} {event} {facts}"))
    model = load("generate", retries=1, api_key="sk-secret")
    for body in (envelope("You said: hello big world"), envelope("hello big world, sk-secret")):
        stand_in.fail(503, body, retry_after="0")
    with pytest.raises(NotReadyError):
        model.events("generate", HELLO, Context(CallInfo(request_id="req_7"), log=log))
    assert lines == ["warning the upstream refused {'request_id': 'req_7', 'status': 503}"] * 2
    output = " ".join([*lines, *capfd.readouterr()])
    assert "big world" not in output
    assert "secret" not in output
