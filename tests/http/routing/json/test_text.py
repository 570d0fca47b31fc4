"""JSON that is none is told where, and what can be read all the same is read: on every route, and on every line."""

import contextlib
import gc
import gzip
import json
import sys
import time
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from modelhost.contract.errors import BadInputError
from modelhost.http.app import ROUTES
from modelhost.http.native.generate import GenerateBody
from modelhost.http.routing.json.fields import reader_of
from modelhost.http.routing.json.text import decoded
from modelhost.http.routing.spec import spec_of
from msgspec.json import decode
from serving import Serve, Served
from websockets.sync.client import connect

BODIES = [path for route in ROUTES if spec_of(route).body or spec_of(route).form for path in sorted(route.paths)]
LINES = [path for route in ROUTES if not isinstance(route, HTTPRouteHandler) for path in sorted(route.paths)]

BROKEN = [
    (b"", "is empty"),
    (b' {"model": "echo",\n "stream": true,}', "line 2, column 17 (byte 35); leave the last comma out"),
    (b'{"stop": ["a",]}', "column 15 (byte 14); leave the last comma out"),
    (b'{"prompt": "one\ntwo"}', r"column 16 (byte 15); a line break within a text is written \n"),
    (b'{"prompt": "one\ttwo"}', "column 16 (byte 15); a control character"),
    (b'{"temperature": NaN}', "column 17 (byte 16); JSON has no NaN"),
    (b'{"temperature": -Infinity}', "no Infinity"),
    (b'{"stream": True}', "column 12 (byte 11); JSON has true, false and null"),
    (b"{'model': 'echo'}", "names stand in double quotes"),
    ('{"model": “echo”}'.encode(), "column 11 (byte 10); texts stand in straight double quotes"),
    (b'{"model": "echo"', "it ends at line 1, column 17 (byte 16) before it is complete"),
    (b'{"model": "echo"}{}', "column 18 (byte 17); send one JSON object"),
    (b'{"model": "echo"} // the model', "column 19 (byte 18); JSON has no comments"),
    (rb'{"model": "C:\models"}', r"a backslash within a text is written \\"),
    ('{"mödel": "écho",}'.encode(), "column 18 (byte 19)"),
    ('{"model": "écho"}'.encode("latin-1"), "not UTF-8 at line 1, column 12 (byte 11)"),
    ('{"model": "echo"}'.encode("utf-16"), "UTF-16"),
    ('{"model": "echo"}'.encode("utf-16-be"), "UTF-16"),
    (gzip.compress(b'{"model": "echo"}', mtime=0), "gzip"),
]


@pytest.mark.parametrize(("body", "told"), BROKEN)
def test_what_is_no_json_is_told_with_its_place_and_a_way_out(body: bytes, told: str) -> None:
    with pytest.raises(BadInputError) as refused:
        decoded(decode, body)
    assert told in refused.value.message
    assert refused.value.code == "invalid_json"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'\xef\xbb\xbf"x"', "x"),
        (rb'"\ud83d"', "�"),
        (rb'"a \uD83D b \ude00 c"', "a � b � c"),
        (rb'"\ud83d\ude00 \ud83d\u0041"', "😀 �A"),
        (rb'"\\ud83d \\\ud83d \\\\ud83d"', r"\ud83d \� \\ud83d"),
        (b'\xef\xbb\xbf"\\ud83d"', "�"),
    ],
)
def test_what_can_be_read_all_the_same_is_read(body: bytes, text: str) -> None:
    assert decoded(decode, body) == text


def test_no_text_of_halves_takes_long_to_read_or_to_refuse() -> None:
    began = time.process_time()
    for part in (rb"\ud83d", rb"\\", rb"\ud83d\ude00", rb"\\u0041", rb"a\n"):
        with pytest.raises(BadInputError):
            decoded(decode, b'"' + part * (2**20 // len(part)) + rb'\ud83d",')
    assert time.process_time() - began < 5


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve('[models.echo]\nplugin = "echo"\n')


@pytest.mark.parametrize("path", BODIES)
def test_every_route_that_takes_json_says_where_it_is_wrong(host: Served, path: str) -> None:
    if path in ("/embed", "/parse-ast"):
        pytest.skip("takes files, and no fields that could be in JSON")
    body = b'{"model": "echo",\n "zzz": [1,]}'
    answer = host.client.post(path, content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_json")
    assert "trailing comma in array at line 2, column 12 (byte 29); leave the last comma out" in error["message"]


@pytest.mark.parametrize("path", LINES)
def test_every_line_that_takes_json_says_where_it_is_wrong_and_stays_open(host: Served, path: str) -> None:
    with connect(host.url.replace("http", "ws") + path, proxy=None) as line:
        for _ in range(2):
            line.send('{"type": "end",}')
            message = json.loads(line.recv(10))
            told = message["error"]["message"]
            assert told.startswith("the message is not valid JSON: trailing comma in object at line 1, column 16 (byte 15)")
        line.send('{"type": ' + "[" * 100_000)
        assert json.loads(line.recv(10))["error"]["message"] == "the message is nested too deeply"


def test_half_an_emoji_does_not_end_a_conversation(host: Served) -> None:
    turn = rb'{"role": "user", "content": "I like \ud83d"}'
    body = rb'{"model": "echo", "messages": [%s, {"role": "assistant", "content": "\ude00"}, %s]}' % (turn, turn)
    answer = host.client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.json()["choices"][0]["message"]["content"] == "I like � "


@pytest.mark.parametrize("more", ['"zzz": 1', '"temperature": "hot"', '"seed": 1e400'])
def test_nothing_keeps_a_body_that_has_been_read(more: str) -> None:
    body = b'{"prompt": "%s", %s}' % (b"x" * 10_000, more.encode())
    before = sys.getrefcount(body)
    gc.disable()  # what only it finds stays for thousands of requests
    try:
        with contextlib.suppress(BadInputError):
            reader_of(GenerateBody).read(body)
        assert sys.getrefcount(body) == before
    finally:
        gc.enable()


def ask(host: Served, path: str, *messages: dict[str, Any]) -> dict[str, Any]:
    """Send messages over a line; returns the one that ends the answer."""
    with connect(host.url.replace("http", "ws") + path, proxy=None) as line:
        for message in messages:
            line.send(json.dumps(message))
        while True:
            answer: dict[str, Any] = json.loads(line.recv(10))
            if answer["type"] in ("done", "error"):
                return answer


SAID: dict[str, tuple[dict[str, Any], ...]] = {
    "/v1/generate_ws": ({"type": "prompt", "prompt": "x", "model": "echo", "zzz": 1, "seed": None},),
    "/v1/speech-to-text/ws": ({"type": "start", "zzz": 1, "format": None}, {"audio": "aGk="}, {"type": "end"}),
    "/v1/text-to-speech/ws": ({"type": "say", "text": "x", "zzz": 1, "speed": None},),
}


@pytest.mark.parametrize("path", SAID)
def test_a_line_names_what_it_does_not_know_in_the_answer_and_takes_null_for_absent(host: Served, path: str) -> None:
    assert ask(host, path, *SAID[path])["ignored"] == ["zzz"]
    known = [{name: value for name, value in message.items() if name != "zzz"} for message in SAID[path]]
    assert "ignored" not in ask(host, path, *known)


@pytest.mark.parametrize("path", SAID)
def test_a_strict_line_refuses_what_it_does_not_know(serve: Serve, path: str) -> None:
    strict = serve('[server]\nstrict = true\n[models.echo]\nplugin = "echo"\n')
    assert ask(strict, path, *SAID[path])["error"]["code"] == "unknown_parameter"


def test_another_servers_field_is_refused_on_a_line_too(host: Served) -> None:
    error = ask(host, "/v1/generate_ws", {"prompt": "x", "model": "echo", "grammar": "root ::= x"})["error"]
    assert error["param"] == "grammar"
