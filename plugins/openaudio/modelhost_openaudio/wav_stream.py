"""Whole samples out of what the server sends: a WAV file, or bare samples that only claim to be one."""

import struct

from modelhost import BackendFailedError

SAMPLE_RATE = 44_100
"""Hz, of the codec of OpenAudio S1 and fish-speech (https://github.com/fishaudio/fish-speech); bare samples have it."""

RATES = range(8_000, 192_001)
"""Hz, of the contract's sound."""

HEADER_LIMIT = 64 * 1024
"""Bytes that may stand before the samples of a WAV file. Chosen, because a server's own header has 44."""

STREAM_SIZE = 0x7FFF_0000
"""Bytes; lengths from here on, and 0, mean that the writer of the header did not know it. Chosen, because no answer is so
long."""


class WavStream:
    """Takes the bytes of an answer as they come, and gives 16-bit little-endian mono PCM."""

    def __init__(self) -> None:
        self.sample_rate = SAMPLE_RATE
        """Hz; final from the first samples on."""
        self._held = b""
        self._in_samples = False
        self._left: int | None = None
        """Bytes of samples that are still to come; None where the header does not say, or is not there."""

    def feed(self, data: bytes) -> bytes:
        """Return the samples that are whole with these bytes. Raises `BackendFailedError` for another kind of sound."""
        self._held += data
        if not self._in_samples:
            self._in_samples = self._past_header()
        return self._whole_samples() if self._in_samples else b""

    def finish(self) -> None:
        """Raise `BackendFailedError` if the sound ended before it was complete."""
        if self._left or (self._left is None and self._held):
            raise BackendFailedError("the sound from the speech server was cut in the middle; send the request again", retry=True)

    def _whole_samples(self) -> bytes:
        available = len(self._held) if self._left is None else min(len(self._held), self._left)
        whole = available - available % 2
        samples, self._held = self._held[:whole], self._held[whole:]
        if self._left is not None:
            self._left -= whole
        return samples

    def _past_header(self) -> bool:
        """Drop the header, if there is one; False as long as it is not complete."""
        if not self._held.startswith(b"RIFF"):
            return not b"RIFF".startswith(self._held)
        at = 12
        while len(self._held) >= at + 8:
            name, size = struct.unpack_from("<4sI", self._held, at)
            at += 8
            if name == b"data":
                self._left = None if size == 0 or size >= STREAM_SIZE else size
                self._held = self._held[at:]
                return True
            if name == b"fmt " and len(self._held) >= at + 16:
                self._read_format(at)
            at += size + size % 2
        if len(self._held) > HEADER_LIMIT:
            raise BackendFailedError("the speech server sent something that is no WAV file; check base_url and path")
        return False

    def _read_format(self, at: int) -> None:
        _, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", self._held, at)
        if (channels, bits) != (1, 16):
            raise BackendFailedError(f"the speech server sent {bits}-bit sound with {channels} channels, not 16-bit mono")
        if rate not in RATES:
            raise BackendFailedError(f"the speech server sent sound of {rate} Hz, which is no rate of speech")
        self.sample_rate = rate
