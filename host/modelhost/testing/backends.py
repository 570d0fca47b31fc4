"""What every backend must keep, whatever it can do."""

import asyncio
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import msgspec
import pytest

from modelhost.backend import Backend, options_type, read_options
from modelhost.card import ModelCard
from modelhost.context import CallInfo, Context
from modelhost.log import Log, silent
from modelhost.types import ABILITIES, EVENTS, REQUESTS, Ability, AudioChunk, Done
from modelhost.wire.frames import from_wire, to_wire
from modelhost.worker.describe import locate
from modelhost.worker.instance import Instance, hooks_of

RUNTIMES = (
    "torch",
    "transformers",
    "llama_cpp",
    "ctranslate2",
    "faster_whisper",
    "sentence_transformers",
    "onnxruntime",
    "av",
    "numpy",
)
"""What a plugin's module must not import before `load`."""

PATIENCE = 60.0
"""Seconds a single step of a test may take before it fails."""

T = TypeVar("T")


class Loaded:
    """A loaded backend, called as a worker would call it. The same class serves plain tests of a plugin's own."""

    def __init__(self, backend: type[Backend[Any]], options: dict[str, Any]) -> None:
        self.instance = Instance(backend, resolved(backend, options), model="under-test", threads=1, log=Log(silent))
        self.card: ModelCard = self.instance.load()
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop all calls of this backend share."""
        return self._runner.run(asyncio.wait_for(coroutine, PATIENCE))

    def events(self, ability: Ability, request: Any, context: Context | None = None) -> list[Any]:
        """Call a hook and give all of its events."""
        return self.run(self.collect(ability, request, context))

    async def collect(self, ability: Ability, request: Any, context: Context | None = None) -> list[Any]:
        """Call a hook and collect its events; for several at once."""
        return [event async for event in self.instance.call(ability, request, context or Context(CallInfo(model="under-test")))]

    def close(self) -> None:
        """Unload the backend."""
        self.instance.unload()
        self._runner.close()


def resolved(backend: type[Backend[Any]], options: dict[str, Any]) -> dict[str, Any]:
    """Do what the host does with sources: `package:` and paths are looked up on this machine."""
    from modelhost.source import Source

    kind = options_type(backend)
    read = read_options(kind, options)

    def place(source: Source) -> dict[str, Any]:
        path = locate(source.uri) if source.uri.startswith("package:") else Path(source.uri)
        if path is None:
            pytest.skip(f"{source.uri} is not installed")
        return {"uri": source.uri, "path": str(path), **({"sha256": source.sha256} if source.sha256 else {})}

    found = dict(options)
    for field in msgspec.structs.fields(kind):
        value = getattr(read, field.name)
        if isinstance(value, Source):
            found[field.name] = place(value)
        elif isinstance(value, (tuple, list)) and value and isinstance(value[0], Source):
            found[field.name] = [place(source) for source in value]
    return found


def _amount(events: list[Any]) -> int:
    """Say how much was told; sound counts by its bytes, which a network may cut into any number of pieces."""
    return sum(len(event.data) if isinstance(event, AudioChunk) else 1 for event in events)


class BackendTests:
    """Base of the kit's classes; not for use by itself."""

    backend: ClassVar[type[Backend[Any]]]
    options: ClassVar[dict[str, Any]] = {}
    ability: ClassVar[Ability]
    request: ClassVar[Any]
    """A request that is answered with several events."""

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls) -> Iterator[Loaded]:
        """The backend, loaded once for all tests of the class."""
        loaded = Loaded(cls.backend, cls.options)
        yield loaded
        loaded.close()

    def test_the_hook_is_implemented(self) -> None:
        """`hooks_of` also refuses misspelt hooks and ones without `@hookimpl`."""
        assert self.ability in hooks_of(self.backend)

    def test_importing_the_plugin_imports_no_runtime(self) -> None:
        """A heavy import before `load` makes every start of the host slow."""
        module = self.backend.__module__
        code = f"import sys, {module}; print([name for name in {RUNTIMES!r} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.stdout.strip() == "[]", done.stdout + done.stderr

    def test_unknown_options_are_refused(self) -> None:
        """A misspelt option must not be dropped without a word."""
        with pytest.raises(msgspec.ValidationError):
            read_options(options_type(self.backend), {**self.options, "no_such_option": 1})

    def test_the_card_can_cross_to_the_host(self, loaded: Loaded) -> None:
        """A numpy scalar in a card, for one, cannot."""
        assert loaded.card.abilities is not None
        assert self.ability in loaded.card.abilities
        assert set(loaded.card.abilities) <= set(ABILITIES)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(loaded.card), type=ModelCard) == loaded.card

    def test_every_event_can_cross_to_the_host(self, loaded: Loaded) -> None:
        """Events are encoded for the border, in `process` and in later ways to run."""
        events = loaded.events(self.ability, self.request)
        raw = msgspec.msgpack.encode(events, enc_hook=to_wire)
        kind: Any = EVENTS[self.ability]
        assert msgspec.msgpack.decode(raw, type=list[kind], dec_hook=from_wire) == events

    def test_the_answer_ends_with_one_done(self, loaded: Loaded) -> None:
        """Nothing comes after `Done`, and nothing is complete without it."""
        events = loaded.events(self.ability, self.request)
        assert [isinstance(event, Done) for event in events] == [False] * (len(events) - 1) + [True]
        assert len(events) > 1

    def test_the_same_request_can_be_asked_again(self, loaded: Loaded) -> None:
        """A call leaves nothing behind that breaks the next."""
        for _ in range(3):
            assert isinstance(loaded.events(self.ability, self.request)[-1], Done)

    def test_a_cancelled_call_stops_and_the_next_one_works(self, loaded: Loaded) -> None:
        """The client left after the first event."""
        context = Context()

        async def leave_early() -> None:
            async with aclosing(cast(Any, loaded.instance.call(self.ability, self.request, context))) as events:
                await anext(events)

        loaded.run(leave_early())
        assert context.cancelled
        assert isinstance(loaded.events(self.ability, self.request)[-1], Done)

    def test_a_call_cancelled_before_it_starts_does_not_run_to_its_end(self, loaded: Loaded) -> None:
        """The client left while the request waited: it ends early, or at least ends."""
        context = Context()
        context.cancel()
        cancelled = loaded.events(self.ability, self.request, context)
        assert _amount(cancelled) <= _amount(loaded.events(self.ability, self.request))

    def test_as_many_calls_at_once_as_the_card_says(self, loaded: Loaded) -> None:
        """Every one of them is answered completely."""

        async def all_at_once() -> list[list[Any]]:
            number = min(loaded.card.concurrency, 8)
            return await asyncio.gather(*(loaded.collect(self.ability, self.request) for _ in range(number)))

        for events in loaded.run(all_at_once()):
            assert isinstance(events[-1], Done)

    def test_the_request_is_of_the_abilitys_type(self) -> None:
        """Guards the kit itself against a wrong `request`."""
        assert isinstance(self.request, REQUESTS[self.ability])
