"""A WAV file out of PCM, with nothing but the standard library."""

import io
import wave


def wav(pcm: bytes, rate: int = 16_000) -> bytes:
    """Return a file of 16-bit little-endian mono PCM at `rate` Hz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()
