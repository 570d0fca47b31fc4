"""A line to a host, as a WebSocket's client has it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from serving import Served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


class Line:
    """A line to the host that speaks JSON."""

    def __init__(self, line: ClientConnection) -> None:
        self.line = line

    def say(self, **message: Any) -> None:
        self.line.send(json.dumps(message))

    def hear(self) -> Any:
        told = self.line.recv(timeout=60)
        return told if isinstance(told, bytes) else json.loads(told)

    def until(self, *kinds: str) -> list[Any]:
        """Everything up to the first message of one of the types."""
        heard = [self.hear()]
        while heard[-1]["type"] not in kinds:
            heard.append(self.hear())
        return heard

    def error(self) -> Any:
        told = self.hear()
        assert told["type"] == "error", told
        return told["error"]

    def closed(self) -> int:
        """Wait for the end of the line; returns its code."""
        with pytest.raises(ConnectionClosed) as closed:
            self.hear()
        return closed.value.rcvd.code if closed.value.rcvd else 0


@contextmanager
def open_line(host: Served, path: str, **settings: Any) -> Iterator[Line]:
    """Open a line with the key that the host's client has."""
    key = host.client.headers.get("authorization")
    headers = {"authorization": key} if key else {}
    with connect(f"{host.url.replace('http', 'ws', 1)}{path}", additional_headers=headers, **settings) as line:
        yield Line(line)
