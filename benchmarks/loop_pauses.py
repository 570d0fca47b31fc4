"""The longest pause of the host's event loop while each route gets the largest input it takes, alone and four at once.

Routes, their bodies and the bounds of their fields come from the application itself: each field that can be large is made as
large as it may be, the others are those of the route's first example. Counted is what the host itself computes while the loop is
late, so that what else runs on the machine does not matter; of `TIMES` tries the shortest counts. Four at once are tried where
one alone is worth it.
"""

import argparse
import asyncio
import base64
import json
import math
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from measurement import Host, serving, tell
from modelhost.http.app import ROUTES
from modelhost.http.routing.bodies.json_text import MOST_VALUES
from modelhost.http.routing.spec import RouteSpec, spec_of
from msgspec import inspect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

MOST = MOST_VALUES - 1000
"""Objects or names in one body, beside those of the example: more are refused before they are decoded."""
BODY_MB = 4
AUDIO_MB = 24
"""A quarter of the default: what is larger is worked on in the same pieces."""
ROOM = BODY_MB * 2**20 - 4096
"""Bytes for the field that is to be large."""
MESSAGE = 2**20 - 1024
"""Bytes of a WebSocket's message."""
ENOUGH = 2**20
"""Bytes of an answer: an echo of four megabytes goes on as it began, and to read it takes a client many seconds."""
TIMES = 3
MANY = 4
WORTH_A_LOOK = 50
"""Milliseconds; what is below is not tried again."""
WORTH_MANY = 20
"""Milliseconds; what takes less alone is not tried four at once, which is less than four times as long."""
LARGE = 64 * 1024
"""Bytes; a field that makes no larger body, such as a number, is not tried."""
CONFIG = f"""
[server]
threads = 1
log_level = "error"
max_body_mb = {BODY_MB}
max_audio_mb = {AUDIO_MB}
request_timeout = 120

[models.echo]
plugin = "echo"
options = {{ context_length = 100000000 }}
"""
INSTRUMENTED = f"{Path(__file__).with_name('instrumented_host.py')}"


class Case(msgspec.Struct):
    """One request."""

    name: str
    method: str
    path: str
    content: bytes = b""
    kind: str = "application/json"


def largest(kind: inspect.Type, room: int) -> Any:
    """Return a value of a type that takes about `room` bytes of JSON, or the largest number."""
    match kind:
        case inspect.UnionType():
            return largest(max((one for one in kind.types if not isinstance(one, inspect.NoneType)), key=_weight), room)
        case inspect.StrType():
            return "1" if kind.pattern else "1 " * (min(room, kind.max_length or room) // 2)
        case inspect.ListType() | inspect.CollectionType():
            item = smallest(kind.item_type)
            size = len(json.dumps(item)) + len(", ")
            most = room if isinstance(item, int | float) else MOST
            count = min(room // size, kind.max_length or most)
            larger = room // count > 4 * size and not isinstance(item, dict)  # the values in one would be too many
            return [largest(kind.item_type, room // count - size) if larger else item] * count
        case inspect.DictType() | inspect.AnyType() | inspect.RawType():
            return {"x": [{}] * min(room // 4, MOST)}
        case inspect.StructType() if kind.fields:
            weighty = max(kind.fields, key=lambda field: _weight(field.type))
            return {**smallest(kind), weighty.encode_name: largest(weighty.type, room - 100)}
        case inspect.IntType() | inspect.FloatType():
            return kind.le if kind.le is not None else 2**31 - 1
    return smallest(kind)


def _weight(kind: inspect.Type) -> int:
    order = (inspect.ListType, inspect.StructType, inspect.DictType, inspect.StrType, inspect.IntType, inspect.FloatType)
    return next((len(order) - at for at, one in enumerate(order) if isinstance(kind, one)), 0)


def smallest(kind: inspect.Type) -> Any:
    """Return a value of a type that is as short as can be."""
    match kind:
        case inspect.UnionType():
            return smallest(kind.types[0])
        case inspect.StrType():
            return "x"
        case inspect.IntType():
            return max(1, kind.ge or 1)
        case inspect.FloatType():
            return kind.ge if kind.ge is not None else 1.0
        case inspect.BoolType():
            return True
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.ListType() | inspect.CollectionType():
            return [smallest(kind.item_type)] * max(kind.min_length or 0, 1)
        case inspect.DictType() | inspect.AnyType() | inspect.RawType():
            return {}
        case inspect.StructType():
            required = {field.encode_name: smallest(field.type) for field in kind.fields if field.required}
            return {**required, **({kind.tag_field: kind.tag} if kind.tag_field else {})}
    return None


def bodies(kind: Any, example: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield bodies in which each field in turn is as large as can be, with all that is asked for by truth values."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    wishes = {field.encode_name: True for field in described.fields if _is_wish(field)}
    for field in described.fields:
        value = largest(field.type, ROOM)
        if len(json.dumps(value)) > LARGE:
            body = {**example, field.encode_name: value}
            yield field.encode_name, body
            if wishes:
                yield f"{field.encode_name} and every wish", {**body, **wishes}
    yield "unknown fields", {**example, **{f"k{number}": 1 for number in range(MOST)}}
    yield "unknown objects", {**example, "unknown": [{}] * MOST}


def _is_wish(field: inspect.Field) -> bool:
    kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    return any(isinstance(one, inspect.BoolType) for one in kinds) and "stream" not in field.encode_name


def without_model(example: dict[str, Any]) -> dict[str, Any]:
    """Let the echo answer, whoever the example names."""
    return {name: value for name, value in example.items() if not name.endswith(("model", "voice")) and name != "reference_id"}


def form(fields: dict[str, str], name: str, file: bytes) -> tuple[bytes, str]:
    """Write a multipart form."""
    mark = secrets.token_hex(8)
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{one}"\r\n\r\n{text}\r\n' for one, text in fields.items()]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="a.py"\r\n\r\n'
    return "".join([*parts, head]).encode() + file + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def cases_of(route: HTTPRouteHandler) -> Iterator[Case]:
    """Yield the requests for one route."""
    spec: RouteSpec = spec_of(route)
    method = sorted(route.http_methods)[0]
    path = sorted(route.paths)[0]
    for parameter, value in (("{name:path}", "echo"), ("{name:str}", "echo"), ("{session_id:str}", "x")):
        path = path.replace(parameter, value)
    name = f"{method} {path}"
    if spec.body is None and spec.form is None:
        yield Case(name=name, method=method, path=path)
    example = next((without_model(example.value) for example in spec.request_examples.values()), {})
    if spec.body is not None:
        for field, body in bodies(spec.body, example):
            yield Case(name=f"{name} {field}", method=method, path=path, content=json.dumps(body).encode())
    if spec.form is not None:
        yield from forms_of(spec, name, path)


def forms_of(spec: RouteSpec, name: str, path: str) -> Iterator[Case]:
    """Yield the forms for one route: a large file, a large field, many fields, and a recording in base64 of either kind."""
    required = {field.name: "x" for field in msgspec.structs.fields(spec.form) if field.required}
    for what, file in (("file", b"x = 1\n" * (AUDIO_MB * 170_000)), ("smaller file", b"x = 1\n" * 170_000)):
        content, kind = form(required, spec.files[0], file)
        yield Case(name=f"{name} {what}", method="POST", path=path, content=content, kind=kind)
    content, kind = form({**required, "prompt": "x " * (ROOM // 2)}, spec.files[0], b"x = 1")
    yield Case(name=f"{name} field", method="POST", path=path, content=content, kind=kind)
    content, kind = form({**required, **{f"x{number}": "1" * 16_000 for number in range(250)}}, spec.files[0], b"x = 1")
    yield Case(name=f"{name} fields", method="POST", path=path, content=content, kind=kind)
    text = base64.b64encode(secrets.token_bytes(AUDIO_MB * 2**20)).decode()
    yield Case(name=f"{name} base64", method="POST", path=path, content=json.dumps({**required, "audio": text}).encode())
    content = str(httpx.QueryParams({**required, "audio": text})).encode()
    yield Case(name=f"{name} urlencoded", method="POST", path=path, content=content, kind="application/x-www-form-urlencoded")


class Lateness:
    """How late the loop of an instrumented host was."""

    def __init__(self, host: Host) -> None:
        self._process = host.process
        folder = Path(f"/proc/{host.process.pid}/cwd").resolve()
        self._file, self._own = folder / "lateness.json", folder / "own.json"

    async def since(self) -> float:
        """Return the longest since the last time, in milliseconds."""
        self._file.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        while not self._file.exists():  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.01)
        return max(json.loads(self._own.read_text()), default=math.inf)


async def ask(client: httpx.AsyncClient, case: Case) -> int:
    """Send a request, drop the beginning of the answer and leave; returns its status."""
    took = 0
    async with client.stream(case.method, case.path, content=case.content, headers={"content-type": case.kind}) as answer:
        async for piece in answer.aiter_raw():
            took += len(piece)
            if took > ENOUGH:
                break
    return answer.status_code


async def talk(url: str, path: str, kinds: tuple[Any, ...]) -> None:
    """Send each message of a WebSocket as large as it may be."""
    for kind in kinds:
        described = inspect.type_info(kind)
        assert isinstance(described, inspect.StructType)
        message = largest(described, MESSAGE)
        async with connect(url.replace("http", "ws") + path, max_size=None) as line:
            try:
                await line.send(json.dumps(message))
                await line.send(bytes(MESSAGE))
                await line.send(json.dumps({"type": "end"}))
                async with asyncio.timeout(5):
                    async for _ in line:
                        pass
            except (ConnectionClosed, TimeoutError):
                continue


async def measure(host: Host, only: str) -> tuple[dict[str, float], float, dict[int, int]]:
    """Return the longest pause in each case, that of a host with nothing to do, and how often each status came."""
    lateness = Lateness(host)
    pauses: dict[str, float] = {}
    statuses: dict[int, int] = {}
    async with httpx.AsyncClient(base_url=host.url, timeout=200, trust_env=False, limits=httpx.Limits()) as client:
        first = next(route for route in ROUTES if "/openapi.json" in route.paths)
        assert isinstance(first, HTTPRouteHandler)
        await lateness.since()
        await ask(client, next(cases_of(first)))  # its first time is not like the others
        pauses["the first GET /openapi.json"] = await lateness.since()
        await client.post("/v1/models/load", json={"model": "echo"})
        await lateness.since()
        await asyncio.sleep(2)
        idle = await lateness.since()
        for route in ROUTES:
            if isinstance(route, WebsocketRouteHandler):
                kinds = spec_of(route).receives
                path = sorted(route.paths)[0]
                if only in path:
                    pauses[f"WS {path}"] = await _least(
                        path, lateness, lambda path=path, kinds=kinds: talk(host.url, path, kinds)
                    )
                continue
            if isinstance(route, HTTPRouteHandler) and any(only in path or path in only for path in route.paths):
                for case in cases_of(route):
                    if only not in case.name:
                        continue

                    async def alone(case: Case = case) -> None:
                        status = await ask(client, case)
                        statuses[status] = statuses.get(status, 0) + 1

                    async def at_once(case: Case = case) -> None:
                        await asyncio.gather(*(ask(client, case) for _ in range(MANY)))

                    pauses[case.name] = await _least(case.name, lateness, alone)
                    if pauses[case.name] > WORTH_MANY:
                        pauses[f"{MANY} × {case.name}"] = await _least(f"{MANY} × {case.name}", lateness, at_once)
    return pauses, idle, statuses


async def _least(name: str, lateness: Lateness, act: Any) -> float:
    """Return the shortest of several tries' longest pauses; a try that is short enough is the last."""
    found = math.inf
    for _ in range(TIMES):
        await lateness.since()
        await act()
        found = min(found, await lateness.since())
        if found < WORTH_A_LOOK:
            return found
    print(f"{found:8.1f} ms  {name}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, and tell; the worst cases go to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="routes and fields with this in their name")
    arguments = parser.parse_args()
    with serving(CONFIG, program=INSTRUMENTED) as host:
        pauses, idle, statuses = asyncio.run(measure(host, arguments.only))
    worst = sorted(pauses, key=pauses.__getitem__, reverse=True)
    for name in worst[:15]:
        print(f"{pauses[name]:8.1f} ms  {name}", file=sys.stderr)
    print(f"answers: {statuses}", file=sys.stderr)
    tell(
        "pauses of the loop",
        "<= 100 ms with the largest input of every route",
        cases=len(pauses),
        worst_ms=pauses[worst[0]],
        worst_is=worst[0],
        idle_ms=idle,
    )


if __name__ == "__main__":
    main()
