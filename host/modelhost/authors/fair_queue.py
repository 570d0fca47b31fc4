"""Who comes next: pieces of work of several jobs, taken in batches in which the jobs have turns.

Round robin over a queue for each job, as Nagle has it for gateways (RFC 970): a job with a thousand pieces delays another's by
one batch. Weighted schemes (deficit round robin and its kin) would need costs that nobody knows before a piece is computed.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain, islice, zip_longest
from typing import Generic, TypeVar

P = TypeVar("P")

Choose = Callable[[Sequence[P]], Iterable[int]]
"""Given pieces in the order of their turns, returns the numbers of those to compute together: 0 first, it has waited longest."""


class FairQueue(Generic[P]):
    """Pieces that wait. Jobs take turns, so that a long one starves nobody. Belongs to one thread, or to who holds its lock."""

    def __init__(
        self,
        *,
        batch: int | None = None,
        share: int | None = None,
        window: int | None = None,
        kind: Callable[[P], Hashable] | None = None,
        choose: Choose[P] | None = None,
    ) -> None:
        """Make room for batches of at most `batch` pieces, `share` of them of one job; None bounds nothing.

        They are looked for among the `window` that are next, by `choose`, or else because they are of the first one's `kind`.
        """
        self._batch = batch
        self._share = share
        self._window = window
        self._choose = choose or _of_one_kind(kind or _any_kind)
        self._waiting: OrderedDict[Hashable, deque[P]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: Hashable, *pieces: P) -> None:
        """Put pieces behind the others of their job."""
        if pieces:
            self._waiting.setdefault(job, deque()).extend(pieces)

    def drop(self, job: Hashable) -> list[P]:
        """Forget what waits of a job, and return it."""
        return list(self._waiting.pop(job, ()))

    def take(self, most: int | None = None) -> list[P]:
        """Return the next pieces to compute together, none if nothing waits: first one of each job in turn, then seconds.

        At most `most` where there is room for fewer than a batch. The first piece of the job whose turn it is comes always.
        """
        room = min((bound for bound in (most, self._batch) if bound is not None), default=None)
        if room == 0 or not self._waiting:
            return []
        heads = ([(job, piece) for piece in islice(pieces, self._share)] for job, pieces in self._waiting.items())
        in_turn = chain.from_iterable(zip_longest(*heads))
        window = list(islice(filter(None, in_turn), self._window))
        numbers = list(islice(self._choose([piece for _, piece in window]), room))
        self._remove(window, set(numbers))
        return [window[number][1] for number in numbers]

    def _remove(self, window: list[tuple[Hashable, P]], taken: set[int]) -> None:
        """Take pieces out of what waits; a job whose oldest was among them goes to the end of the line."""
        places: dict[Hashable, list[int]] = {}
        for number, (job, _) in enumerate(window):
            places.setdefault(job, []).append(number)
        for job, numbers in places.items():
            if taken.isdisjoint(numbers):
                continue
            pieces = self._waiting[job]
            for _ in numbers:
                pieces.popleft()
            pieces.extendleft(window[number][1] for number in reversed(numbers) if number not in taken)
            if numbers[0] in taken:  # else the oldest, passed over, would wait for ever
                self._waiting.move_to_end(job)
            if not pieces:
                del self._waiting[job]


def _any_kind(piece: object) -> Hashable:
    return None


def _of_one_kind(kind: Callable[[P], Hashable]) -> Choose[P]:
    def choose(pieces: Sequence[P]) -> Iterable[int]:
        wanted = kind(pieces[0])
        return (number for number, piece in enumerate(pieces) if kind(piece) == wanted)

    return choose
