"""Small requests to try a backend with."""

import io
import math
import struct
import wave
from typing import Any

from modelhost.contract.types import GenerateRequest, Message, TextPart


def chat(*turns: str, **settings: Any) -> GenerateRequest:
    """Make a conversation: the turns are the user's and the assistant's by turns."""
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[at % 2], content=(TextPart(text=text),)) for at, text in enumerate(turns))  # type: ignore[arg-type]
    return GenerateRequest(messages=messages, **settings)


def tone(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """Make a WAV file with a tone of 440 Hz: 16-bit, mono."""
    samples = (int(12_000 * math.sin(math.tau * 440 * n / rate)) for n in range(int(seconds * rate)))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()
