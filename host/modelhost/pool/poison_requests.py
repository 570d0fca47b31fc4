"""Requests that have killed a worker: the third worker is not given to them.

A request is known by its content: a recording is the same whatever file it lies in. Only deaths count that it can be to blame
for: it was the only one at work, the worker was not ended from outside, and all of it is known, so nothing came live.
"""

import asyncio
import hashlib
from collections import OrderedDict
from io import BytesIO
from typing import IO, Any

import msgspec

from modelhost.concurrency.daemon_threads import run_in_daemon_thread
from modelhost.contract.types import Blob
from modelhost.runner.death import Death

DEATHS = 2
"""How many workers a request may kill before it is refused."""

MEMORY_SECONDS = 600.0
"""How long a death is held against a request: workers also die of what somebody else did."""

REMEMBERED = 256
"""Requests that are kept in mind; the oldest is forgotten first."""


class Evidence:
    """What a request consists of. Its files are held open, because they are removed when it has been answered."""

    def __init__(self, request: Any) -> None:
        """Take a request down. Raises what encoding or opening it raises."""
        self._files: list[IO[bytes]] = []
        try:
            self._encoded = msgspec.msgpack.encode(request, enc_hook=self._leave_out)
        except BaseException:
            self.drop()
            raise

    @classmethod
    def of(cls, request: Any) -> "Evidence | None":
        """Take a request down; None where that cannot be done, as when its files are gone."""
        try:
            return cls(request)
        except (OSError, OverflowError, RecursionError, TypeError, NotImplementedError, ValueError):
            return None

    def _leave_out(self, value: Any) -> Any:
        if not isinstance(value, Blob):
            raise NotImplementedError
        self._files.append(value.open() if value.path else BytesIO(value.read()))
        return None

    def drop(self) -> None:
        """Close the files: nothing comes of it."""
        for file in self._files:
            file.close()

    async def digest(self) -> bytes:
        """Hash everything, and close the files."""
        if not self._files:
            return hashlib.sha256(self._encoded).digest()
        return await run_in_daemon_thread(self._digest)

    def _digest(self) -> bytes:
        whole = hashlib.sha256(self._encoded)
        try:
            for file in self._files:
                whole.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]  # IO[bytes] is enough
        finally:
            self.drop()
        return whole.digest()


class PoisonRequests:
    """Remembers the deaths of workers that were serving one request alone. All of it belongs to one event loop."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[bytes, list[float]] = OrderedDict()
        self._blaming: set[asyncio.Task[None]] = set()
        self._evidence: Evidence | None = None
        """Of the request that was alone with a worker that is dying."""

    def __bool__(self) -> bool:
        return bool(self._deaths or self._blaming)

    def suspect(self, request: Any) -> None:
        """Take down the request that was alone with a worker which is dying; None where there is none to suspect."""
        self._evidence = None if request is None else Evidence.of(request)

    def judge(self, death: Death, now: float) -> None:
        """Blame the request that is suspected, unless it is known now that the worker was ended from outside."""
        evidence, self._evidence = self._evidence, None
        if evidence:
            evidence.drop() if death.from_outside else self.blame(evidence, now)

    def blame(self, evidence: Evidence, now: float) -> None:
        """Note that a worker died of this request."""
        task = asyncio.get_running_loop().create_task(self._note(evidence, now))
        self._blaming.add(task)
        task.add_done_callback(self._blaming.discard)

    async def _note(self, evidence: Evidence, now: float) -> None:
        digest = await evidence.digest()
        self._deaths[digest] = [*self._deaths.pop(digest, []), now]
        while len(self._deaths) > REMEMBERED:
            self._deaths.popitem(last=False)

    async def refuses(self, request: Any, now: float) -> bool:
        """Whether this request has killed too many workers of late. Costs nothing while none has died."""
        if self._blaming:
            await asyncio.wait(set(self._blaming))
        while self._deaths and now - next(iter(self._deaths.values()))[-1] >= MEMORY_SECONDS:  # the oldest comes first
            self._deaths.popitem(last=False)
        if not self._deaths or (evidence := Evidence.of(request)) is None:
            return False
        deaths = self._deaths.get(await evidence.digest(), [])
        return sum(now - death < MEMORY_SECONDS for death in deaths) >= DEATHS
