"""Speech on its way out: live text goes to the backend sentence by sentence, and its sound becomes what was asked for."""

import asyncio
import codecs
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from modelhost.authors.sentences import Sentences
from modelhost.contract.context import Context
from modelhost.contract.errors import BadInputError, NotReadyError
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.types import AudioChunk, Done, SynthesizeEvent, SynthesizeRequest, Usage, Word

if TYPE_CHECKING:  # brings PyAV
    from modelhost.audio import Encoder

Speak = Callable[[SynthesizeRequest, Context], ClosableEvents[SynthesizeEvent]]

_AT_ONCE = 32 * 1024
"""Bytes of PCM that are encoded on the event loop. Chosen, because more would keep others waiting for too long, and goes to a
thread."""

_SAMPLE_BYTES = 2
"""Of 16-bit mono PCM."""


async def spoken(speak: Speak, request: SynthesizeRequest, context: Context) -> AsyncGenerator[SynthesizeEvent, None]:
    """Synthesize a request, or the live text that follows it; yields PCM in the format and rate asked for."""
    if context.input is None and request.format == "pcm" and request.sample_rate is None:
        async for event in speak(request, context):
            yield event
        return
    encoder: Encoder | None = None
    usage = Usage()
    spoken_for = 0.0
    async for text in _texts(request, context):
        inner = _part_of(context)
        begun = spoken_for  # of the words, each sentence tells the times within itself
        try:
            synthesis = speak(_plain(request, text), inner)
            async with aclosing(synthesis if context.input is None else _if_there_is_something(synthesis)) as events:
                async for event in events:
                    if isinstance(event, AudioChunk):
                        if not (event.data or event.words):
                            continue  # a file of nothing would have a head all the same
                        encoder = encoder or _encoder(request, event.sample_rate)
                        words = tuple(_later(word, begun) for word in event.words) if begun else event.words
                        spoken_for += len(event.data) / _SAMPLE_BYTES / event.sample_rate
                        data = await _encoded(encoder, event.data)
                        if data or words:
                            yield AudioChunk(data=data, sample_rate=encoder.sample_rate, words=words)
                    elif isinstance(event, Done):
                        usage += event.usage
                    else:
                        yield event
        finally:
            inner.cancel()
        if context.cancelled:
            return
    if encoder and (rest := encoder.finish()):
        yield AudioChunk(data=rest, sample_rate=encoder.sample_rate)
    yield Done(usage=usage)


async def _texts(request: SynthesizeRequest, context: Context) -> AsyncIterator[str]:
    """Yield what is to be said, a live text by its sentences as soon as each is complete."""
    if context.input is None:
        yield request.text
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    cutter = Sentences()
    async for piece in context.input:
        for sentence in cutter.feed(decoder.decode(piece)):
            if _says_something(sentence):
                yield sentence
    for sentence in cutter.feed(decoder.decode(b"", final=True)) + cutter.finish():
        if _says_something(sentence):
            yield sentence


def _says_something(sentence: str) -> bool:
    """Return whether there is more in it than marks and spaces: letters, numbers or signs, such as an emoji, that have a name."""
    return any(unicodedata.category(letter)[0] in "LNS" for letter in sentence)


async def _if_there_is_something(events: ClosableEvents[SynthesizeEvent]) -> AsyncGenerator[SynthesizeEvent, None]:
    """Pass on what a backend makes of one sentence of many, which may be nothing."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except BadInputError as error:
        if error.code != "nothing_to_say":
            raise


def _part_of(context: Context) -> Context:
    """Make the context of one sentence: it ends with it, or with the whole."""
    inner = context.part()
    context.on_cancel(inner.cancel)
    return inner


def _plain(request: SynthesizeRequest, text: str) -> SynthesizeRequest:
    return replace(request, text=text, format="pcm", sample_rate=None)


def _later(word: Word, seconds: float) -> Word:
    return replace(word, start=word.start + seconds, end=word.end + seconds)


def _encoder(request: SynthesizeRequest, sample_rate: int) -> "Encoder":
    try:
        from modelhost.audio import Encoder
    except ImportError as error:
        raise NotReadyError(f"{request.format} cannot be made here: {error}", retry=False) from None
    return Encoder(request.format, sample_rate, request.sample_rate)


async def _encoded(encoder: "Encoder", pcm: bytes) -> bytes:
    return encoder.encode(pcm) if len(pcm) <= _AT_ONCE else await asyncio.to_thread(encoder.encode, pcm)
