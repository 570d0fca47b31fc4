"""Whole answers, put together of the events they came as."""

import sys
from array import array
from collections.abc import AsyncIterable
from contextlib import aclosing

from modelhost.contract.errors import BackendFailedError
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.structs import Struct
from modelhost.contract.types import (
    ChoiceDone,
    Delta,
    Detected,
    Done,
    EmbedEvent,
    FinishReason,
    GenerateEvent,
    ReasoningPart,
    SummarizeEvent,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolDelta,
    Usage,
    Vectors,
)

FLOAT_BYTES = 4
"""Bytes of a number of a vector, little-endian float32 (IEEE 754)."""


class Choice(Struct):
    """One of the texts that a model gave."""

    text: str = ""
    reasoning: tuple[ReasoningPart, ...] = ()
    """What it thought, part by part."""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    audio: bytes = b""
    """The spoken text: 16-bit little-endian mono PCM, unless another format was asked for."""
    sample_rate: int | None = None
    """Hz, of the sound."""
    reason: FinishReason = "stop"
    stop: str | None = None
    """Which stop string ended it."""

    @property
    def thoughts(self) -> str:
        """What it thought, in words."""
        return "".join(part.text for part in self.reasoning)


class Answer(Struct):
    """What a model gave in all."""

    choices: tuple[Choice, ...] = (Choice(),)
    usage: Usage = Usage()
    timings: Timings | None = None
    model: str = ""
    """Who answered, where the events tell."""
    language: str | None = None
    """Of the text that was summarised."""
    ignored: tuple[str, ...] = ()
    """Fields of the request that had no effect."""


class AnswerBuilder:
    """Takes the events of an answer one by one, for who does more with them than to wait for the whole."""

    def __init__(self, n: int = 1) -> None:
        self.events = 0
        """How many it has taken."""
        self._choices = [_GrowingChoice() for _ in range(n)]
        self._done = Done()
        self._language: str | None = None

    def take(self, event: GenerateEvent | SummarizeEvent) -> None:
        """Add the next event."""
        self.events += 1
        match event:
            case Delta():
                self._choices[event.index].add(event)
            case ToolDelta():
                self._choices[event.index].add_call(event)
            case ChoiceDone():
                self._choices[event.index].done = event
            case Done():
                self._done = event
            case Detected():
                self._language = event.language

    @property
    def text(self) -> str:
        """The text of the first choice until now."""
        return "".join(self._choices[0].text)

    def answer(self, model: str = "") -> Answer:
        """Return what has been taken."""
        done = self._done
        return Answer(
            choices=tuple(choice.whole(done) for choice in self._choices),
            usage=done.usage,
            timings=done.timings,
            model=model,
            language=self._language,
            ignored=done.ignored,
        )


class _GrowingChoice:
    """One of the texts while it grows."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.done: ChoiceDone | None = None
        self._thoughts: list[str] = []
        self._reasoning: list[ReasoningPart] = []
        self._calls: dict[int, list[ToolDelta]] = {}
        self._logprobs: list[TokenLogprob] = []
        self._audio: list[bytes] = []
        self._sample_rate: int | None = None

    def add(self, event: Delta) -> None:
        self.text.append(event.text)
        if event.reasoning:
            self._thoughts.append(event.reasoning)
        if event.signature:
            self._end_thought(event.signature, redacted=event.redacted)
        self._logprobs += event.logprobs
        if event.audio:
            self._audio.append(event.audio.data)
            self._sample_rate = event.audio.sample_rate

    def add_call(self, event: ToolDelta) -> None:
        self._calls.setdefault(event.call, []).append(event)

    def _end_thought(self, signature: str = "", *, redacted: bool = False) -> None:
        self._reasoning.append(ReasoningPart(text="".join(self._thoughts), signature=signature, redacted=redacted))
        self._thoughts = []

    def whole(self, done: Done) -> Choice:
        if self._thoughts:
            self._end_thought()
        end = self.done or done
        return Choice(
            text="".join(self.text),
            reasoning=tuple(self._reasoning),
            tool_calls=tuple(_call(self._calls[number]) for number in sorted(self._calls)),
            logprobs=tuple(self._logprobs),
            audio=b"".join(self._audio),
            sample_rate=self._sample_rate,
            reason=end.reason,
            stop=end.stop,
        )


def _call(pieces: list[ToolDelta]) -> ToolCall:
    first = pieces[0]
    arguments = "".join(piece.arguments for piece in pieces)
    signature = "".join(piece.signature for piece in pieces)
    return ToolCall(id=first.id, name=first.name, arguments=arguments, signature=signature)


async def collect(events: AsyncIterable[GenerateEvent | SummarizeEvent], n: int = 1) -> Answer:
    """Read the events of a text with `n` choices, or of a summary, to their end; closing them is for who opened them."""
    builder = AnswerBuilder(n)
    async for event in events:
        builder.take(event)
    return builder.answer(getattr(events, "model", ""))


class Rows(Struct):
    """The vectors of a request's inputs, in order: little-endian float32, all of one length."""

    vectors: list[bytes]
    truncated: tuple[int, ...] = ()
    """Numbers of the inputs that were cut."""
    tokens: tuple[int, ...] = ()
    """Tokens of each input; empty where the backend does not count them one by one."""
    usage: Usage = Usage()

    @property
    def dimensions(self) -> int:
        """Numbers in a row."""
        return len(self.vectors[0]) // FLOAT_BYTES


async def collect_vectors(events: ClosableEvents[EmbedEvent], count: int) -> Rows:
    """Wait for the vectors of `count` inputs. Raises `BackendFailedError` where there is not one of equal length for each."""
    vectors = [b""] * count
    tokens: dict[int, int] = {}
    truncated: set[int] = set()
    usage = Usage()
    async with aclosing(events):
        async for event in events:
            match event:
                case Vectors():
                    _place(event, vectors)
                    truncated.update(event.truncated)
                    tokens.update(enumerate(event.tokens, event.first))
                case Done():
                    usage = event.usage
    if len({len(row) for row in vectors}) != 1 or not vectors[0] or not truncated <= set(range(count)):
        raise BackendFailedError("the model did not give a vector of one length for each input")
    counts = tuple(tokens[number] for number in range(count)) if len(tokens) == count else ()
    return Rows(vectors=vectors, truncated=tuple(sorted(truncated)), tokens=counts, usage=usage)


def _place(event: Vectors, vectors: list[bytes]) -> None:
    size = event.dimensions * FLOAT_BYTES
    count, rest = divmod(len(event.data), size) if size > 0 else (0, 1)
    if rest or event.first < 0 or event.first + count > len(vectors):
        raise BackendFailedError("the model gave vectors that are of no input")
    if len(event.tokens) not in (0, count) or any(tokens < 0 for tokens in event.tokens):
        raise BackendFailedError("the model's numbers of tokens are not those of its vectors")
    for row in range(count):
        vectors[event.first + row] = bytes(event.data[row * size : (row + 1) * size])


def numbers(row: bytes) -> list[float]:
    """Return a row's numbers."""
    values = array("f", row)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
