"""The threads that compute: they take windows of all requests by turns, several at a time."""

import contextlib
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from modelhost import NotReadyError, Turns

P = TypeVar("P")
R = TypeVar("R")


class Engine(Generic[P, R]):
    """Computes pieces of work in batches."""

    def __init__(
        self, compute: Callable[[list[P]], list[R]], kind: Callable[[P], Hashable], *, batch: int, share: int, threads: int = 1
    ) -> None:
        """Start `threads` that `compute` pieces of one `kind`, `batch` of them in one go, and `share` of one job."""
        self._compute = compute
        self._turns: Turns[tuple[P, Future[R]]] = Turns(lambda entry: kind(entry[0]), batch=batch, share=share)
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name="whisper", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Hashable, piece: P) -> "Future[R]":
        """Have a piece computed in its job's turn; from any thread."""
        future: Future[R] = Future()
        with self._changed:
            if self._closed:
                raise NotReadyError("this model is being unloaded; send the request again in a moment")
            self._turns.add(job, (piece, future))
            self._changed.notify()
        return future

    def drop(self, job: Hashable) -> None:
        """Compute nothing more of a job: who waits for its pieces is told by `CancelledError`."""
        with self._changed:
            dropped = self._turns.drop(job)
        for _, future in dropped:
            future.cancel()

    def close(self) -> None:
        """Stop after what is being computed; what waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while batch := self._next():
            self._compute_all(batch)

    def _next(self) -> list[tuple[P, "Future[R]"]]:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._turns))
            if not self._closed:
                return self._turns.take()
            while waiting := self._turns.take():
                for _, future in waiting:
                    future.set_exception(NotReadyError("this model was unloaded; send the request again"))
            return []

    def _compute_all(self, batch: list[tuple[P, "Future[R]"]]) -> None:
        try:
            results = self._compute([piece for piece, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for entry in batch:  # one of them is to blame, and the others must not pay for it
                self._compute_all([entry])
            return
        for (_, future), result in zip(batch, results, strict=True):
            with contextlib.suppress(Exception):  # cancelled meanwhile
                future.set_result(result)
