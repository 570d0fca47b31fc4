"""`/v1/text-to-speech/ws` and `/ws/tts`: text goes in while it is written, its sound comes back sentence by sentence."""

import asyncio
import base64
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

from litestar import WebSocket, websocket
from msgspec import UNSET, Meta, UnsetType

from modelhost.contract.errors import BadInputError, ModelhostError
from modelhost.contract.structs import Struct
from modelhost.contract.types import AudioChunk, AudioFormat, Done, SynthesizeRequest
from modelhost.contract.types.synthesize import MEDIA_TYPES
from modelhost.http.native.dialect import route_spec
from modelhost.http.native.sockets.live_input import LiveInput
from modelhost.http.routing.audio.speech import SpeechFields, named_voice
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.websocket import Failure, MessageSocket


class Speak(SpeechFields, kw_only=True, tag_field="type", tag="start"):
    """Begin, or begin anew after `end`. May be left out: then the query of the URL and the defaults count."""

    spelt: ClassVar[Spelt] = {"voice": ("voice", "reference_id")}

    voice: str | None = None
    reference_id: str | None = None
    """An older word for `voice`."""
    format: AudioFormat | None = None
    """By default `[speech] format`, which is `wav`."""
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    binary: bool = False
    """Send sound as binary frames, in place of `audio` messages."""


class Say(Speak, kw_only=True, tag_field="type", tag="say"):
    """A whole text: `start`, `text` and `end` in one."""

    text: str


class Text(Struct, tag_field="type", tag="text"):
    """More text. Sentences are spoken as they become complete."""

    text: str


class End(Struct, tag_field="type", tag="end"):
    """Nothing follows; `done` is the answer."""


class SoundFormat(Struct, tag_field="type", tag="format"):
    """What the sound that follows is."""

    format: AudioFormat
    media_type: str
    sample_rate: int


class SoundPart(Struct, tag_field="type", tag="audio"):
    """More sound, in base64; all parts together are one file."""

    audio: str


class Spoken(Struct, tag_field="type", tag="done"):
    """All has been said."""

    duration: float
    """Seconds of sound."""
    ignored: list[str] | UnsetType = UNSET
    """Fields of the messages before that nobody knows, where there were any."""


HEARS = (Say, Speak, Text, End)
SAYS = (SoundFormat, SoundPart, Spoken, Failure)


@websocket(["/v1/text-to-speech/ws", "/ws/tts"], opt=route_spec("inference", tag="Audio", receives=HEARS, sends=SAYS))
async def speak(socket: WebSocket[Any, Any, Any]) -> None:
    """Speak text as it comes."""
    session: SpeakingSession | None = None
    kinds = Speak | Say | Text | End
    async with MessageSocket[Speak | Say | Text | End](socket, kinds, {"text": "say"}, begin=(Speak, Say)) as messages:
        try:
            async for message in messages:
                if isinstance(message, (Speak, Say)) and session and not session.over:
                    await messages.tell(BadInputError("send `end` before you `start` again"))
                    continue
                match message:
                    case Say():
                        session = SpeakingSession(messages, message)
                        await session.say(message.text)
                        await session.end()
                        session = None
                    case Speak():
                        session = SpeakingSession(messages, message)
                    case Text():
                        session = session or SpeakingSession(messages, messages.message_in_url(Speak))
                        await session.say(message.text)
                    case End():
                        await (session.end() if session else messages.send(Spoken(duration=0.0, ignored=messages.ignored())))
                        session = None
                    case _:
                        await messages.tell(BadInputError("text comes as JSON, not as binary frames"))
                del message  # it may be large, and the next one long in coming
        finally:
            if session:
                session.cancel()


class SpeakingSession:
    """One text, from `start` to `end`."""

    def __init__(self, messages: MessageSocket[Any], start: Speak) -> None:
        self._messages = messages
        self._binary = start.binary
        self._live_input = LiveInput()
        speech = messages.host.config.speech
        request = SynthesizeRequest(
            text="",
            voice=named_voice(start.voice or start.reference_id),
            speed=start.speed,
            format=start.format or speech.format,
            sample_rate=start.sample_rate or speech.sample_rate,
            **start.settings(),
        )
        self._model, self._request = start.model, request
        self._task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether everything has been said."""
        return self._task is not None and self._task.done()

    async def say(self, text: str) -> None:
        """Take more text."""
        self._begin()  # not before: a model's slot is for who has something to say
        if not self.over:
            await self._live_input.put(text.encode())

    def _begin(self) -> None:
        if self._task is None:
            self._messages.live = True
            self._task = self._messages.work(self._tell(self._model, self._request))

    async def end(self) -> None:
        """Say that nothing follows, and wait until all is spoken."""
        self._begin()
        self._live_input.finish()
        assert self._task is not None
        await asyncio.wait({self._task})

    def cancel(self) -> None:
        """Stop."""
        if self._task:
            self._task.cancel()

    async def _tell(self, model: str | None, request: SynthesizeRequest) -> None:
        introduced = False
        try:
            call = self._messages.start("synthesize", model, request, live=self._live_input.stream, timed=False)
            async with aclosing(call) as events:
                async for event in events:
                    if isinstance(event, AudioChunk):
                        if not introduced:
                            introduced = True
                            media_type = MEDIA_TYPES[request.format]
                            form = SoundFormat(format=request.format, media_type=media_type, sample_rate=event.sample_rate)
                            await self._messages.send(form)
                        await self._send(event.data)
                    elif isinstance(event, Done):
                        seconds = round(event.usage.audio_seconds, 3)
                        await self._messages.send(Spoken(duration=seconds, ignored=self._messages.ignored()))
        except ModelhostError as error:
            await self._messages.tell(error)
        finally:
            self._messages.live = False
            self._live_input.stream.close()

    async def _send(self, data: bytes) -> None:
        if self._binary:
            await self._messages.send_bytes(data)
        else:
            await self._messages.send(SoundPart(audio=base64.b64encode(data).decode()))
