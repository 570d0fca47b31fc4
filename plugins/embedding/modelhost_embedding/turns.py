"""Which texts are computed together, and whose turn it is."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One text, as tokens, and the promise of its vector."""

    job: Hashable
    """The request it belongs to."""
    tokens: Sequence[int]
    skipped: int = 0
    """Tokens at the start that are read but not part of the vector; only pieces with as many go together."""
    vector: "Future[Row]" = field(default_factory=Future)


class Turns:
    """Pieces that wait. Jobs take turns, so that one with a thousand texts starves nobody.

    A batch is made of pieces of about the same length, because all are filled up to the longest. They are looked for among the
    first `window` that wait: the first piece of each job, then the second of each, and so on.
    """

    def __init__(self, *, budget: int, step: int, window: int) -> None:
        """Make room; a batch has `budget` tokens at most, and takes the time of them and of `step` more."""
        self._budget = budget
        self._step = step
        self._window = window
        self._waiting: OrderedDict[Hashable, deque[Piece]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, pieces: Iterable[Piece]) -> None:
        """Put pieces behind the others of their jobs."""
        for piece in pieces:
            self._waiting.setdefault(piece.job, deque()).append(piece)

    def drop(self, job: Hashable) -> list[Piece]:
        """Forget what waits of a job, and give it."""
        return list(self._waiting.pop(job, ()))

    def take(self) -> list[Piece]:
        """Return the pieces to compute next, none if nothing waits.

        The first piece of the job whose turn it is comes always, alone if it is longer than the budget.
        """
        in_turn = chain.from_iterable(zip_longest(*self._waiting.values()))
        window = list(islice(filter(None, in_turn), self._window))
        taken = self._alike(window)
        self._remove(window, taken)
        return taken

    def _alike(self, window: list[Piece]) -> list[Piece]:
        """Begin with the first, and take those nearest to it in length while that makes the step's time better used."""
        taken = window[:1]
        longest = real = sum(len(piece.tokens) for piece in taken)
        for piece in sorted(window[1:], key=lambda piece: abs(len(piece.tokens) - longest)):
            wider, more = max(longest, len(piece.tokens)), real + len(piece.tokens)
            total = wider * (len(taken) + 1)
            better = more * (self._step + longest * len(taken)) >= real * (self._step + total)
            if better and total <= self._budget and piece.skipped == taken[0].skipped:
                taken.append(piece)
                longest, real = wider, more
        return taken

    def _remove(self, window: list[Piece], taken: list[Piece]) -> None:
        """Take pieces out of what waits; whose oldest was among them goes to the end of the line."""
        gone = set(taken)
        for job in {piece.job: None for piece in taken}:
            seen = [self._waiting[job].popleft() for piece in window if piece.job is job]
            self._waiting[job].extendleft(piece for piece in reversed(seen) if piece not in gone)
            if seen[0] in gone:  # else the oldest, passed over for its length, would wait for ever
                self._waiting.move_to_end(job)
            if not self._waiting[job]:
                del self._waiting[job]
