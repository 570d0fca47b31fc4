"""What a decode costs by the number of its tokens: measured as the model runs, never assumed.

A batch need not be worth its while: with one thread on a CPU, two rows in one decode take longer than two decodes of one
(SmolLM2 in Q8_0: 25.3 ms against 2 × 9.2; `benchmarks/gguf_streams.py` prints the table of the machine it runs on).
"""

from collections.abc import Iterable

WEIGHT = 0.2
"""Of a new measurement in the running mean. Chosen, because five steps are enough to follow a context that grows."""
OUTLIER = 3.0
"""A step that took so many times the mean counts as that. Chosen, because on a shared machine single steps wait for a core."""
STALE = 512
"""Decodes after which a size nobody has used is tried again. Chosen: one step in 512 costs nothing, and contexts grow."""
TRIES = 3
"""Measurements before a size is compared with others. Chosen, because the first of a size also makes llama.cpp's graph for it."""


class Costs:
    """Milliseconds a decode, by its tokens."""

    def __init__(self) -> None:
        self._means: dict[int, float] = {}
        self._counts: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._decodes = 0

    def note(self, size: int, milliseconds: float) -> None:
        """Take what a decode of `size` tokens took."""
        self._decodes += 1
        self._last[size] = self._decodes
        count = self._counts[size] = self._counts.get(size, 0) + 1
        mean = self._means.get(size)
        if mean is None or count <= TRIES:
            self._means[size] = milliseconds if mean is None else min(mean, milliseconds)
        else:
            self._means[size] = mean + WEIGHT * (min(milliseconds, OUTLIER * mean) - mean)

    def of(self, size: int) -> float | None:
        """Return what a decode of `size` tokens takes, between sizes in proportion; None while nothing was measured.

        Beyond the largest size each token is taken to cost as much as one of that size.
        """
        if size in self._means:
            return self._means[size]
        below = max((known for known in self._means if known < size), default=None)
        above = min((known for known in self._means if known > size), default=None)
        if below is None:
            return None if above is None else self._means[above]
        if above is None:
            return self._means[below] * size / below
        part = (size - below) / (above - below)
        return self._means[below] + part * (self._means[above] - self._means[below])

    def sizes(self, most: int) -> list[int]:
        """Return the sizes up to `most` that were measured often and lately enough to be compared."""
        return [size for size in self._means if size <= most and self._is_known(size)]

    def best_of(self, sizes: Iterable[int]) -> int:
        """Return the size with the most tokens a millisecond; one that nobody has measured, or not for long, goes first."""
        best, least = 1, float("inf")
        for size in sorted(sizes, reverse=True):
            if not self._is_known(size):
                return size
            if self._means[size] / size < least:
                best, least = size, self._means[size] / size
        return best

    def most_within(self, milliseconds: float, most: int) -> int:
        """Return the most tokens, at least one, of which a decode stays within a time; `most` where nothing is known."""
        if self.of(1) is None or not milliseconds:
            return most
        low, high = 1, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if (self.of(middle) or 0.0) <= milliseconds else (low, middle - 1)
        return low

    def _is_known(self, size: int) -> bool:
        return self._counts.get(size, 0) >= TRIES and self._decodes - self._last[size] <= STALE
