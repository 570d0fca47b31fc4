"""Long texts in parts: of much the same size, and cut where a reader would pause."""

import re
from math import ceil

_PAUSES = tuple(re.compile(pattern) for pattern in (r"\n\s*\n", r"\n", r"[.!?]\s", r"\s"))
"""Where a text may be cut, the best first: between paragraphs, lines, sentences, words."""


def split(text: str, most: int) -> list[str]:
    """Return parts of at most `most` characters, one at least; joined they are the text."""
    parts = []
    start = 0
    while (left := len(text) - start) > most:
        even = ceil(left / ceil(left / most))
        end = _pause(text, start + even // 2, min(start + even + even // 8, start + most))
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]


def _pause(text: str, earliest: int, latest: int) -> int:
    """Return the last good place to cut between two places, or the later of them."""
    window = text[earliest:latest]
    for pattern in _PAUSES:
        for found in _last(pattern, window):
            return earliest + found
    return latest


def _last(pattern: re.Pattern[str], window: str) -> list[int]:
    """Return the end of the last match as a list of one, or of none."""
    return [match.end() for match in pattern.finditer(window)][-1:]
