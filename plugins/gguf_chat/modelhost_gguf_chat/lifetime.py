"""How long a model is there: whoever uses it keeps it from being freed, and nobody begins to once it is to go."""

import contextlib
import threading
from collections.abc import Iterator

from modelhost import NotReadyError

UNLOADED = "this model is being unloaded; send the request again"


class Lifetime:
    """Counts the users of a model. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unused = threading.Condition(self._lock)
        self._users = 0
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the model is to go."""
        return self._over

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Keep the model; for short work, because unloading waits for its end. Raises `NotReadyError` when that has begun."""
        with self._lock:
            if self._over:
                raise NotReadyError(UNLOADED)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._unused.notify_all()

    def end(self) -> bool:
        """Let nobody begin to use it; false where that was said before."""
        with self._lock:
            before, self._over = self._over, True
            return not before

    def wait_for_users(self) -> None:
        """Wait until nobody uses it any more."""
        with self._unused:
            self._unused.wait_for(lambda: not self._users)
