"""Splits the tokens of one window into segments, at the timestamps between them."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelhost import Word

PRECISION = 0.02
"""Seconds from one timestamp token to the next, as the models were trained (https://github.com/openai/whisper,
whisper/tokenizer.py)."""


@dataclass(frozen=True)
class Span:
    """Tokens of one segment and its times, in seconds from the start of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class WindowSegment:
    """A segment of a window; times are in seconds from the window's start."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...]


def split(tokens: Sequence[int], first_timestamp: int, seconds: float) -> tuple[list[Span], float]:
    """Split tokens where two timestamps stand side by side; returns the segments and how much of the window they cover.

    Tokens from `first_timestamp` on are times. Where the model stopped in the middle of a segment, that segment is left out and
    the cover ends before it: the rest of the window is to be computed again. The cover is `seconds` where nothing is left,
    and it always goes on by at least one step.
    """
    times = [token >= first_timestamp for token in tokens]
    cuts = [n for n in range(1, len(tokens)) if times[n] and times[n - 1]]
    if not cuts:
        return [_whole(tokens, first_timestamp, seconds)], seconds
    ends_whole = len(tokens) >= 2 and times[-1] and not times[-2]
    spans: list[Span] = []
    last = 0
    for cut in [*cuts, len(tokens)] if ends_whole else cuts:
        piece = tuple(tokens[last:cut])
        spans.append(Span(_time(piece[0], first_timestamp), _time(piece[-1], first_timestamp), piece))
        last = cut
    covered = _time(tokens[last - 1], first_timestamp)
    if ends_whole or covered >= seconds:
        return spans, seconds
    return (spans, covered) if covered >= PRECISION else ([_whole(tokens, first_timestamp, seconds)], seconds)


def speech_end(tokens: Sequence[int], first_timestamp: int, seconds: float) -> float:
    """Return the time that the model ended with, or `seconds` where it ended with none."""
    return min(_time(tokens[-1], first_timestamp), seconds) if tokens and tokens[-1] >= first_timestamp else seconds


def _whole(tokens: Sequence[int], first_timestamp: int, seconds: float) -> Span:
    """Take everything for one segment, to the last time written or to the end."""
    written = [token for token in tokens if token > first_timestamp]
    return Span(0.0, min(_time(written[-1], first_timestamp), seconds) if written else seconds, tuple(tokens))


def _time(token: int, first_timestamp: int) -> float:
    return (token - first_timestamp) * PRECISION
