"""Texts to be spoken: the fields that every way to ask for speech has, and the sound that comes of them."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Annotated, Any

from msgspec import Meta

from modelhost.contract.errors import BadInputError
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.types import AudioChunk, AudioFormat, Done, SynthesizeEvent, Usage
from modelhost.http.routing.audio.sound import Sound
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.sampling import Limit, Seed, limited, seed_of

SampleRate = Annotated[int, Meta(ge=8000, le=192_000)]
"""Hz."""

Speed = Annotated[float, Meta(ge=0.25, le=4)]
"""How fast to speak; 1 is as fast as the voice is. The bounds are OpenAI's."""


def named_voice(name: str | None) -> str | None:
    """Return the voice a client names; `default` is the one of the configuration, like none."""
    return None if name in (None, "", "default") else name


class SpeechFields(PluginFields):
    """What all ways to ask for speech have in common; what is left out, the model's configuration decides."""

    model: str | None = None
    sample_rate: SampleRate | None = None
    """Hz of the sound; by default `[speech] sample_rate`, else the voice's own."""
    seed: Seed | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.5, le=2)] | None = None
    chunk_length: Annotated[int, Meta(ge=1)] | None = None
    """Characters a model speaks in one go, where it can be told."""
    max_tokens: Limit | None = None
    normalize: bool | None = None

    def settings(self) -> dict[str, Any]:
        """Return these as fields of a request."""
        names = ("temperature", "top_p", "repetition_penalty", "chunk_length", "normalize")
        chosen = {"seed": seed_of(self.seed), "max_tokens": limited(self.max_tokens), "options": self.options}
        return {**chosen, **{name: getattr(self, name) for name in names}}


async def audible(call: ClosableEvents[SynthesizeEvent]) -> AsyncGenerator[SynthesizeEvent, None]:
    """Pass on what a voice says. Raises `BadInputError` where that is nothing at all."""
    silent = True
    async with aclosing(call) as events:
        async for event in events:
            if isinstance(event, AudioChunk):
                if not event.data:
                    continue
                silent = False
            elif isinstance(event, Done) and silent:
                raise _nothing_to_say()
            yield event


def _nothing_to_say() -> BadInputError:
    return BadInputError("there is nothing in the text that can be spoken", param="text", code="nothing_to_say")


async def sound_bytes(call: ClosableEvents[SynthesizeEvent]) -> AsyncGenerator[bytes, None]:
    """Yield the sound alone, while it is made. Raises `BadInputError` where there is none."""
    async with aclosing(audible(call)) as events:
        async for event in events:
            if isinstance(event, AudioChunk):
                yield event.data


async def collect_sound(events: AsyncIterable[SynthesizeEvent], form: AudioFormat) -> tuple[Sound, int, Usage]:
    """Return all of the sound, its rate in Hz, and what it cost. Raises `BadInputError` where there is none."""
    sound = Sound()
    rate, usage = 0, Usage()
    async for event in events:
        if isinstance(event, AudioChunk):
            await sound.add(event.data)
            rate = event.sample_rate
        elif isinstance(event, Done):
            usage = event.usage
    if not sound.size:
        raise _nothing_to_say()
    await sound.finish(wav=form == "wav")
    return sound, rate, usage
