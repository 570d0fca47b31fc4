"""What the model looks at in one go, and where it looks next: decisions over times alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelhost.audio import PADDING, SAMPLE_RATE, Samples, Span, Window

WINDOW = 30.0
"""Seconds of audio the models look at, whatever is said in them."""

LEAST = 0.3
"""Seconds; less sound is not worth a look."""

_FRAME = 0.02
"""Seconds; what is left of the last frames is no sound."""

SKIPPED = 5.0
"""Seconds passed over where the model hears nothing, before it is asked again: so a window is asked about six times at most."""

LOOSE = 0.3
"""Seconds by which the times that a model writes are too early, now and then."""

TAIL = 1.0
"""Seconds of speech without a pause after the model's last time that are taken for its looseness and not for something missed."""


@dataclass(frozen=True)
class Look:
    """Up to `WINDOW` seconds of a window, from some second of it on. All its times count from there."""

    window: Window
    at: float = 0.0

    @property
    def samples(self) -> Samples:
        """The sound."""
        start = round(self.at * SAMPLE_RATE)
        return self.window.samples[start : start + round(WINDOW * SAMPLE_RATE)]

    @property
    def left(self) -> float:
        """Seconds to the end of the window."""
        return len(self.window.samples) / SAMPLE_RATE - self.at

    @property
    def length(self) -> float:
        """Seconds of sound in it."""
        return min(WINDOW, self.left)

    @property
    def speech(self) -> list[Span]:
        """Where somebody speaks in it."""
        spans = (
            Span(start=max(span.start - self.at, 0.0), end=min(span.end - self.at, self.length)) for span in self.window.speech
        )
        return [span for span in spans if span.end > span.start]

    @property
    def spoken(self) -> float:
        """Seconds of speech in it; a little where nobody knows of any."""
        return max(sum(span.end - span.start for span in self.speech), LEAST)

    def following(self) -> Iterator["Look"]:
        """Return the looks that follow in the window side by side, whatever is heard in them."""
        look = self._on(WINDOW)
        while look:
            yield look
            look = look._on(WINDOW)

    def after(self, covered: float, heard_to: float) -> "Look | None":
        """Look on after `covered` seconds; where those are all, after speech was heard up to a time, at the speech that follows.

        A model ends now and then although somebody speaks after a pause, or in another language. None where nothing is left.
        """
        if covered < self.length - _FRAME:
            return self._on(covered)
        missed = self._missed(heard_to)
        return self._on(self.length if missed is None else missed)

    def past(self) -> "Look | None":
        """Look elsewhere, where nothing could be heard in this one; None where there is no other speech."""
        started = [span.start for span in self.speech if span.start < self.length - LEAST]
        later = [start for start in started if start >= started[0] + SKIPPED]
        return self._on(later[0] - PADDING if later else self.length)

    def _missed(self, heard_to: float) -> float | None:
        if heard_to < LEAST:
            return None
        for span in self.speech:
            start = max(span.start, heard_to)
            if span.end - start >= (LEAST if span.start >= heard_to - LOOSE else TAIL):
                return max(heard_to, start - PADDING)
        return None

    def _on(self, seconds: float) -> "Look | None":
        return Look(self.window, self.at + seconds) if self.left - seconds >= LEAST else None


class Windows:
    """The windows of a recording, in order; those that come next can be looked at before they are taken."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self._windows = iter(windows)
        self._seen: list[Window] = []

    def take(self) -> Window | None:
        """Take the next."""
        return self._seen.pop(0) if self._seen else next(self._windows, None)

    def ahead(self) -> Iterator[Look]:
        """Return what there is to look at in those that have not been taken."""
        for number in range(1_000_000):
            if number == len(self._seen):
                window = next(self._windows, None)
                if window is None:
                    return
                self._seen.append(window)
            first = Look(self._seen[number])
            yield first
            yield from first.following()
