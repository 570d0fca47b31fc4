"""A host of one generator, in this process: speaks the contract, notes what it is asked, and has a context to overflow."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from modelhost import (
    BadInputError,
    Context,
    Delta,
    Done,
    GenerateRequest,
    ModelhostError,
    SummarizeRequest,
    Tokens,
    UnknownModelError,
    UnsupportedError,
    Usage,
)
from modelhost.contract.context import CallInfo
from modelhost.contract.event_stream import EventStream
from modelhost.contract.types import Blob
from modelhost.testing import Loaded
from modelhost_summarizer import SummarizerBackend

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("steady")


class HostOfOne:
    """Answers as a router with the model `writer` would; a token of it is a word."""

    def __init__(self) -> None:
        self.requests: list[GenerateRequest] = []
        self.context_length: int | None = None
        self.tokenizes = True
        self.says: Callable[[GenerateRequest], str] = lambda request: "The text says something."
        self.refuses: ModelhostError | None = None
        self.writer = threading.Event()
        self.silent = False
        self.reason: Any = "stop"

    def call(self, context: Context, ability: str, model: str, request: Any) -> EventStream[Any]:
        events: EventStream[Any] = EventStream()
        context.on_cancel(events.close)
        try:
            if model not in ("", "writer"):
                raise UnknownModelError(f"there is no model {model!r}; there are: writer", param="model")
            for event in self._tokens(request) if ability == "tokenize" else self._answer(request):
                events.put(event)
        except ModelhostError as error:
            events.finish(error)
        else:
            if not self.silent:
                events.finish()
        self.writer.set()
        return events

    def _tokens(self, request: Any) -> list[Any]:
        if not self.tokenizes:
            raise UnsupportedError("model 'writer' cannot tokenize", param="model")
        return [Tokens(tokens=tuple(range(len(request.text.split())))), Done()]

    def _answer(self, request: GenerateRequest) -> list[Any]:
        self.requests.append(request)
        if self.refuses:
            raise self.refuses
        prompt = sum(len(message.text.split()) for message in request.messages)
        assert request.max_tokens
        if self.context_length and prompt + request.max_tokens > self.context_length:
            raise BadInputError("it does not fit", param="messages", code="context_length_exceeded")
        if self.silent:
            return []
        words = self.says(request).split(" ")
        kept = words[: request.max_tokens]
        reason = self.reason if kept == words else "length"
        pieces = [Delta(text=f"{word} ") for word in kept if word]
        return [Delta(reasoning="hm"), *pieces, Done(reason=reason, usage=Usage(input_tokens=prompt, output_tokens=len(kept)))]

    def system(self, number: int = -1) -> str:
        """What the generator was told it is."""
        return self.requests[number].messages[0].text

    def material(self, number: int = -1) -> str:
        """What stood between the marks of a request."""
        shown = self.requests[number].messages[1].text
        mark = shown.partition(" that read ")[2].partition("\n")[0]
        return shown.split(f"\n{mark}\n")[1]


class Summaries(Loaded):
    """A loaded summarizer whose calls reach the host of one."""

    def __init__(self, host: HostOfOne, **options: Any) -> None:
        super().__init__(SummarizerBackend, options)
        self.host = host

    def context(self) -> Context:
        return Context(CallInfo(model="under-test"), call=self.host.call)

    async def collect(self, ability: Any, request: Any, context: Context | None = None) -> list[Any]:
        return await super().collect(ability, request, context or self.context())

    def of(self, text: str | bytes, **fields: Any) -> list[Any]:
        """Summarise, and give the events."""
        data = text.encode() if isinstance(text, str) else text
        return self.events("summarize", SummarizeRequest(text=Blob(data), **fields))

    def refusal(self, text: str | bytes, **fields: Any) -> ModelhostError:
        """Summarise what is refused."""
        with pytest.raises(ModelhostError) as caught:
            self.of(text, **fields)
        return caught.value


@pytest.fixture
def host() -> HostOfOne:
    return HostOfOne()


@pytest.fixture
def load(host: HostOfOne) -> Iterator[Callable[..., Summaries]]:
    """Load summarizers: `load(max_tokens=10)`."""
    loaded: list[Summaries] = []

    def load(**options: Any) -> Summaries:
        loaded.append(Summaries(host, **options))
        return loaded[-1]

    yield load
    for one in loaded:
        one.close()


@pytest.fixture
def summaries(load: Callable[..., Summaries]) -> Summaries:
    return load()


@pytest.fixture(scope="class")
def class_host() -> HostOfOne:
    return HostOfOne()


@pytest.fixture(scope="session")
def summaries_of() -> type[Summaries]:
    return Summaries
