"""Requests that published attacks on comparable servers are made of, and the statuses they must get: for a test and a benchmark.

They go to a host with a key `GOOD`, a key `WEAK` that may only infer, and a model `echo`.
"""

import json
from dataclasses import dataclass
from typing import Any

GOOD = "a-key-that-may-all-0123456789abcdef"
WEAK = "a-key-that-may-infer-0123456789abcdef"
CONFIG = f"""
[server]
max_body_mb = 1

[keys.good]
key = "{GOOD}"
scopes = ["inference", "metrics", "admin"]

[keys.weak]
key = "{WEAK}"
scopes = ["inference"]

[models.echo]
plugin = "echo"
"""

SECRET = "x-marks-the-spot-5f1d"
"""Is in every request, and must be in no line of the log."""


@dataclass
class Attack:
    """What is sent, and with which statuses it may be refused."""

    sent: bytes
    statuses: tuple[int, ...]


def request(
    body: bytes = b"",
    *headers: bytes,
    method: bytes = b"POST",
    path: bytes = b"/v1/chat/completions",
    key: str | None = GOOD,
    host: bytes = b"localhost",
    kind: bytes = b"application/json",
) -> bytes:
    """Write a request down."""
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: " + host, *headers]
    lines += [f"Authorization: Bearer {key}".encode()] if key else []
    lines += [b"Content-Type: " + kind, b"Content-Length: %d" % len(body)] if body else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chat(text: Any = SECRET, **settings: Any) -> bytes:
    """Write a chat request down."""
    return request(json.dumps({"model": "echo", "messages": [{"role": "user", "content": text}], **settings}).encode())


def _part(**part: Any) -> bytes:
    return chat([{"type": "text", "text": SECRET}, part])


def _schema(schema: Any) -> bytes:
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}})


_DEEP: Any = {}
for _ in range(200):
    _DEEP = {"properties": {"a": _DEEP}}

_MULTIPLE_OF_A_MEGABYTE = (SECRET.encode() + b" ") * 60_000

ATTACKS: dict[str, Attack] = {
    # What a request makes the server allocate or count (n, logprobs, biases, counts below zero).
    "an unbounded number of choices": Attack(chat(n=1_000_000), (400,)),
    "more log-probabilities than a model has tokens": Attack(chat(logprobs=True, top_logprobs=200_000), (400,)),
    "a bias on a token that does not exist": Attack(chat(logit_bias={"4294967296": 1}), (400,)),
    "a negative count": Attack(chat(max_tokens=-2), (400,)),
    "a number beyond every range": Attack(chat(max_tokens=10**40), (400,)),
    "stop strings as long as a book": Attack(chat(stop=["a" * 20] * 10_000), (400,)),
    "a thousand tools": Attack(chat(tools=[{"type": "function", "function": {"name": "f"}}] * 1000), (400,)),
    "a number that is none": Attack(chat(temperature=float("nan")), (400,)),
    # What a request makes the server run or build.
    "a schema that refers to itself": Attack(_schema({"$ref": "#"}), (400,)),
    "a schema of two hundred levels": Attack(_schema(_DEEP), (400,)),
    "a tool whose name is code": Attack(chat(tools=[{"type": "function", "function": {"name": "f(); x"}}]), (400,)),
    # What a request makes the server fetch or open.
    "a picture at an address inside": Attack(_part(type="image_url", image_url={"url": "http://169.254.169.254/"}), (400,)),
    "a picture that is a file": Attack(_part(type="image_url", image_url={"url": "file:///etc/passwd"}), (400,)),
    "a recording that is a path": Attack(_part(type="input_audio", input_audio={"data": "/etc/passwd", "format": "wav"}), (400,)),
    "a recording behind a URL": Attack(_part(type="input_audio", input_audio={"data": "http://[::1]/a.wav"}), (400,)),
    "a model that is a path": Attack(
        request(b'{"model": "../../etc/passwd", "messages": [{"role": "user", "content": "x"}]}'), (404,)
    ),
    "an asset that is a path": Attack(request(method=b"GET", path=b"/docs/..%2f..%2f..%2fetc%2fpasswd"), (404,)),
    "a model to load that is a path": Attack(request(b'{"model": "../../etc/passwd"}', path=b"/v1/models/load"), (404,)),
    # Bodies.
    "pickled objects": Attack(request(b"\x80\x04\x95" + SECRET.encode(), kind=b"application/vnd.bentoml+pickle"), (415,)),
    "a page's form": Attack(request(SECRET.encode(), kind=b"text/plain"), (415,)),
    "a body that claims to be packed": Attack(request(b"\x1f\x8b" + SECRET.encode(), b"Content-Encoding: gzip"), (400, 415)),
    "brackets without end": Attack(request(b"[" * 200_000), (400,)),
    "bytes that are no text": Attack(request(b'{"model": "\xff\xfe", "messages": []}'), (400,)),
    "half a character": Attack(request(b'{"model": "\\ud800", "messages": []}'), (400, 404)),
    "a body over the limit": Attack(request(_MULTIPLE_OF_A_MEGABYTE), (413,)),
    "a chunked body over the limit": Attack(
        request(b"", b"Transfer-Encoding: chunked")
        + b"".join(b"%x\r\n%b\r\n" % (65536, b"a" * 65536) for _ in range(20))
        + b"0\r\n\r\n",
        (413,),
    ),
    # The line itself.
    "a length and chunks at once": Attack(request(b"0\r\n\r\n", b"Transfer-Encoding: chunked"), (400,)),
    "two lengths": Attack(request(b"{}", b"Content-Length: 5"), (400,)),
    "a chunk of a negative size": Attack(request(b"", b"Transfer-Encoding: chunked") + b"-1\r\n\r\n", (400,)),
    "headers of a megabyte": Attack(request(b"", b"X-Long: " + b"a" * 2**20), (431,)),
    "ten thousand headers": Attack(request(b"", *[b"X-%d: a" % n for n in range(10_000)]), (431,)),
    "an endless path": Attack(request(method=b"GET", path=b"/" + b"a" * 200_000), (400, 414, 431)),
    "another protocol": Attack(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "a TLS greeting": Attack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, (400,)),
    "a header in a header": Attack(request(b"", b"X-Request-ID: a\rSet-Cookie: b"), (400,)),
    # Who asks.
    "a name that was rebound": Attack(request(b"{}", host=b"evil.example"), (400, 403, 421)),
    "a name with a dot replaced": Attack(request(b"{}", host=b"127x0.0.1"), (400, 403, 421)),
    "a path in the name": Attack(request(b"{}", host=b"localhost/livez?"), (400, 403, 421)),
    "a foreign page": Attack(request(b"{}", b"Origin: https://evil.example"), (403,)),
    "no key": Attack(request(b"{}", key=None), (401,)),
    "a wrong key": Attack(request(b"{}", key="x" * 40), (401,)),
    "a key that is nearly right": Attack(request(b"{}", key=GOOD[:-1] + "0"), (401,)),
    "a key of a megabyte": Attack(request(b"{}", key="x" * 2**20), (431,)),
    "a private path by another spelling": Attack(request(method=b"GET", path=b"//v1/models", key=None), (401, 404)),
    "a private path behind a public one": Attack(request(method=b"GET", path=b"/livez/../v1/models", key=None), (401, 404)),
    "loading without the right": Attack(request(b'{"model": "echo"}', path=b"/v1/models/load", key=WEAK), (403,)),
    "a worker's output without the right": Attack(request(method=b"GET", path=b"/v1/workers/echo", key=WEAK), (403,)),
    "an address that says it is another": Attack(request(b"{}", b"X-Forwarded-For: 127.0.0.1", key=None), (401,)),
}
