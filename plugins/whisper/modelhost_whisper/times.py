"""Times that rise: no segment and no word begins before the one before it has ended, and each has a length."""

from collections.abc import Sequence

from modelhost import Segment, Word
from msgspec import structs

SHORTEST = 0.02
"""Seconds of a word: the step of the times that the models write."""


def rising(segment: Segment, after: float) -> Segment:
    """Return a segment that begins at `after` or later, with its words one after the other inside it."""
    start = max(segment.start, after)
    end = max(segment.end, round(start + SHORTEST * max(1, len(segment.words)), 3))
    return structs.replace(segment, start=start, end=end, words=_rising(segment.words, start, end))


def _rising(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """Return each word a length between `start` and `end`, where there is room for all of them."""
    placed: list[Word] = []
    for number, word in enumerate(words):
        latest = end - SHORTEST * (len(words) - number)
        begins = min(max(word.start, placed[-1].end if placed else start), latest)
        room = end - SHORTEST * (len(words) - number - 1)
        placed.append(structs.replace(word, start=round(begins, 3), end=round(min(max(word.end, begins + SHORTEST), room), 3)))
    return tuple(placed)
