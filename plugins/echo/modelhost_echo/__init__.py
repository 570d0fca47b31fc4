"""Gives back what it is given: for trying the host out, for tests, and to copy."""

from array import array
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import chain
from math import sin, sqrt, tau
from typing import Annotated, Any

import msgspec
from modelhost import (
    AudioChunk,
    Backend,
    BadInputError,
    Context,
    Delta,
    Done,
    EmbedEvent,
    EmbedRequest,
    GenerateEvent,
    GenerateRequest,
    ModelCard,
    Partial,
    Segment,
    SummarizeEvent,
    SummarizeRequest,
    SynthesizeEvent,
    SynthesizeRequest,
    TokenizeEvent,
    TokenizeRequest,
    Tokens,
    ToolDelta,
    TranscribeEvent,
    TranscribeRequest,
    Usage,
    Vectors,
    Voices,
    VoicesEvent,
    VoicesRequest,
    collect,
    hookimpl,
)
from msgspec import Meta

from modelhost_echo.script import Script, ScriptOptions

SAMPLE_RATE = 16_000
"""Hz, of the beeps that stand for speech. Chosen, because it is the rate of the host's own samples."""

BEGIN = 256
"""The one control token, with which texts begin. Chosen, because tokens 0 to 255 are the bytes of UTF-8."""
BEGIN_NAME = b"<begin>"


class EchoOptions(ScriptOptions):
    """What the echo sounds like; by default it plainly repeats."""

    prefix: str = ""
    """Said before everything that is repeated."""
    reasoning: str = ""
    """Thought aloud before the answer."""
    tool: str | None = None
    """Name of a tool to call, with what was said as its `text`, whenever the request offers it."""
    ask: str | None = None
    """Name of another model whose answer is repeated in place of the request."""
    dimensions: Annotated[int, Meta(ge=1)] = 8
    """Length of the vectors."""
    concurrency: Annotated[int, Meta(ge=1)] = 64
    """How many calls it takes at once."""
    context_length: Annotated[int, Meta(ge=1)] = 4096
    """What the card says; nothing is counted."""


class EchoBackend(Backend[EchoOptions]):
    """Repeats what it is given, word by word."""

    def load(self) -> ModelCard:
        """Take as long as the options say."""
        self.script = Script(self.options)
        self.script.load()
        self._voices = {"beep": 440}
        return ModelCard(
            inputs=("text", "audio", "image"),
            features=(
                "streaming",
                *(("tools",) if self.options.tool else ()),
                *(("reasoning",) if self.options.reasoning else ()),
                "completion",
                "top_k",
                "live",
                "translate",
                "speed",
                "cloning",
                "token_input",
            ),
            context_length=self.options.context_length,
            dimensions=(self.options.dimensions,),
            voices=("beep",),
            sample_rate=SAMPLE_RATE,
            concurrency=self.options.concurrency,
        )

    @hookimpl
    async def generate(self, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateEvent]:
        """Repeat the last message."""
        text = request.messages[-1].text if request.messages else str(request.prompt)
        if self.options.ask:
            text = await self._answer_of(self.options.ask, request, context)
        if self.options.tool and any(tool.name == self.options.tool for tool in request.tools):
            arguments = msgspec.json.encode({"text": text}).decode()
            yield ToolDelta(id="call_1", name=self.options.tool, arguments=arguments)
            yield Done(reason="tool_calls", usage=Usage(input_tokens=len(text.split()), output_tokens=1))
            return
        words = (self.options.prefix + text).split()
        kept = words if request.max_tokens is None else words[: request.max_tokens]
        if self.options.reasoning:
            yield Delta(reasoning=self.options.reasoning)
        async for word in self.script.play(kept):
            yield Delta(text=f"{word} ")
        usage = Usage(input_tokens=len(text.split()), output_tokens=len(kept))
        yield Done(reason="stop" if len(kept) == len(words) else "length", usage=usage)

    async def _answer_of(self, model: str, request: GenerateRequest, context: Context) -> str:
        async with aclosing(context.host.call("generate", model, request)) as events:
            return (await collect(events)).choices[0].text

    @hookimpl
    async def transcribe(self, request: TranscribeRequest, context: Context) -> AsyncIterator[TranscribeEvent]:
        """Yield how many bytes there were; live, after every piece."""
        size = request.audio.size if request.audio else 0
        if context.input is not None:
            async for piece in context.input:
                size += len(piece)
                yield Partial(text=f"{size} bytes")
        words = f"{self.options.prefix}heard {size} bytes".split()
        at = 0.0
        async for word in self.script.play(words):
            yield Segment(start=at, end=at + 1, text=f"{word} ")
            at += 1
        yield Done(usage=Usage(audio_seconds=at))

    @hookimpl
    async def synthesize(self, request: SynthesizeRequest, context: Context) -> AsyncIterator[SynthesizeEvent]:
        """Beep for a tenth of a second a word, at the voice's pitch."""
        hertz = self._voices.get(request.voice or "beep")
        if hertz is None:
            raise BadInputError(f"the echo's voices are {', '.join(self._voices)}", param="voice", code="unknown_voice")
        length = int(SAMPLE_RATE / 10 / request.speed)
        samples = array("h", (int(8000 * sin(tau * hertz * n / SAMPLE_RATE)) for n in range(length)))
        words = request.text.split()
        async for _ in self.script.play(words):
            yield AudioChunk(data=samples.tobytes(), sample_rate=SAMPLE_RATE)
        yield Done(usage=Usage(audio_seconds=len(words) * length / SAMPLE_RATE))

    @hookimpl
    async def voices(self, request: VoicesRequest, context: Context) -> AsyncIterator[VoicesEvent]:
        """Add or forget a voice; each has a pitch of its own, 50 Hz above the last."""
        if request.add is not None:
            self._voices.setdefault(request.add, max(self._voices.values()) + 50)
        if request.delete is not None and (request.delete == "beep" or self._voices.pop(request.delete, None) is None):
            raise BadInputError("there is no such voice that could be deleted", param="voice", code="unknown_voice")
        async for answer in self.script.play([Voices(names=tuple(self._voices))]):
            yield answer
        yield Done()

    @hookimpl
    async def embed(self, request: EmbedRequest, context: Context) -> AsyncIterator[EmbedEvent]:
        """Yield unit vectors that depend on the bytes of each input only."""
        size = request.dimensions or self.options.dimensions
        async for number in self.script.play(range(len(request.inputs))):
            given = request.inputs[number]
            yield Vectors(first=number, dimensions=size, data=_direction(given, size), tokens=(len(_bytes(given)),))
        yield Done(usage=Usage(input_tokens=sum(len(_bytes(text)) for text in request.inputs)))

    @hookimpl
    async def summarize(self, request: SummarizeRequest, context: Context) -> AsyncIterator[SummarizeEvent]:
        """Yield the first words."""
        words = (self.options.prefix + request.text.read().decode(errors="replace")).split()
        async for word in self.script.play(words[: request.max_tokens or 10]):
            yield Delta(text=f"{word} ")
        yield Done()

    @hookimpl
    async def tokenize(self, request: TokenizeRequest, context: Context) -> AsyncIterator[TokenizeEvent]:
        """Yield the bytes of UTF-8 as tokens, and of a chat those of its messages, a line each."""
        tokens = _tokens(request) if request.tokens is None else request.tokens
        if any(not 0 <= token <= BEGIN for token in tokens):
            raise BadInputError(f"the echo's tokens are 0 to {BEGIN}", param="tokens")
        pieces = tuple(BEGIN_NAME if token == BEGIN else bytes([token]) for token in tokens)
        text = "" if request.tokens is None else b"".join(pieces).decode("utf-8", "replace")
        async for answer in self.script.play([Tokens(tokens=tokens, text=text, pieces=pieces)]):
            yield answer
        yield Done()


def _tokens(request: TokenizeRequest) -> tuple[int, ...]:
    if request.text is None:
        return tuple("".join(f"{message.role}: {message.text}\n" for message in request.messages).encode())
    data = request.text.encode()
    parts = data.split(BEGIN_NAME) if request.parse_special else [data]
    begin = [BEGIN] if request.add_special else []
    return tuple(chain(begin, parts[0], *([BEGIN, *part] for part in parts[1:])))


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else repr(value).encode()


def _direction(value: Any, size: int) -> bytes:
    """Spread the bytes of a value over `size` numbers and scale them to length 1: little-endian float32."""
    raw = [1.0] + [0.0] * (size - 1)
    for position, byte in enumerate(_bytes(value)):
        raw[position % size] += byte
    length = sqrt(sum(number * number for number in raw))
    return array("f", (number / length for number in raw)).tobytes()
