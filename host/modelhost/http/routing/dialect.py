"""A dialect: how one API speaks beside the shapes of its routes, which its owner specifies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import msgspec

from modelhost.contract.errors import ModelhostError


class Envelope(Protocol):
    """What a failure is told in: a struct, written as JSON."""

    @classmethod
    def of(cls, error: ModelhostError) -> Self:
        """Return the envelope of an error."""
        ...


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How the events of a stream are written."""

    media_type: str
    event: Callable[[Any], bytes]
    """Writes one event."""
    sign_of_life: bytes
    """What clients pass over, sent when nothing else is for long; nothing where there is no such thing."""


def server_sent_event(value: Any) -> bytes:
    """Write a value as an event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


SERVER_SENT_EVENTS = Framing(
    media_type="text/event-stream",
    event=server_sent_event,
    sign_of_life=b": still at work\n",  # clients that take a blank line for the end of an event get no empty one
)
"""https://html.spec.whatwg.org/multipage/server-sent-events.html"""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One API. Its routes name it in their spec; what no route answers is told in the dialect whose paths it is under."""

    name: str
    envelope: type[Envelope] | None = None
    """None: failures are told as the default dialect tells them."""
    framing: Framing = SERVER_SENT_EVENTS
    paths: tuple[str, ...] = ()
    """Beginnings of paths that are of this API, also where no route of it is."""
    key_headers: tuple[str, ...] = ()
    """Headers in which its clients send their key, beside `Authorization` and the host's own; in small letters."""
    key_parameter: str = ""
    """Parameter of the URL's query in which they do; none where it is empty."""

    def body_of(self, error: ModelhostError) -> Envelope:
        """Return an error as the body of an answer."""
        assert self.envelope is not None, "ask the table of dialects, which gives every one an envelope"
        return self.envelope.of(error)

    def error_event(self, error: ModelhostError) -> bytes:
        """Return an error as an event, for a stream whose status has already gone out."""
        return self.framing.event(self.body_of(error))

    def error_message(self, error: ModelhostError) -> bytes:
        """Return an error as a message of a WebSocket: the body of an answer, and its type."""
        return msgspec.json.encode({"type": "error", **msgspec.to_builtins(self.body_of(error))})
