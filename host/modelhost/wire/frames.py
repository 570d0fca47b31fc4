"""The frames: what the host and a worker say to each other, and how it looks in bytes.

A frame is four bytes of length (big-endian) and that many bytes of MessagePack: an array that starts with the frame's name.
Unknown fields at the end are ignored, so either side may be newer; what is not compatible raises `PROTOCOL`.
"""

from typing import Any, get_args

import msgspec

from modelhost.contract.card import ModelCard
from modelhost.contract.context import CallInfo
from modelhost.contract.errors import BackendFailedError
from modelhost.contract.failures import FailureReport
from modelhost.contract.log import Level
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability, Blob

PROTOCOL = 2
"""The version of these frames. It grows when an old worker and a new host would misunderstand each other."""

MAX_FRAME = 64 * 1024 * 1024
"""Bytes. Chosen, because no frame of ours comes near it: a longer one is a fault or an attack, and the connection is cut."""

WINDOW = 256 * 1024
"""Bytes of events (or of live input) a call may be ahead of its reader, each way, before the reader grants more. Chosen, because
a slow client then holds little, and they are seconds of a fast model's text."""


class Frame(Struct, array_like=True, tag=str.lower):
    """One thing said."""


class Hello(Frame):
    """Worker → host, first: who is there, and what of requests it knows, which are to name nothing else."""

    protocol: int
    version: str
    python: str
    pid: int
    fields: dict[str, list[str]]
    structs: dict[str, list[str]] = {}
    """The structs within requests that it knows, with their fields; see `wire.vocabulary`."""


class Load(Frame):
    """Host → worker, once: which backend to make, for which model."""

    plugin: str
    model: str
    options: dict[str, Any]
    threads: int


class Ready(Frame):
    """Worker → host: the model is loaded."""

    card: ModelCard


class Call(Frame):
    """Either way: ask for an ability. The host's ids are even, a worker's are odd."""

    id: int
    ability: Ability
    model: str
    request: msgspec.Raw
    info: CallInfo


class Input(Frame):
    """After a `Call` with `info.live`: more of the live input; `end` with the last."""

    id: int
    data: bytes = b""
    end: bool = False


class Cancel(Frame):
    """From who called: stop working on it. The answer is still an `End` or an `Error`."""

    id: int


class Credit(Frame):
    """From who reads: that many more bytes may be sent, of events or (`input`) of live input."""

    id: int
    bytes: int
    input: bool = False


class Events(Frame):
    """Everything one step brought: for each call its id and an array of its events."""

    calls: list[tuple[int, msgspec.Raw]]


class End(Frame):
    """The call's last event has been sent."""

    id: int


class Error(Frame):
    """A call failed, or (no id) loading did; `facts` rebuild the error."""

    facts: dict[str, Any]
    id: int | None = None


class LogLine(Frame):
    """Worker → host: a log line of a backend."""

    level: Level
    event: str
    facts: dict[str, Any]


class Failed(Frame):
    """Worker → host: a backend raised what it did not mean to. Whole, so for an administrator alone."""

    report: FailureReport


class Ping(Frame):
    """Host → worker: are you there?"""

    seq: int


class Stats(Frame):
    """Worker → host, the answer to a ping: memory in bytes, how many calls it works on, and the backend's own figures."""

    seq: int
    rss: int
    calls: int
    measures: dict[str, float] = {}


class Drain(Frame):
    """Host → worker: finish nothing more, unload and exit."""


AnyFrame = Hello | Load | Ready | Call | Input | Cancel | Credit | Events | End | Error | LogLine | Failed | Ping | Stats | Drain

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyFrame)
_KINDS = frozenset(kind.__struct_config__.tag for kind in get_args(AnyFrame))


def _is_newer(body: bytes) -> bool:
    """Return whether bytes are a frame of a kind that only a newer modelhost knows: what must not be missed raises `PROTOCOL`."""
    value = msgspec.msgpack.decode(body)
    return isinstance(value, list) and bool(value) and isinstance(value[0], str) and value[0] not in _KINDS


def encode(frame: Frame) -> bytes:
    """Return a frame's bytes, length first."""
    buffer = bytearray(4)
    _encoder.encode_into(frame, buffer, 4)
    size = len(buffer) - 4
    if size > MAX_FRAME:
        raise BackendFailedError(f"a frame of {size} bytes is over the limit of {MAX_FRAME}; send it in pieces")
    buffer[:4] = size.to_bytes(4, "big")
    return bytes(buffer)


class FrameReader:
    """Cuts a stream of bytes into frames, however the bytes arrive. Frames of kinds that are not known yet are left out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[AnyFrame]:
        """Take more bytes, give the frames that are now whole. Raises ValueError for what is no frame."""
        buffer = self._buffer
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= 4:
            size = int.from_bytes(buffer[start : start + 4], "big")
            if size > MAX_FRAME:
                raise ValueError(f"a frame claims {size} bytes")
            if len(buffer) - start - 4 < size:
                break
            # A copy: the raw parts of a frame live on after the buffer has moved.
            body = bytes(buffer[start + 4 : start + 4 + size])
            try:
                frames.append(_decoder.decode(body))
            except msgspec.ValidationError:
                if not _is_newer(body):
                    raise
            start += 4 + size
        if start:
            del buffer[:start]
        return frames


def to_wire(value: Any) -> Any:
    """Encode what msgspec does not know: for `msgspec.msgpack.Encoder(enc_hook=...)`."""
    if isinstance(value, Blob):
        return value.to_wire(None)
    raise NotImplementedError(f"{type(value).__name__} does not cross to a worker")


def from_wire(kind: type, value: Any) -> Any:
    """Decode what msgspec does not know: for `msgspec.msgpack.Decoder(dec_hook=...)`."""
    if kind is Blob:
        return Blob.from_wire(value)
    raise NotImplementedError(f"{kind.__name__} does not cross to a worker")
