"""Computes what several requests want in batches, on the model's compute thread.

Whatever has gathered while it was busy is the next batch, so nobody waits for a clock. A piece is computed in one step; where
each goes on over many steps, as the tokens of a text do, an engine of one's own around `FairQueue` lets newcomers in between two.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import Generic, NamedTuple, TypeVar

from modelhost.authors.fair_queue import Choose, FairQueue
from modelhost.contract.compute import ComputeThread
from modelhost.contract.errors import NotReadyError

P = TypeVar("P")
R = TypeVar("R")


class _Entry(NamedTuple, Generic[P, R]):
    piece: P
    future: "Future[R]"


class BatchEngine(Generic[P, R]):
    """Pieces in, futures out. `submit`, `drop` and `close` may be called from any thread but the compute thread.

    A coroutine awaits a future with `asyncio.wrap_future`. One that is cancelled before its turn is not computed.
    """

    def __init__(
        self,
        step: Callable[[list[P]], Sequence[R]],
        compute: Executor,
        *,
        batch: int | None = None,
        share: int | None = None,
        window: int | None = None,
        kind: Callable[[P], Hashable] | None = None,
        choose: Choose[P] | None = None,
        loops: int = 1,
    ) -> None:
        """Begin on `compute` (a backend's own), which belongs to the engine until `close`.

        `step` returns a result for each piece of a batch, in order; which make a batch say the others, as in `FairQueue`.
        More than one of the `loops` is for runtimes that take several steps at once: each further one has its own thread.
        """
        self._step = step
        self._queue: FairQueue[_Entry[P, R]] = FairQueue(
            batch=batch,
            share=share,
            window=window,
            kind=(lambda entry: kind(entry.piece)) if kind else None,
            choose=(lambda entries: choose([entry.piece for entry in entries])) if choose else None,
        )
        self._changed = threading.Condition()
        self._closed = False
        self._beside = [ComputeThread("modelhost-batches") for _ in range(loops - 1)]
        self._running = [thread.submit(self._run) for thread in (compute, *self._beside)]

    def submit(self, job: Hashable, piece: P) -> "Future[R]":
        """Queue a piece, to be computed in its job's turn. Raises `NotReadyError` once it is closed."""
        return self.submit_all(job, (piece,))[0]

    def submit_all(self, job: Hashable, pieces: Iterable[P]) -> "list[Future[R]]":
        """Queue pieces of one job, to be computed in turns; returns futures in order. Raises `NotReadyError` once closed."""
        entries: list[_Entry[P, R]] = [_Entry(piece, Future()) for piece in pieces]
        with self._changed:
            if self._closed:
                raise NotReadyError("this model is being unloaded; send the request again in a moment")
            self._queue.add(job, *entries)
            self._changed.notify()
        return [entry.future for entry in entries]

    def drop(self, job: Hashable) -> None:
        """Compute nothing more of a job: who waits for its pieces is told by `concurrent.futures.CancelledError`."""
        with self._changed:
            dropped = self._queue.drop(job)
        for entry in dropped:
            entry.future.cancel()

    def close(self) -> None:
        """Stop after the step that is being computed; who waits for more is told by `NotReadyError`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for running in self._running:
            running.result()
        for thread in self._beside:
            thread.shutdown()

    def _run(self) -> None:
        while batch := self._next():
            self._compute(batch)

    def _next(self) -> list[_Entry[P, R]]:
        """Wait for pieces; returns none once it is closed, and tells those who wait."""
        with self._changed:
            while not self._closed:
                # A cancelled piece is left out here, and can no longer be cancelled from here on.
                if batch := [entry for entry in self._queue.take() if entry.future.set_running_or_notify_cancel()]:
                    return batch
                if not self._queue:
                    self._changed.wait()
            waiting = iter(self._queue.take, [])
            for entry in (entry for batch in waiting for entry in batch):
                if entry.future.set_running_or_notify_cancel():
                    entry.future.set_exception(NotReadyError("this model was unloaded; send the request again"))
            return []

    def _compute(self, batch: list[_Entry[P, R]]) -> None:
        try:
            results = self._step([entry.piece for entry in batch])
            if len(results) != len(batch):
                raise ValueError(f"a step of {len(batch)} pieces has {len(results)} results")
        except BaseException as error:  # SystemExit would end the loop, and who waits would wait for ever
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for entry in batch:  # one of them is to blame, and the others must not pay for it
                self._compute([entry])
            return
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result(result)
