"""Sound as it comes over a line: raw PCM goes to the model at once, anything else is kept until it is complete.

What is sent as PCM, or without a word, is looked at before it is believed: a browser's WebM would be heard as noise.
"""

import tempfile
from pathlib import Path

from modelhost.audio.formats import kind_of, wav_head
from modelhost.contract.errors import BadInputError
from modelhost.http.native.sockets.live_input import LiveInput

PCM = frozenset({"", "pcm", "pcm16", "pcm_s16le", "s16le", "raw"})
"""What clients call 16-bit little-endian PCM."""

GROWN = 16
"""A beginning is looked at again when it has grown by one part of so many. Chosen, because the sound is then late by no more than
that part of the head, and whoever sends it byte by byte has it read some hundred times, and not each time."""


class Incoming:
    """One stretch of sound; `live` says whether it is heard while it comes, None while that is not known yet."""

    def __init__(self, form: str, sample_rate: int, *, most_mb: float) -> None:
        """Take sound that is said to be of a format and a rate in Hz; as a file at most so many MiB."""
        kind = form.strip().lower().rpartition("/")[2].partition(";")[0].strip()
        self.live_input = LiveInput()
        self.live = None if kind in PCM else False
        self.format = "pcm" if kind in PCM else kind
        self.sample_rate = sample_rate
        self.path: Path | None = None
        self._most_mb = most_mb
        self._beginning = bytearray()
        self._look_at = 0  # bytes of it from which on it is worth a look
        self._left: int | None = None  # bytes of sound that are still to come, where a WAV file says how many it has

    async def put(self, data: bytes) -> None:
        """Take more sound. Raises `BadInputError` for more of it than a recording may have."""
        if self.live is None:
            self._beginning += data
            if len(self._beginning) >= self._look_at:
                self._look(complete=False)
            if self.live is None:
                return
            data, self._beginning = bytes(self._beginning), bytearray()
        if not self.live:
            self._store(data)
        elif self._left is None:
            await self.live_input.put(data)
        elif data := data[: self._left]:  # what follows the sound in a file is no sound
            self._left -= len(data)
            await self.live_input.put(data)

    async def finish(self) -> None:
        """Take what has come for all of it."""
        if self.live is None:
            self._look(complete=True)
            data, self._beginning = bytes(self._beginning), bytearray()
            if data:
                await self.put(data)
        self.live_input.finish()

    def forget(self) -> None:
        """Let go of everything."""
        self.live_input.stream.close()
        if self.path:
            self.path.unlink(missing_ok=True)

    def _look(self, *, complete: bool) -> None:
        """Find out what the sound is, if what has come of it tells."""
        beginning = bytes(self._beginning)
        self._look_at = len(beginning) + len(beginning) // GROWN
        kind = kind_of(beginning, complete=complete)
        if kind is None:
            return
        if kind != "wav":
            self.live = not kind
            self.format = kind or "pcm"
            return
        head = wav_head(beginning)
        if head and head.pcm:
            self.live = True
            self.sample_rate = head.sample_rate
            self._left = head.length
            del self._beginning[: head.start]
        elif head or complete:
            self.live = False
            self.format = "wav"

    def _store(self, data: bytes) -> None:
        if self.path is None:
            with tempfile.NamedTemporaryFile(prefix="modelhost-upload-", delete=False) as file:
                self.path = Path(file.name)
        if self.path.stat().st_size + len(data) > self._most_mb * 2**20:
            raise BadInputError(f"the recording is larger than {self._most_mb:g} MiB", param="audio")
        with self.path.open("ab") as file:
            file.write(data)
