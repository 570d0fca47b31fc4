"""A stand-in for the fish-speech API server: its wire format, its quirks and, on demand, its faults; instead of voices, tones.

Speech is a tenth of a second a word, in a pitch of its own for every voice. Like the original it computes on the event loop, so
that it answers nothing while it speaks; and for a voice it does not know it makes one, and speaks with a pitch of chance.

    python fish_server.py --port 8080 [--api-key KEY]
"""

import argparse
import base64
import email
import os
import random
import re
import signal
import socket
import struct
import threading
import zlib
from array import array
from email import policy
from math import sin, tau
from urllib.parse import parse_qs

import msgspec
import uvicorn
from modelhost.testing.upstream import ServerInThread

RATE = 44_100
WORD_SAMPLES = RATE // 10
OWN_PERIOD = 100
PIECE = 1023  # odd: samples come in halves
NAME = re.compile(r"^[a-zA-Z0-9\-_ ]+$")
RANGES = {"chunk_length": (100, 1000), "top_p": (0.1, 1), "repetition_penalty": (0.9, 2), "temperature": (0.1, 1)}


def period_of(seed):
    """Samples of one swing of a voice's tone."""
    return 40 + zlib.crc32(seed if isinstance(seed, bytes) else seed.encode()) % 50


def tone(text, period):
    swing = array("h", (int(9000 * sin(tau * n / period)) for n in range(period)))
    length = WORD_SAMPLES * len(text.split())
    return (swing * (length // period + 1))[:length].tobytes()


def wav(pcm, *, size=None):
    size = len(pcm) if size is None else size
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", (36 + size) % 2**32, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16, b"data", size
    )
    return header + pcm


class RefusedError(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class FishServer:
    """The ASGI application. Attributes are what a test may look at and turn."""

    def __init__(self, *, api_key=None, s1=False, max_text_length=0):
        self.api_key = api_key
        self.s1 = s1
        self.max_text_length = max_text_length
        self.references = {}
        self.requests = []
        """Bodies of all requests for speech that were understood."""
        self.calls = []
        """Method and path of every request, in order."""
        self.content_types = []
        self.answers = []
        """Statuses to answer with, next first, in place of working."""
        self.fault = None
        """`cut`, `silent`, `packed`, `stereo`, `hang` or `riff`, for the next speech and those after it."""
        self.speaking = threading.Event()
        self.hold = None
        """An event to wait for before speaking; meanwhile nothing at all is answered."""
        self.left = threading.Event()
        """Set when a client of a hanging stream is gone."""

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        content = b""
        more = True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            await self._answer(scope, headers, content, receive, send)
        except RefusedError as refused:
            error = {"statusCode": refused.status, "message": str(refused), "error": "HTTPException"}
            await reply(send, refused.status, msgspec.json.encode(error), "application/json")

    async def _answer(self, scope, headers, content, receive, send):
        method, path = scope["method"], scope["path"]
        self.calls.append(f"{method} {path}")
        if self.api_key and headers.get("authorization") != f"Bearer {self.api_key}":
            raise RefusedError(401, "Invalid token")
        if self.answers and path != "/v1/health":
            raise RefusedError(self.answers.pop(0), "on demand")
        if path == "/v1/health" and method in ("GET", "POST"):
            await reply(send, 200, b'{"status":"ok"}', "application/json")
        elif path == "/test/die":
            os._exit(3)
        elif (method, path) == ("POST", "/v1/tts"):
            await self._speak(decoded(content, headers), receive, send)
        else:
            work = {
                ("GET", "/v1/references/list"): self._list,
                ("POST", "/v1/references/add"): self._add,
                ("DELETE", "/v1/references/delete"): self._delete,
            }.get((method, path))
            if work is None:
                raise RefusedError(404, "Not Found")
            status, answer = work(decoded(content, headers) if content else {})
            accepted = parse_qs(scope["query_string"].decode()).get("format", [headers.get("accept", "")])[0]
            as_json = "json" in accepted and "msgpack" not in accepted
            encode = msgspec.json.encode if as_json else msgspec.msgpack.encode
            await reply(send, status, encode(answer), f"application/{'json' if as_json else 'msgpack'}")

    def _list(self, body):
        return 200, {
            "success": True,
            "reference_ids": list(self.references),
            "message": f"Found {len(self.references)} reference voices",
        }

    def _add(self, body):
        name = body["id"]
        if not NAME.match(name) or not body["text"].strip() or not body["audio"]:
            return 400, {"success": False, "message": "invalid", "reference_id": name}
        if name in self.references:
            return 409, {"success": False, "message": f"Reference ID '{name}' already exists", "reference_id": name}
        self.references[name] = (body["audio"], body["text"])
        return 200, {"success": True, "message": "added", "reference_id": name}

    def _delete(self, body):
        name = body["reference_id"]
        if self.references.pop(name, None) is None:
            return 404, {"success": False, "message": f"Reference ID '{name}' not found", "reference_id": name}
        return 200, {"success": True, "message": "deleted", "reference_id": name}

    async def _speak(self, body, receive, send):
        self._check(body)
        self.requests.append(body)
        self.speaking.set()
        if self.hold:
            self.hold.wait(30)  # on the event loop, as the original computes
        period = self._period(body)
        pcm = b"" if self.fault == "silent" else tone(body["text"], period)
        if not body.get("streaming", False):
            if body.get("format", "wav") in ("pcm", "opus"):
                raise RefusedError(500, "Failed to generate speech")
            await reply(send, 200, wav(pcm), "audio/wav")
            return
        if self.fault == "riff":
            pcm = wav(pcm, size=0)
        if self.fault == "stereo":
            pcm = wav(pcm).replace(b"\x01\x00\x01\x00", b"\x01\x00\x02\x00", 1)
        await self._stream(pcm, receive, send)

    async def _stream(self, data, receive, send):
        packed = [(b"content-encoding", b"gzip")] if self.fault == "packed" else []
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"audio/wav"), *packed]})
        for number, at in enumerate(range(0, len(data), PIECE)):
            await send({"type": "http.response.body", "body": data[at : at + PIECE], "more_body": True})
            if self.fault == "cut" and number == 2:
                raise ConnectionError("as asked")
            if self.fault == "hang" and number == 2:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.left.set()
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _check(self, body):
        if self.max_text_length and len(body["text"]) > self.max_text_length:
            raise RefusedError(400, f"Text is too long, max length is {self.max_text_length}")
        if body.get("streaming") and body.get("format", "wav") != "wav":
            raise RefusedError(400, "Streaming only supports WAV format")
        ranges = {**RANGES, "chunk_length": (100, 300)} if self.s1 else RANGES
        for field, (low, high) in ranges.items():
            if field in body and not low <= body[field] <= high:
                raise RefusedError(422, body["text"])  # validation errors have the input in them

    def _period(self, body):
        name = body.get("reference_id")
        if name is not None:
            if name not in self.references:
                self.references[name] = (b"", "")  # the original makes a folder
                return random.randrange(40, 90)
            return period_of(name)
        samples = [sample["audio"] for sample in body.get("references", [])]
        return period_of(b"".join(sample_bytes(sample) for sample in samples)) if samples else OWN_PERIOD


def sample_bytes(audio):
    """A string of up to 255 characters is taken for the bytes themselves."""
    return audio if isinstance(audio, bytes) else base64.b64decode(audio) if len(audio) > 255 else audio.encode()


def decoded(content, headers):
    kind = headers.get("content-type", "").partition(";")[0]
    if kind == "application/msgpack":
        return msgspec.msgpack.decode(content)
    if kind == "application/json":
        return msgspec.json.decode(content)
    if kind != "multipart/form-data":
        raise RefusedError(415, "Unsupported Media Type")
    message = email.message_from_bytes(
        b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + content, policy=policy.HTTP
    )
    form = {}
    for part in message.iter_parts():
        value = part.get_payload(decode=True)
        form[part.get_param("name", header="content-disposition")] = value if part.get_filename() else value.decode()
    return form


async def reply(send, status, content, kind):
    length = str(len(content)).encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class InThread(ServerInThread):
    """A running stand-in with its address; it accepts from the start."""

    def __init__(self, **settings):
        super().__init__(FishServer(**settings))

    def stop(self):
        if self.app.hold:
            self.app.hold.set()
        super().stop()


def start_child(port):
    with socket.create_server(("127.0.0.1", port)):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                signal.pause()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-key")
    parser.add_argument("--child-port", type=int, help="start a process that listens there and minds no signal but KILL")
    arguments = parser.parse_args()
    if arguments.child_port:
        start_child(arguments.child_port)
    uvicorn.run(
        FishServer(api_key=arguments.api_key),
        host="127.0.0.1",
        port=arguments.port,
        lifespan="off",
        ws="none",
        log_level="warning",
    )


if __name__ == "__main__":
    main()
