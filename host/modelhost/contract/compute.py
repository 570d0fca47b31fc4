"""The one thread on which a model computes: it is loaded there, warmed up there, and takes every step there.

OpenMP's runtime keeps a team of threads for each thread that has ever opened a parallel region, and counts the teams together.
Above the number of cores, threads that wait no longer spin but sleep, and each step pays for waking them: with as many threads
as cores (two), a small GGUF model gave 58 tokens a second where it was loaded on one thread and decoded on another, 75 where
both were done on one (benchmarks/compute_thread.py, with and without `run` around `load`, by turns).
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ComputeThread(Executor):
    """Runs one piece of work after another on a thread of its own, which begins with the first of them.

    An engine's loop may be such a piece: then the thread is its own until the loop returns.
    """

    def __init__(self, name: str = "modelhost-compute") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._inbox: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run work when everything submitted before it is done. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._lock:
            if self._ended:
                raise RuntimeError("this model's compute thread has ended")
            if self._thread is None:
                # A daemon: a model that hangs must not keep the process from ending, as the standard executors' would.
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
            self._inbox.put((future, lambda: fn(*args, **kwargs)))
        return future

    def run(self, work: Callable[[], T]) -> T:
        """Run work and return what it returns; at once where this is the compute thread already."""
        if threading.current_thread() is self._thread:
            return work()
        return self.submit(work).result()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work, and end the thread after what it has been given."""
        with self._lock:
            self._ended = True
            thread = self._thread
            self._inbox.put(None)
        if wait and thread and thread is not threading.current_thread():
            thread.join()

    def _serve(self) -> None:
        while (given := self._inbox.get()) is not None:
            future, work = given
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # it is for the one who waits
                future.set_exception(error)
            else:
                future.set_result(result)
            del given, future, work  # what was computed is not kept alive until the next piece comes
