"""Recordings as an upstream wants them: a file whose name ends in what it is."""

from base64 import b64encode
from io import BytesIO
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from modelhost import AudioPart, Blob, TranscribeRequest

from modelhost_openai_api.wav import SAMPLE_BYTES, header

IN_MEMORY = 1024 * 1024
"""Bytes up to which a recording is read at once; a larger one is sent from its file. Chosen, because the host sends larger blobs
as files too."""

_MEDIA_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
    "webm": "audio/webm",
    "aac": "audio/aac",
    "amr": "audio/amr",
}


class Recording(NamedTuple):
    """A file to upload; whoever takes it closes it."""

    file: IO[bytes]
    name: str
    media_type: str
    seconds: float | None
    """How long it is, where that takes no decoding."""


def open_recording(request: TranscribeRequest) -> Recording:
    """Return the request's audio as a file; blocks while a large one is copied. Raw PCM gets a WAV header in front."""
    assert request.audio is not None  # the card has no "live"
    kind = kind_of(request.audio, request.format)
    if kind == "pcm":
        seconds = request.audio.size / SAMPLE_BYTES / request.sample_rate
        return Recording(_with_header(request.audio, request.sample_rate), "audio.wav", "audio/wav", seconds)
    file = BytesIO(request.audio.read()) if request.audio.size <= IN_MEMORY else request.audio.open()
    return Recording(file, f"audio.{kind}", _MEDIA_TYPES.get(kind, "application/octet-stream"), None)


def kind_of(audio: Blob, declared: str) -> str:
    """Return the format by what a recording begins with, and only where that tells nothing by what the caller says."""
    with audio.open() as file:
        head = file.read(12)
    declared = declared.lower().lstrip(".")
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "wav"
    if declared == "pcm":  # any bytes are PCM: what looks like something else may be a coincidence
        return declared
    return _by_signature(head) or (declared if declared.isalnum() and declared.isascii() else "wav")


def _by_signature(head: bytes) -> str | None:
    for kind, signature in (("flac", b"fLaC"), ("ogg", b"OggS"), ("mp3", b"ID3"), ("webm", b"\x1aE\xdf\xa3"), ("amr", b"#!AMR")):
        if head.startswith(signature):
            return kind
    if head[4:8] == b"ftyp":
        return "m4a"
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0:  # a frame of MPEG audio; layer 0 is AAC's
        return "mp3" if head[1] & 0x06 else "aac"
    return None


def _with_header(audio: Blob, rate: int) -> IO[bytes]:
    file: IO[bytes] = BytesIO() if audio.size <= IN_MEMORY else TemporaryFile()  # noqa: SIM115  # handed to the caller
    file.write(header(rate, audio.size))
    with audio.open() as pcm:
        copyfileobj(pcm, file)
    file.seek(0)
    return file


def spoken(part: AudioPart) -> dict[str, str]:
    """Return the sound of a message as chat has it: base64 and what it is."""
    return {"data": b64encode(part.audio.read()).decode(), "format": kind_of(part.audio, part.format)}
