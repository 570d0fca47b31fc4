"""Splits a segment that is too long to be read as one subtitle, between words."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from modelhost import Word

from modelhost_whisper.segments import WindowSegment

LONGEST = 10.0
"""Seconds of a segment; chosen, because the models' own seldom have more (style guides let a subtitle stay for 7 at most)."""

_SENTENCE = 3.0
"""Seconds of pause that the end of a sentence counts as; chosen, because a cut there is better than at any pause within one."""
_CLAUSE = 0.6
"""The same for a comma and its like; chosen, because a speaker's longer pause says more."""
_ENDS = tuple(".?!。？！…।")
_PAUSES = tuple(",;:，；：、—")


def split_long_segment(one: WindowSegment, encode: Callable[[str], Sequence[int]]) -> list[WindowSegment]:
    """Split a segment whose words are known into parts of at most `LONGEST` seconds, unless a single word is longer.

    `encode` returns the tokens of a text. A segment without words stays as it is.
    """
    if one.end - one.start <= LONGEST or len(one.words) < 2:
        return [one]
    cut = _best_cut(one.words)
    halves = (_part(one.words[:cut], encode), _part(one.words[cut:], encode))
    first, second = replace(halves[0], start=one.start), replace(halves[1], end=one.end)
    return [*split_long_segment(first, encode), *split_long_segment(second, encode)]


def _part(words: tuple[Word, ...], encode: Callable[[str], Sequence[int]]) -> WindowSegment:
    text = "".join(word.text for word in words)
    return WindowSegment(words[0].start, words[-1].end, text, tuple(encode(text)), words)


def _best_cut(words: Sequence[Word]) -> int:
    """Return the index of the word to cut before: after a pause or the end of a sentence, and rather in the middle."""
    middle = (words[0].start + words[-1].end) / 2
    reach = (words[-1].end - words[0].start) / 2

    def worth(number: int) -> float:
        before, after = words[number - 1], words[number]
        text = before.text.rstrip("\"'”’)»")
        mark = _SENTENCE if text.endswith(_ENDS) else _CLAUSE if text.endswith(_PAUSES) else 0.0
        return (after.start - before.end + mark + 0.1) * (1 - abs(after.start - middle) / (reach + 0.1))

    return max(range(1, len(words)), key=worth)
