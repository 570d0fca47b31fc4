"""Who comes next: pieces of work of several jobs, taken in batches in which the jobs have turns."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

P = TypeVar("P")


class Turns(Generic[P]):
    """Pieces that wait. A job's own stay in order; jobs take turns, so that a long one starves nobody."""

    def __init__(self, kind: Callable[[P], Hashable], *, batch: int, share: int) -> None:
        """Make room; pieces of one `kind` may be computed together, `batch` of them, and `share` of one job."""
        self._kind = kind
        self._batch = batch
        self._share = share
        self._waiting: OrderedDict[Hashable, deque[P]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(pieces) for pieces in self._waiting.values())

    def add(self, job: Hashable, piece: P) -> None:
        """Put a piece behind the others of its job."""
        self._waiting.setdefault(job, deque()).append(piece)

    def drop(self, job: Hashable) -> list[P]:
        """Forget what waits of a job, and give it."""
        return list(self._waiting.pop(job, ()))

    def take(self, most: int | None = None) -> list[P]:
        """Return the next pieces to compute together, none if nothing waits: first one of each job in turn, then seconds.

        At most `most` where there is room for fewer than a batch.
        """
        batch = self._batch if most is None else min(most, self._batch)
        taken: list[P] = []
        served: list[Hashable] = []
        for _ in range(self._share):
            for job, pieces in self._waiting.items():
                if len(taken) == batch:
                    break
                if pieces and (not taken or self._kind(pieces[0]) == self._kind(taken[0])):
                    taken.append(pieces.popleft())
                    served.append(job)
        for job in dict.fromkeys(served):
            self._waiting.move_to_end(job)
            if not self._waiting[job]:
                del self._waiting[job]
        return taken
