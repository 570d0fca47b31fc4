"""Text to speech: a text goes up, its sound comes down as it is made."""

from collections.abc import AsyncIterator
from typing import Any

from modelhost import (
    AudioChunk,
    BackendFailedError,
    Context,
    Done,
    SynthesizeEvent,
    SynthesizeRequest,
    UnsupportedError,
    Usage,
)

from modelhost_openai_api.card import PCM_RATE
from modelhost_openai_api.upstream import Upstream
from modelhost_openai_api.wav import SAMPLE_BYTES, find_sound

_OURS = ("normalize", "seed", "temperature", "top_p", "repetition_penalty", "chunk_length", "max_tokens")
"""Fields of a request that OpenAI's speech has not."""

_FILES = (b"ID3", b"OggS", b"fLaC")
"""How sound begins that is neither PCM nor WAV; played as PCM it would be noise."""

SNIFFED = 4
"""Bytes by which PCM is told from files: `RIFF`, `OggS`, `fLaC` and `ID3` are no longer."""


async def synthesize(upstream: Upstream, request: SynthesizeRequest, context: Context) -> AsyncIterator[SynthesizeEvent]:
    """Yield the upstream's sound, in pieces of whole samples. Raises `ModelhostError`."""
    sound = SoundReader(upstream.options.speech_format)
    made = 0
    async with upstream.post_json("speech", context, _body(upstream, request)) as response:
        async for piece in response.aiter_bytes():
            if data := sound.feed(piece):
                made += len(data) // SAMPLE_BYTES
                yield AudioChunk(data=data, sample_rate=sound.rate)
    sound.check_end()
    yield Done(usage=Usage(audio_seconds=made / sound.rate))


def _body(upstream: Upstream, request: SynthesizeRequest) -> dict[str, Any]:
    """Return the body. Raises `UnsupportedError` for a field the upstream has no word for."""
    options = upstream.options
    ours = {name: value for name in _OURS if (value := getattr(request, name)) is not None}
    if ours and not options.extensions:
        name = next(iter(ours))
        raise UnsupportedError(f"the upstream's speech takes no {name}; leave it out", param=name)
    body = {
        "model": upstream.model,
        "input": request.text,
        "voice": request.voice or options.voice,
        "response_format": options.speech_format,
    }
    if request.instructions:
        body["instructions"] = request.instructions
    return body | ({} if request.speed == 1.0 else {"speed": request.speed}) | ours


class SoundReader:
    """Takes sound as it comes, PCM or a WAV file, and gives whole 16-bit samples."""

    def __init__(self, form: str) -> None:
        self.rate = PCM_RATE
        """Hz; of a WAV file known when the first samples are."""
        self._form = form
        self._head: bytes | None = b""
        self._left: int | None = None
        self._odd = b""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes; returns the samples they complete, maybe none. Raises `BackendFailedError` for another format."""
        if self._head is not None:
            begun = self._begin(self._head + piece)
            if begun is None:
                return b""
            piece = begun
        if self._left is not None:  # what comes after the samples of a WAV file is about them, not of them
            piece = piece[: self._left]
            self._left -= len(piece)
        data = self._odd + piece
        whole = len(data) - len(data) % SAMPLE_BYTES
        self._odd = data[whole:]
        return data[:whole]

    def check_end(self) -> None:
        """Raise `BackendFailedError` where there was a file, but no sound in it, or less than its header says."""
        if self._head:
            raise BackendFailedError("the upstream's sound ended before it began")
        if self._left:
            raise BackendFailedError("the upstream's sound was cut in the middle")

    def _begin(self, head: bytes) -> bytes | None:
        """Take the beginning; returns what there is of the samples, None where it is too short to tell."""
        self._head = head
        if len(head) < SNIFFED:
            return None
        if self._form == "pcm" and not head.startswith(b"RIFF"):
            if head.startswith(_FILES):
                raise BackendFailedError("the upstream's sound is not the pcm it was asked for; set speech_format to wav")
            self._head = None
            return head
        try:
            found = find_sound(head)
        except ValueError as wrong:
            raise BackendFailedError(f"the upstream's sound cannot be used: {wrong}") from None
        if found is None:
            return None
        self._head, self.rate, self._left = None, found.rate, found.size
        return head[found.begin :]
