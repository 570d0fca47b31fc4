"""Which excerpt of a window the model computes next: decisions over times alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelhost.audio import PADDING, SAMPLE_RATE, Samples, Span, Window

WINDOW = 30.0
"""Seconds of audio the models read in one go: the `CHUNK_LENGTH` of https://github.com/openai/whisper, whisper/audio.py."""

LEAST = 0.3
"""Seconds; less sound is not computed. Chosen, because the shortest words are about as long."""

_FRAME = 0.02
"""Seconds of a frame of the encoder, likewise; what is left of the last one is no sound."""

SKIPPED = 5.0
"""Seconds passed over where the model hears nothing; chosen, because a window is then computed six times at most."""

LOOSE = 0.3
"""Seconds by which a model's times are sometimes too early; chosen, because speech tests/test_spoken_clips.py has needs it."""

TAIL = 1.0
"""Seconds of speech without a pause after the model's last time up to which nothing counts as missed; chosen, likewise."""


@dataclass(frozen=True)
class Excerpt:
    """Up to `WINDOW` seconds of a window, from second `at` on. All its times count from there."""

    window: Window
    at: float = 0.0

    @property
    def samples(self) -> Samples:
        """Return the sound."""
        start = round(self.at * SAMPLE_RATE)
        return self.window.samples[start : start + round(WINDOW * SAMPLE_RATE)]

    @property
    def left(self) -> float:
        """Return the seconds to the end of the window."""
        return len(self.window.samples) / SAMPLE_RATE - self.at

    @property
    def length(self) -> float:
        """Return the seconds of sound in it."""
        return min(WINDOW, self.left)

    @property
    def speech(self) -> list[Span]:
        """Return where somebody speaks in it."""
        spans = (
            Span(start=max(span.start - self.at, 0.0), end=min(span.end - self.at, self.length)) for span in self.window.speech
        )
        return [span for span in spans if span.end > span.start]

    @property
    def spoken(self) -> float:
        """Return the seconds of speech in it; `LEAST` where no speech was found."""
        return max(sum(span.end - span.start for span in self.speech), LEAST)

    def following(self) -> Iterator["Excerpt"]:
        """Yield the excerpts that follow in the window side by side, whatever is said in them."""
        excerpt = self._starting_at(WINDOW)
        while excerpt:
            yield excerpt
            excerpt = excerpt._starting_at(WINDOW)

    def after(self, covered: float, speech_end: float) -> "Excerpt | None":
        """Return the excerpt after `covered` seconds, or, if those are all, at speech after `speech_end`; None at the end.

        A model sometimes stops although somebody speaks after a pause, or in another language.
        """
        if covered < self.length - _FRAME:
            return self._starting_at(covered)
        missed = self._unheard_from(speech_end)
        return self._starting_at(self.length if missed is None else missed)

    def past(self) -> "Excerpt | None":
        """Return the excerpt at later speech, for one whose text is empty; None where there is no other speech."""
        started = [span.start for span in self.speech if span.start < self.length - LEAST]
        later = [start for start in started if start >= started[0] + SKIPPED]
        return self._starting_at(later[0] - PADDING if later else self.length)

    def _unheard_from(self, speech_end: float) -> float | None:
        if speech_end < LEAST:
            return None
        for span in self.speech:
            start = max(span.start, speech_end)
            if span.end - start >= (LEAST if span.start >= speech_end - LOOSE else TAIL):
                return max(speech_end, start - PADDING)
        return None

    def _starting_at(self, seconds: float) -> "Excerpt | None":
        return Excerpt(self.window, self.at + seconds) if self.left - seconds >= LEAST else None


class Windows:
    """The windows of a recording, in order; later ones can be read before they are taken."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self._windows = iter(windows)
        self._seen: list[Window] = []

    def take(self) -> Window | None:
        """Return the next window; None at the end."""
        return self._seen.pop(0) if self._seen else next(self._windows, None)

    def ahead(self) -> Iterator[Excerpt]:
        """Yield the excerpts of the windows that have not been taken."""
        for number in range(1_000_000):
            if number == len(self._seen):
                window = next(self._windows, None)
                if window is None:
                    return
                self._seen.append(window)
            first = Excerpt(self._seen[number])
            yield first
            yield from first.following()
