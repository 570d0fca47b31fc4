"""Loops: phrases that a model repeats to the end of a text although nobody says them, and what comes before."""

import re
from collections.abc import Sequence

LOOP = 2.4
"""Compression ratio above which a text repeats itself: the limit of https://github.com/openai/whisper, whisper/transcribe.py."""

ROUNDS = 4
"""How often a phrase must stand in a row at the end of a text to be a loop; chosen, because people say things three times."""
_LONGEST = 40
"""Words, or characters of a language that is written without spaces, of such a phrase. Chosen, because it is more than the
longest sentences have; the search takes time in proportion."""
_LONG_WORD = 12
"""Mean characters of a word from which a text counts as written without spaces; chosen: no spaced language has as many."""


def before_loop(texts: Sequence[str]) -> int:
    """Return how many texts come whole before the phrase that is repeated to their end; 0 where there is no such phrase."""
    found = [(word, number) for number, text in enumerate(texts) for word in _words(text)]
    words = [word for word, _ in found]
    starts = [start for period in range(1, _LONGEST) if len(words) - (start := _repeated(words, period)) >= ROUNDS * period]
    return found[min(starts)][1] if starts else 0


def same_words(one: str, other: str) -> bool:
    """Return whether two texts have mostly the same words, however often."""
    here, there = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return 2 * len(here & there) >= len(here | there)


def says_something(text: str) -> bool:
    """Return whether a text has a letter or a digit: nobody says dots or notes of music."""
    return any(letter.isalnum() for letter in text)


def _words(text: str) -> list[str]:
    words: list[str] = re.findall(r"\w+", text.lower())
    return words if sum(map(len, words)) < _LONG_WORD * len(words) else [letter for word in words for letter in word]


def _repeated(words: Sequence[str], period: int) -> int:
    """Return where the part begins that repeats itself every so many words up to the end."""
    at = len(words) - period
    while at > 0 and words[at - 1] == words[at - 1 + period]:
        at -= 1
    return max(at, 0)
