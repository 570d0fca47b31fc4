"""Rising times: no segment and no word begins before the one before it has ended, and each has a length."""

from collections.abc import Sequence

from modelhost import Segment, Word
from msgspec import structs

SHORTEST = 0.02
"""Seconds of a word: the step of the models' timestamps, `segments.PRECISION`. Chosen, because readers want words to have a
length."""


def with_rising_times(segment: Segment, after: float) -> Segment:
    """Return a segment that begins at `after` or later, with its words one after the other inside it."""
    start = max(segment.start, after)
    end = max(segment.end, round(start + SHORTEST * max(1, len(segment.words)), 3))
    return structs.replace(segment, start=start, end=end, words=_rising_words(segment.words, start, end))


def _rising_words(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """Return the words within `start` and `end`, each with a length, where there is time for all of them."""
    placed: list[Word] = []
    for number, word in enumerate(words):
        latest = end - SHORTEST * (len(words) - number)
        begins = min(max(word.start, placed[-1].end if placed else start), latest)
        room = end - SHORTEST * (len(words) - number - 1)
        placed.append(structs.replace(word, start=round(begins, 3), end=round(min(max(word.end, begins + SHORTEST), room), 3)))
    return tuple(placed)
