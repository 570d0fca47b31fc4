"""What every backend must keep, whatever it can do."""

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest

from modelhost.contract.backend import Backend, options_type, read_options
from modelhost.contract.card import ModelCard
from modelhost.contract.errors import BackendFailedError, BadInputError, RequestError, ServiceError
from modelhost.contract.log import place_of
from modelhost.contract.types import Done
from modelhost.contract.types.abilities import ABILITIES, EVENTS, REQUESTS, Ability
from modelhost.testing.bad_weights import outcome_of_loading
from modelhost.testing.imports import Import, imported
from modelhost.testing.loaded import BUDGET, LOAD_PATIENCE, PATIENCE, Loaded, sources_of
from modelhost.testing.time_limits import EndsWithPytest, within
from modelhost.testing.told_once import (
    BAD_IMPORT,
    BAD_UNLOAD,
    BAD_WEIGHTS,
    NO_HOOKS,
    NOT_LOADED,
    UNANSWERED,
    ToldOnce,
    leave_out_if_told,
    subject,
    telling,
    was_told,
)
from modelhost.wire.frames import from_wire, to_wire
from modelhost.worker.describe import options_schema
from modelhost.worker.instance import hooks_of

STOPS_WITHIN = 5.0
"""Seconds in which a call must end that nobody wants any more. Chosen, because the host ends the worker after `cancel_grace`,
which is 30."""

STILL_COMES = 3
"""Events that may come after a call was cancelled. Chosen, because some were made already."""

LONGEST_PAUSE = 0.25
"""Seconds for which an async hook may keep all others waiting. Chosen, because loops of busy machines pause for half as long
(benchmarks/loop_pauses.py), and who blocks one mostly does so for longer."""

PAUSE_TRIES = 3
"""Answers of which the shortest pause counts. Chosen, because a busy machine makes one pause long, and not three."""

IMPORT_SECONDS = 1.0
"""Seconds that importing a plugin may take. Chosen, because the host gives it 10, with everything that it does at its start
running beside."""

T = TypeVar("T")


class BackendTests:
    """Base of the kit's classes, and a class of its own for an ability that has none."""

    backend: ClassVar[type[Backend[Any]]]
    """The class under test."""
    options: ClassVar[dict[str, Any]] = {}
    """What stands under `[models.NAME.options]`; `package:` and paths as there."""
    request_options: ClassVar[dict[str, Any]] = {}
    """What a request carries for the plugin, where the class names `request_options`."""
    ability: ClassVar[Ability]
    request: ClassVar[Any]
    """A request that is answered with several events."""
    long: ClassVar[Any] = None
    """One that is answered with many, to be cancelled in the middle; None takes `request`."""
    odd: ClassVar[tuple[Any, ...]] = ()
    """Requests nobody meant to send, which must be answered or refused."""
    patience: ClassVar[float] = PATIENCE
    """Seconds one answer may take."""
    load_patience: ClassVar[float] = LOAD_PATIENCE
    """Seconds `load` may take."""
    stops_within: ClassVar[float] = STOPS_WITHIN
    """Seconds in which a call must end that nobody wants any more, and `unload` too."""
    budget: ClassVar[float] = BUDGET
    """Seconds that all answers may take together."""

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls) -> Iterator[Loaded]:
        """Yield the backend, loaded once for all tests of the class."""
        with telling(*subject(cls), NOT_LOADED):
            loaded = cls.load(cls.options)
        yield loaded
        try:
            loaded.close()
        except (AssertionError, pytest.fail.Exception):
            if not was_told(*subject(cls), BAD_UNLOAD):
                raise

    @classmethod
    def load(cls, options: dict[str, Any]) -> Loaded:
        """Load the backend with these options; for a `loaded` of one's own."""
        return Loaded(
            cls.backend,
            options,
            patience=cls.patience,
            load_patience=cls.load_patience,
            unload_patience=cls.stops_within,
            budget=cls.budget,
        )

    @pytest.fixture(scope="class")
    @classmethod
    def answered(cls, loaded: Loaded) -> list[Any]:
        """Return the events of `request`, asked once for all tests of the class that only look at them."""
        with telling(*subject(cls), cls.ability, UNANSWERED):
            return loaded.events(cls.ability, cls.request)

    @pytest.fixture(scope="session", autouse=True)
    @staticmethod
    def ends(pytestconfig: pytest.Config) -> None:
        """Let pytest end, whatever a backend leaves running, and tell a mistake once."""
        EndsWithPytest.of(pytestconfig)
        ToldOnce.of(pytestconfig)

    def test_the_request_is_of_the_abilitys_type(self) -> None:
        """Guards the kit itself against a wrong `request`."""
        expected = REQUESTS[self.ability]
        assert isinstance(self.request, expected), f"set `request` to a {expected.__name__}"

    def test_the_hook_is_implemented(self) -> None:
        """`hooks_of` also refuses misspelt hooks and ones without `@hookimpl`."""
        with telling(self.backend, NO_HOOKS):
            found = hooks_of(self.backend)
        assert self.ability in found, (
            f"{self.backend.__name__} has no method {self.ability} with @hookimpl; it has {', '.join(found)}"
        )

    def test_importing_the_plugin_is_quick_and_imports_no_runtime(self) -> None:
        """A heavy import before `load` makes every start of the host slow."""
        with telling(self.backend.__module__, "time", BAD_IMPORT):
            seen = self.imported()
            what = ", ".join(seen.runtimes)
            assert not seen.runtimes, f"importing {seen.module} imports {what}; import that in `load`, or where it is used"
            assert seen.seconds < IMPORT_SECONDS, (
                f"importing {seen.module} takes {seen.seconds:.1f} s; the host asks plugins about themselves often: "
                "move what takes long into `load`"
            )

    def test_importing_the_plugin_prints_nothing(self) -> None:
        """Whoever lists the plugins reads that."""
        with telling(self.backend.__module__, "print", BAD_IMPORT):
            seen = self.imported()
            assert not seen.printed, f"importing {seen.module} prints {seen.printed[:60]!r}; use self.log in `load`"

    def imported(self) -> Import:
        """Return what was seen when the plugin's module was imported in an interpreter of its own."""
        return imported(self.backend.__module__, IMPORT_SECONDS)

    def test_unknown_options_are_refused(self) -> None:
        """A misspelt option must not be dropped without a word."""
        try:
            read_options(options_type(self.backend), {**self.options, "no_such_option": 1})
        except msgspec.ValidationError:
            return
        pytest.fail("an unknown option is accepted; leave forbid_unknown_fields of `Options` as it is")

    def test_every_option_has_a_type(self) -> None:
        """What has none is an attribute of the class: nobody can set it in the configuration."""
        kind = options_type(self.backend)
        fields = {field.name for field in msgspec.structs.fields(kind)}
        for name, value in vars(kind).items():
            plain = isinstance(value, (bool, int, float, str, tuple, list, dict)) or value is None
            assert name in fields or name.startswith("_") or not plain, (
                f"{kind.__name__}.{name} has no type, so it is no option; write `{name}: {type(value).__name__} = {value!r}`, or "
                f"put a constant beside the class"
            )

    def test_the_card_can_cross_to_the_host(self, loaded: Loaded) -> None:
        """A numpy scalar in a card, for one, cannot."""
        card = loaded.card
        assert card.abilities is not None
        assert self.ability in card.abilities, f"the card's abilities leave {self.ability} out"
        assert set(card.abilities) <= set(ABILITIES)
        try:
            crossed = msgspec.msgpack.decode(msgspec.msgpack.encode(card), type=ModelCard)
        except (TypeError, msgspec.ValidationError) as error:
            pytest.fail(f"the card cannot cross to the host: {error}; put plain values into it, such as int(…)")
        assert crossed == card, f"the card arrives as another: {crossed}"

    def test_weights_that_are_none_are_refused_by_load(self) -> None:
        """An empty file, or folder, where the weights should be: the operator is told what is wrong, and nothing crashes."""
        sources = sources_of(self.backend, self.options)
        if not sources:
            pytest.skip("no option names weights")
        leave_out_if_told(*subject(type(self)), NOT_LOADED)
        with telling(*subject(type(self)), BAD_WEIGHTS):
            problem = outcome_of_loading(self.backend, self.options, tuple(sources), self.load_patience)
            assert problem is None, problem

    def test_the_answer_ends_with_one_done(self, answered: list[Any]) -> None:
        """Nothing comes after `Done`, and nothing is complete without it."""
        assert answered, f"{self.ability} yields nothing; the last event is Done"
        assert isinstance(answered[-1], Done), f"{self.ability} ends with {type(answered[-1]).__name__}; yield Done(…) last"
        assert sum(isinstance(event, Done) for event in answered) == 1, f"{self.ability} yields Done more than once"
        assert len(answered) > 1, f"{self.ability} yields nothing but Done for {self.request!r:.80}"

    def test_every_event_can_cross_to_the_host(self, answered: list[Any]) -> None:
        """Events are encoded for the border, in `process` and in later ways to run."""
        kind: Any = EVENTS[self.ability]
        try:
            raw = msgspec.msgpack.encode(answered, enc_hook=to_wire)
            crossed = msgspec.msgpack.decode(raw, type=list[kind], dec_hook=from_wire)
        except (TypeError, NotImplementedError, msgspec.ValidationError) as error:
            pytest.fail(f"an event cannot cross to the host: {error}; put plain values into it, such as float(…) or bytes(…)")
        assert crossed == answered, "an event arrives as another; put plain values into it"

    def test_request_options_are_read_as_they_are_described(self, loaded: Loaded) -> None:
        """What a request may carry for the plugin has defaults, refuses what it does not know, and is asked for and answered."""
        kind = self.backend.request_options
        if kind is None:
            pytest.skip("requests carry no options for it")
        missing = [field.name for field in msgspec.structs.fields(kind) if field.required]
        assert not missing, f"{kind.__name__}.{missing[0]} has no default; most requests carry no options"
        options_schema(kind)
        given = msgspec.structs.replace(self.request, options={"it": {"no_such_option": 1}})
        with pytest.raises(BadInputError):
            kind.of(given)
        asked = msgspec.structs.replace(self.request, options={"it": self.request_options})
        self.complete(loaded.events(self.ability, asked), f"with the options {self.request_options}")

    def test_the_same_request_can_be_asked_again(self, loaded: Loaded) -> None:
        """A call leaves nothing behind that breaks the next."""
        for _ in range(3):
            self.complete(loaded.events(self.ability, self.request), "asked again")

    def test_odd_input_is_answered_or_refused(self, loaded: Loaded) -> None:
        """What a user may send by accident is answered, or refused with an error that says why; it does not fail."""
        for request in self.odd:
            try:
                events = loaded.events(self.ability, request)
            except RequestError:
                continue
            except ServiceError as error:
                raise AssertionError(
                    f"{request!r:.120} fails: {error.message}. Answer it, or raise BadInputError(…, param=…)"
                ) from error.__cause__
            self.complete(events, f"for {request!r:.120}")
            self.check_odd(events)

    def check_odd(self, events: list[Any]) -> None:
        """Look at the answer to an odd request."""

    def test_a_cancelled_call_ends_at_once(self, loaded: Loaded) -> None:
        """The client left after the first event: `context.cancelled` is true from then on, and no more is computed."""
        context = loaded.context()
        hook = self.plain_hook(loaded, self.long or self.request, context)
        if hook is None:
            self.async_call_ends_at_once(loaded)
            return
        events: list[Iterator[Any]] = []

        def first() -> None:
            events.append(hook())
            next(events[0], None)

        within(self.patience, first, f"{self.ability} gives no first event in {self.patience:g} s")
        context.cancel()
        further = self.stops(lambda: more(events[0]), "context.cancelled is true")
        assert further <= STILL_COMES, (
            f"{self.ability} yields more events after the call was cancelled; look at context.cancelled between steps, and return"
        )

    def async_call_ends_at_once(self, loaded: Loaded) -> None:
        """Close an async hook after its first event."""

        async def leave_early() -> None:
            events: Any = loaded.begin(self.ability, self.long or self.request, loaded.context())
            await anext(events, None)
            try:
                async with asyncio.timeout(self.stops_within):
                    await events.aclose()
            except TimeoutError:
                pytest.fail(
                    f"{self.ability} works on for more than {self.stops_within:g} s after it was closed; "
                    "let GeneratorExit and CancelledError through",
                    pytrace=False,
                )

        loaded.run(leave_early())

    def test_a_call_cancelled_before_it_starts_does_no_work(self, loaded: Loaded) -> None:
        """The client left while the request waited: there is nothing to compute."""
        context = loaded.context()
        context.cancel()
        hook = self.plain_hook(loaded, self.long or self.request, context)
        if hook is None:
            pytest.skip("the task of an async hook is cancelled by the worker")
        came = self.stops(lambda: more(hook()), "context.cancelled was true before it began")
        assert came <= STILL_COMES, (
            f"{self.ability} answers a call that was cancelled before it began; look at context.cancelled before the first step"
        )

    def test_a_call_that_is_closed_ends_at_once_and_the_next_one_works(self, loaded: Loaded) -> None:
        """Closing raises GeneratorExit where the hook yields: clean up, and let it through."""
        hook = self.plain_hook(loaded, self.request, loaded.context())
        if hook is not None:

            def leave_early() -> None:
                events = hook()
                next(events, None)
                close = getattr(events, "close", lambda: None)
                try:
                    self.stops(close, "the generator was closed")
                except Exception as error:
                    raise AssertionError(
                        f"{self.ability} raises {type(error).__name__} when it is closed ({place_of(error)}): {error}; "
                        "let GeneratorExit through, and clean up in `finally`"
                    ) from error

            within(self.patience + self.stops_within, leave_early, f"{self.ability} gives no first event in {self.patience:g} s")
        self.complete(loaded.events(self.ability, self.request), "after one that was closed early")

    def test_an_async_hook_lets_the_others_run(self, loaded: Loaded) -> None:
        """All calls of an async backend share one loop: what blocks it (`time.sleep`, a blocking client) blocks them all."""
        if self.plain_hook(loaded, self.request, loaded.context()) is not None:
            pytest.skip("a plain hook has a thread of its own")
        pause = math.inf
        for _ in range(PAUSE_TRIES):
            pause = min(pause, loaded.run(loaded.longest_pause(self.ability, self.request)))
            if pause < LONGEST_PAUSE:
                return
        pytest.fail(
            f"{self.ability} blocks the event loop for {pause:.1f} s, and with it all other calls: await what waits, put what "
            "computes into a thread (asyncio.to_thread), or make the hook a plain generator, which has a thread of its own"
        )

    def plain_hook(self, loaded: Loaded, request: Any, context: Any) -> Callable[[], Iterator[Any]] | None:
        """Return what calls the hook by itself, as a plain iterator; None for an async one."""
        hook = getattr(self.backend, self.ability)
        if inspect.isasyncgenfunction(hook):
            return None
        if not inspect.isgeneratorfunction(hook):  # it returns an iterator: calling it may be work already
            events = within(
                self.patience,
                lambda: loaded.begin(self.ability, request, loaded.context()),
                f"{self.ability} has not returned an iterator in {self.patience:g} s",
            )
            if isinstance(events, AsyncIterator):
                return None
            getattr(events, "close", lambda: None)()
        return lambda: loaded.begin(self.ability, request, context)  # type: ignore[return-value]

    def stops(self, work: Callable[[], T], why: str) -> T:
        """Wait for what must end soon."""
        return within(
            self.stops_within,
            work,
            f"{self.ability} goes on for more than {self.stops_within:g} s although {why}; "
            "look at context.cancelled between steps, and let GeneratorExit through",
        )

    def test_as_many_calls_at_once_as_the_card_says(self, loaded: Loaded) -> None:
        """Every one of them is answered completely."""
        number = min(loaded.card.concurrency, 8)

        async def all_at_once() -> list[list[Any]]:
            return await asyncio.gather(*(loaded.collect(self.ability, self.request) for _ in range(number)))

        try:
            answers = loaded.run(all_at_once())
        except BackendFailedError as error:
            raise AssertionError(
                f"the card says concurrency={number} or more, and of {number} calls at once one failed: {error.message}"
            ) from error.__cause__
        for events in answers:
            self.complete(events, f"of {number} at once")

    def complete(self, events: list[Any], which: str) -> None:
        """Assert that an answer is complete."""
        assert events, f"an answer {which} has no events"
        assert isinstance(events[-1], Done), f"an answer {which} does not end with Done"

    def test_it_can_be_unloaded_and_loaded_again(self, loaded: Loaded) -> None:
        """Unloading raises nothing and does not block, and what is loaded then is as good as the first."""
        card = loaded.card
        with telling(*subject(type(self)), BAD_UNLOAD):
            loaded.reload()
        assert loaded.card == card, f"loaded again, its card is another: {loaded.card}"
        self.complete(loaded.events(self.ability, self.request), "after it was loaded again")


def more(events: Iterator[Any]) -> int:
    """Count what still comes, as far as that matters."""
    count = 0
    for _ in events:
        count += 1
        if count > STILL_COMES:
            break
    return count
