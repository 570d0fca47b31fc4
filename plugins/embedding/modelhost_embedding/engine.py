"""The loop that computes, on the model's compute thread.

Whatever has gathered while it was busy is the next batch, so nobody waits for a clock.
"""

import threading
from collections.abc import Callable, Hashable, Sequence

from modelhost import ComputeThread, NotReadyError

from modelhost_embedding.turns import Piece, Row, Turns


class Engine:
    """Computes pieces of all requests in batches."""

    def __init__(self, encode: Callable[[Sequence[Piece]], Sequence[Row]], turns: Turns, compute: ComputeThread) -> None:
        """Start it on `compute`, which is its own until `close`; `encode` gives a vector for each piece, in order."""
        self._encode = encode
        self._turns = turns
        self._changed = threading.Condition()
        self._closed = False
        self._running = compute.submit(self._run)

    def submit(self, pieces: Sequence[Piece]) -> None:
        """Have pieces computed in their job's turn; from any thread."""
        with self._changed:
            if self._closed:
                raise NotReadyError("this model is being unloaded; send the request again in a moment")
            self._turns.add(pieces)
            self._changed.notify()

    def drop(self, job: Hashable) -> None:
        """Compute nothing more of a job: who waits for its pieces is told by `CancelledError`."""
        with self._changed:
            dropped = self._turns.drop(job)
        for piece in dropped:
            piece.vector.cancel()

    def close(self) -> None:
        """Stop after what is being computed; what waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._running.result()

    def _run(self) -> None:
        while batch := self._next():
            self._compute_all(batch)

    def _next(self) -> list[Piece]:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._turns))
            if not self._closed:
                return self._turns.take()
            while waiting := self._turns.take():
                for piece in waiting:
                    piece.vector.set_exception(NotReadyError("this model was unloaded; send the request again"))
            return []

    def _compute_all(self, batch: list[Piece]) -> None:
        try:
            rows = self._encode(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].vector.set_exception(error)
                return
            for piece in batch:  # one of them is to blame, and the others must not pay for it
                self._compute_all([piece])
            return
        for piece, row in zip(batch, rows, strict=True):
            piece.vector.set_result(row)
