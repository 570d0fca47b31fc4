"""Which texts are computed together: those of about the same length, because each waits for all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One text, as tokens."""

    tokens: Sequence[int]
    skipped: int = 0
    """Tokens at the start that are read but not part of the vector; only pieces with as many go together."""


class Batches:
    """Chooses the pieces of a step: `budget` tokens at most, which take the time of themselves and of `step` more."""

    def __init__(self, *, budget: int, step: int, packed: bool) -> None:
        """Take what a step costs; where pieces are not `packed`, all are filled up to the longest."""
        self._budget = budget
        self._step = step
        self._choose = self._packed if packed else self._padded

    def choose(self, window: Sequence[Piece]) -> list[int]:
        """Begin with the first, and take those nearest to it in length that are better computed with it than in another step.

        The first comes always, alone if it is longer than the budget. Returns numbers, as `FairQueue` wants them.
        """
        first = window[0]
        others = [number for number in range(1, len(window)) if window[number].skipped == first.skipped]
        others.sort(key=lambda number: abs(len(window[number].tokens) - len(first.tokens)))
        return self._choose(window, others)

    def _padded(self, window: Sequence[Piece], others: Sequence[int]) -> list[int]:
        """Take pieces while that makes the step's time better used."""
        taken = [0]
        longest = real = len(window[0].tokens)
        for number in others:
            length = len(window[number].tokens)
            wider, more = max(longest, length), real + length
            total = wider * (len(taken) + 1)
            better = more * (self._step + longest * len(taken)) >= real * (self._step + total)
            if better and total <= self._budget:
                taken.append(number)
                longest, real = wider, more
        return taken

    def _packed(self, window: Sequence[Piece], others: Sequence[int]) -> list[int]:
        """Take pieces of which none is over twice as long as another, unless it costs less than the step itself.

        Each makes the step's time better used, but a short one would wait for a long one in vain.
        """
        taken = [0]
        shortest = longest = total = len(window[0].tokens)
        for number in others:
            length = len(window[number].tokens)
            shorter, longer = min(shortest, length), max(longest, length)
            if longer <= max(2 * shorter, self._step) and total + length <= self._budget:
                taken.append(number)
                shortest, longest, total = shorter, longer, total + length
        return taken
