"""A backend, loaded and called as a worker would do it, by steps that end whatever it does."""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from modelhost.contract.backend import Backend, options_type, read_options
from modelhost.contract.card import ModelCard
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import BackendFailedError, ModelhostError
from modelhost.contract.failures import Failure
from modelhost.contract.log import Log, place_of, silent
from modelhost.contract.source import Source
from modelhost.contract.types import Ability
from modelhost.testing.time_limits import within
from modelhost.worker.describe import locate
from modelhost.worker.instance import Instance

PATIENCE = 30.0
"""Seconds one answer may take. Chosen, because a model of any use answers the kit's small requests in a few."""

LOAD_PATIENCE = 300.0
"""Seconds `load` may take. Chosen, because it is half of the host's `load_timeout`."""

UNLOAD_PATIENCE = 5.0
"""Seconds `unload` may take. Chosen, because the host ends a worker's process after 10."""

BUDGET = 60.0
"""Seconds that all answers of a class may take together; what would come after that is not tried. Chosen, because authors run the
kit often."""

BEAT = 0.005
"""Seconds between two turns that are timed. Chosen, because a pause that matters is fifty times as long."""

T = TypeVar("T")


class Loaded:
    """A loaded backend. The same class serves plain tests of a plugin's own."""

    def __init__(
        self,
        backend: type[Backend[Any]],
        options: dict[str, Any],
        *,
        patience: float = PATIENCE,
        load_patience: float = LOAD_PATIENCE,
        unload_patience: float = UNLOAD_PATIENCE,
        budget: float = math.inf,
    ) -> None:
        self.backend = backend
        self.options = options
        self.failures: list[Failure] = []
        """What was raised that is no error of modelhost's own, latest last."""
        self.patience = patience
        """Seconds one answer may take."""
        self._load_patience = load_patience
        self._unload_patience = unload_patience
        self._budget = self._left = budget
        self._stuck = ""
        self._unload_blocks = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="modelhost-testing-loop", daemon=True)
        self._thread.start()
        self.instance: Instance
        self.card: ModelCard
        self.load()

    def load(self) -> None:
        """Make the backend ready, with the card it gives."""
        instance = Instance(
            self.backend,
            resolved(self.backend, self.options),
            model="under-test",
            threads=1,
            log=Log(silent),
            failed=self.failures.append,
        )
        otherwise = f"load has not returned after {self._load_patience:g} s; raise `load_patience` if it may take so long"
        try:
            self.card = within(self._load_patience, instance.load, otherwise)
        except BackendFailedError as error:
            raise self._explained(error, "load") from self.failures[-1].error
        self.instance = instance

    def context(self) -> Context:
        """Make the context of a call."""
        return Context(CallInfo(model="under-test"))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop all calls of this backend share."""
        if self._stuck:
            coroutine.close()
            pytest.skip(f"not tried, because an earlier call has not ended: {self._stuck}")
        if self._left <= 0:
            coroutine.close()
            pytest.skip(f"not tried: the answers of this class have taken {self._budget:g} s; raise `budget` for a slow model")
        began = time.monotonic()
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(self.patience)
        except BackendFailedError as error:
            if not self.failures:
                raise
            raise self._explained(error, self.failures[-1].what) from self.failures[-1].error
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the backend's own
            future.cancel()
            self._stuck = f"it took longer than {self.patience:g} s"
            pytest.fail(
                f"the call has not ended after {self.patience:g} s: look for a loop or a wait that does not end, "
                "or raise `patience` if an answer may take so long",
                pytrace=False,
            )
        finally:
            self._left -= time.monotonic() - began

    def _explained(self, error: BackendFailedError, what: str) -> BackendFailedError:
        """Add to a failure what the log of a host must not have: the message of what was raised."""
        raised = self.failures[-1].error
        return BackendFailedError(
            f"{what} raised {type(raised).__name__}: {raised} ({place_of(raised)}). "
            "Put it right, or raise one of modelhost's errors: "
            "BadInputError where the caller is wrong, NotReadyError where the model cannot serve",
            code=error.code,
        )

    def events(self, ability: Ability, request: Any, context: Context | None = None) -> list[Any]:
        """Call a hook and return all of its events."""
        return self.run(self.collect(ability, request, context))

    async def collect(self, ability: Ability, request: Any, context: Context | None = None) -> list[Any]:
        """Call a hook and collect its events; for several at once."""
        return [event async for event in self.instance.call(ability, request, context or self.context())]

    async def longest_pause(self, ability: Ability, request: Any) -> float:
        """Call a hook, and return the longest time in seconds for which nothing else on its loop had a turn."""
        call = asyncio.ensure_future(self.collect(ability, request))
        longest = 0.0
        while not call.done():
            began = time.monotonic()
            await asyncio.wait([call], timeout=BEAT)
            longest = max(longest, time.monotonic() - began - BEAT)
        await call
        return longest

    def begin(self, ability: Ability, request: Any, context: Context) -> Iterator[Any] | AsyncIterator[Any]:
        """Call a hook as it stands, and return the iterator it returns."""
        events: Iterator[Any] | AsyncIterator[Any] = self.instance.begin(ability, request, context)
        return events

    def reload(self) -> None:
        """Unload and load again; fails where the one or the other raises or blocks."""
        self.unload()
        try:
            self.load()
        except ModelhostError as error:
            raise AssertionError(
                f"loaded a second time, it cannot be: {error.message}. Keep what belongs to one model on self, not on the class"
            ) from error

    def unload(self) -> None:
        """Unload the backend; fails where it raises or blocks."""
        if self._unload_blocks:
            return
        seen = len(self.failures)
        self._unload_blocks = True
        within(
            self._unload_patience,
            self.instance.unload,
            f"unload has not returned after {self._unload_patience:g} s: the host would kill the worker; "
            "tell threads to stop and do not wait for what may never come",
        )
        self._unload_blocks = False
        for failure in self.failures[seen:]:
            if failure.what != "unload":
                continue
            raised = failure.error
            raise AssertionError(
                f"unload raised {type(raised).__name__}: {raised} ({place_of(raised)}); "
                "it must let go of the model, whatever happened before"
            ) from raised

    def close(self) -> None:
        """Unload the backend, and end what the calls ran on."""
        try:
            self.unload()
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        if not self._stuck:
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._loop.shutdown_asyncgens(), self._loop).result(UNLOAD_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(UNLOAD_PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()


def resolved(backend: type[Backend[Any]], options: dict[str, Any]) -> dict[str, Any]:
    """Resolve sources as the host does: `package:` and paths are looked up on this machine."""
    found = dict(options)
    for name, sources in sources_of(backend, options).items():
        paths = [place_of_source(source) for source in sources]
        found[name] = paths if isinstance(options.get(name), (list, tuple)) else paths[0]
    return found


def sources_of(backend: type[Backend[Any]], options: dict[str, Any]) -> dict[str, list[Source]]:
    """Return the sources that options name."""
    kind = options_type(backend)
    read = read_options(kind, options)
    found: dict[str, list[Source]] = {}
    for field in msgspec.structs.fields(kind):
        value = getattr(read, field.name)
        for one in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(one, Source):
                found.setdefault(field.name, []).append(one)
    return found


def place_of_source(source: Source) -> dict[str, Any]:
    """Return a source as the host hands it to a worker; skips the test where it is not installed."""
    path = locate(source.uri) if source.uri.startswith("package:") else Path(source.uri)
    if path is None:
        pytest.skip(f"{source.uri} is not installed")
    return {"uri": source.uri, "path": str(path), **({"sha256": source.sha256} if source.sha256 else {})}
