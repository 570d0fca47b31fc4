"""What is being computed now, so that the same is never computed twice at once."""

import asyncio
from collections.abc import Iterable

from modelhost.contract.context import Context
from modelhost.pool import in_time


class SingleFlight:
    """Keys somebody computes a value for, so that whoever wants the same can wait for it. Belongs to one event loop."""

    def __init__(self) -> None:
        self._running: dict[bytes, asyncio.Future[bytes | None]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def share(self, keys: Iterable[bytes]) -> tuple[list[bytes], dict[bytes, "asyncio.Future[bytes | None]"]]:
        """Divide keys into those the caller is to compute now, and those of others to wait for.

        The caller must `end` each of its own, whatever happens, before it waits for any of the others'.
        """
        ours, theirs = [], {}
        for key in keys:
            if (running := self._running.get(key)) is not None:
                theirs[key] = running
            else:
                self._running[key] = asyncio.get_running_loop().create_future()
                ours.append(key)
        return ours, theirs

    def end(self, key: bytes, value: bytes | None) -> None:
        """Return the value to those who wait; None says that it was not made, and that they have to see for themselves."""
        running = self._running.pop(key)
        if not running.done():  # as one would be whose waiter cancelled it
            running.set_result(value)


async def wait_for_another(running: "asyncio.Future[bytes | None]", context: Context) -> bytes | None:
    """Wait for a value as long as the call may take; None if it was not made. Raises `DeadlineError`."""
    async with in_time(context):
        await asyncio.wait({running})  # unlike awaiting it, leaves it alone when this request is cancelled
    return running.result()
