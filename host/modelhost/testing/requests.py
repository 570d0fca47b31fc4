"""Small requests to try a backend with."""

import math
import struct
from typing import Any

from modelhost.authors.wav import wav
from modelhost.contract.types import GenerateRequest, Message, TextPart


def chat(*turns: str, **settings: Any) -> GenerateRequest:
    """Make a conversation: the turns are the user's and the assistant's by turns."""
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[at % 2], content=(TextPart(text=text),)) for at, text in enumerate(turns))  # type: ignore[arg-type]
    return GenerateRequest(messages=messages, **settings)


def tone(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """Make a WAV file with a tone of 440 Hz: 16-bit, mono."""
    samples = (int(12_000 * math.sin(math.tau * 440 * n / rate)) for n in range(int(seconds * rate)))
    return wav(b"".join(struct.pack("<h", sample) for sample in samples), rate)
