"""Which texts are computed together: those of about the same length, because all are filled up to the longest."""

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

    def __init__(self, *, budget: int, step: int) -> None:
        self._budget = budget
        self._step = step

    def choose(self, window: Sequence[Piece]) -> list[int]:
        """Begin with the first, and take those nearest to it in length while that makes the step's time better used.

        The first comes always, alone if it is longer than the budget. Returns numbers, as `FairQueue` wants them.
        """
        taken = [0]
        longest = real = len(window[0].tokens)
        for number in sorted(range(1, len(window)), key=lambda number: abs(len(window[number].tokens) - longest)):
            piece = window[number]
            wider, more = max(longest, len(piece.tokens)), real + len(piece.tokens)
            total = wider * (len(taken) + 1)
            better = more * (self._step + longest * len(taken)) >= real * (self._step + total)
            if better and total <= self._budget and piece.skipped == window[0].skipped:
                taken.append(number)
                longest, real = wider, more
        return taken
