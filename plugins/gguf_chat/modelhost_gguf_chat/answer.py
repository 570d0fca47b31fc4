"""The text of an answer as it grows out of tokens."""

import sys
from collections import deque

from modelhost import Delta, StopStrings, TokenLogprob

from modelhost_gguf_chat.tokens import Utf8Decoder


class Answer:
    """Turns tokens into deltas: whole characters only, nothing of a stop string, and never an empty delta.

    A token's probability comes with the text it begins; one that begins inside or after the stop string is dropped.
    """

    def __init__(self, stops: tuple[str, ...], index: int = 0) -> None:
        self._index = index
        self._decoder = Utf8Decoder()
        self._stops = StopStrings(stops)
        self._decoded = 0
        self._released = 0
        self._logprobs: deque[tuple[int, TokenLogprob]] = deque()

    @property
    def stopped(self) -> bool:
        """Return whether a stop string has ended the answer."""
        return self._stops.stopped

    @property
    def stop(self) -> str | None:
        """Which stop string has ended the answer."""
        return self._stops.met

    def feed(self, data: bytes, logprob: TokenLogprob | None = None) -> Delta | None:
        """Add a token; returns the text that is certain by now, if there is any."""
        if logprob is not None:
            self._logprobs.append((self._decoded, logprob))
        text = self._decoder.feed(data)
        self._decoded += len(text)
        certain = self._stops.feed(text)
        self._released += len(certain)
        return self._delta(certain) if certain else None

    def finish(self) -> Delta | None:
        """Return what was held back, when no more tokens come; a character that was cut off is left out."""
        if self.stopped:
            return None
        text = self._stops.flush()
        self._released = self._released + len(text) if self.stopped else sys.maxsize
        return self._delta(text)

    def _delta(self, text: str) -> Delta | None:
        due = []
        while self._logprobs and self._logprobs[0][0] < self._released:
            due.append(self._logprobs.popleft()[1])
        return Delta(text=text, logprobs=tuple(due), index=self._index) if text or due else None
