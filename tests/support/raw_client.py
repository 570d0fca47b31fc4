"""A client that says exactly what it is told to, byte by byte, and requests for it to say."""

import contextlib
import json
import socket
from typing import Any


class Client:
    """A client that says exactly what it is told to."""

    def __init__(self, url: str, *, source: str = "127.0.0.1", receives: int = 0) -> None:
        self.socket = socket.socket()
        if receives:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(10)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        self._read = b""

    def send(self, *pieces: bytes) -> "Client":
        """Send bytes, as long as somebody takes them."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.socket.sendall(piece)
        return self

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._read += data

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer that says how long it is."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(self._read) < int(headers["content-length"]):
            self._more()
        body, self._read = self._read[: int(headers["content-length"])], self._read[int(headers["content-length"]) :]
        return int(status.split()[1]), headers, body

    def error(self) -> tuple[int, str]:
        """Read an answer that must be OpenAI's envelope and the last one; returns its status and its code."""
        status, headers, body = self.answer()
        assert (headers["content-type"], headers["connection"]) == ("application/json", "close")
        error = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert self.ended()
        return status, error["code"]

    def said(self) -> str:
        """Read the answer of a chat."""
        status, _, body = self.answer()
        assert status == 200, body
        return str(json.loads(body)["choices"][0]["message"]["content"]).strip()

    def ended(self) -> bool:
        """Whether nothing more comes but the end."""
        try:
            return not self._read and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *raised: object) -> None:
        self.socket.close()


def chat(text: str = "hello", model: str = "echo", *, headers: str = "", **settings: Any) -> bytes:
    """A whole request."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **settings}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def handshake(path: str, headers: str = "") -> bytes:
    """A request to speak WebSocket."""
    upgrade = "host: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    return f"GET {path} HTTP/1.1\r\n{upgrade}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n".encode()


GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"


def many(n: int) -> bytes:
    return b"".join(b"x-%d: y\r\n" % i for i in range(n))
