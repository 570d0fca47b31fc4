"""`/v1/speech-to-text/ws` and `/ws/stt`: sound goes in while it is heard, words come back as soon as they are known."""

import asyncio
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

from litestar import WebSocket, websocket
from msgspec import UNSET, Meta, UnsetType

from modelhost.authors.languages import spoken
from modelhost.contract.errors import BadInputError, ModelhostError
from modelhost.contract.structs import Struct
from modelhost.contract.types import Blob, Detected, Partial, Segment, TranscribeRequest
from modelhost.http.native.dialect import route_spec
from modelhost.http.native.sockets.incoming_audio import Incoming
from modelhost.http.routing.audio.transcript import Transcript
from modelhost.http.routing.audio.transcript_shapes import DurationUsage, TranscriptWord
from modelhost.http.routing.bodies.media import from_base64
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.websocket import Failure, MessageSocket


class Listen(PluginFields, kw_only=True, tag_field="type", tag="start"):
    """Begin, or begin anew after `end`. May be left out: then the query of the URL and the defaults count."""

    spelt: ClassVar[Spelt] = {"timestamp_granularities": ("word_timestamps",)}

    model: str | None = None
    language: str | None = None
    """By code or name; without it, or with `auto`, the model finds out."""
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    format: str = "pcm"
    """`pcm` (16-bit, little-endian, mono) is written down while it comes; anything else, such as `webm`, at `end`.

    What begins like a file is read as that file; a WAV file of 16-bit mono PCM is written down while it comes, at its own rate.
    """
    sample_rate: Annotated[int, Meta(ge=8000, le=192_000)] = 16_000
    """Hz of `pcm`."""
    partial: bool = True
    """Whether to send what unfinished speech sounds like so far."""
    word_timestamps: bool = False


class Sound(Struct, tag_field="type", tag="audio"):
    """More sound, in base64. Binary frames are the same without the wrapping."""

    audio: str


class End(Struct, tag_field="type", tag="end"):
    """Nothing follows; `done` is the answer."""


class Language(Struct, tag_field="type", tag="language"):
    """The language that was found."""

    language: str
    probability: float | None


class PartialText(Struct, tag_field="type", tag="partial"):
    """What is being said sounds like this so far; each replaces the one before."""

    text: str


class FinalText(Struct, tag_field="type", tag="segment"):
    """What was said from `start` to `end`, in seconds from the first sound; it will not change."""

    start: float
    end: float
    text: str
    words: list[TranscriptWord] = []


class Heard(Struct, tag_field="type", tag="done"):
    """All that was said since `start`."""

    text: str
    language: str | None
    usage: DurationUsage
    ignored: list[str] | UnsetType = UNSET
    """Fields of the messages before that nobody knows, where there were any."""


HEARS = (Listen, Sound, End)
SAYS = (Language, PartialText, FinalText, Heard, Failure)


@websocket(["/v1/speech-to-text/ws", "/ws/stt"], opt=route_spec("inference", tag="Audio", receives=HEARS, sends=SAYS))
async def listen(socket: WebSocket[Any, Any, Any]) -> None:
    """Write down sound as it comes."""
    session: Listening | None = None
    async with MessageSocket[Listen | Sound | End](socket, Listen | Sound | End, {"audio": "audio"}, begin=(Listen,)) as messages:
        try:
            async for message in messages:
                match message:
                    case Listen():
                        if session and not session.over:
                            await messages.tell(BadInputError("send `end` before you `start` again"))
                        else:
                            session = Listening(messages, message)
                    case End():
                        await (session.end() if session else messages.send(_nothing_heard(messages)))
                        session = None
                    case _:
                        session = session or Listening(messages, messages.message_in_url(Listen))
                        try:
                            await session.hear(message if isinstance(message, bytes) else from_base64(message.audio, "audio"))
                        except BadInputError as error:
                            await messages.tell(error)
                del message  # it may be large, and the next one long in coming
        finally:
            if session:
                session.cancel()


def _nothing_heard(messages: MessageSocket[Any]) -> Heard:
    """Make the answer to an `end` before which nothing was sent."""
    return Heard(text="", language=None, usage=DurationUsage(seconds=0.0), ignored=messages.ignored())


class Listening:
    """One stretch of sound, from `start` to `end`."""

    def __init__(self, messages: MessageSocket[Any], start: Listen) -> None:
        self._messages = messages
        self._start = start
        self._incoming = Incoming(start.format, start.sample_rate, most_mb=messages.host.config.server.max_audio_mb)
        self._task: asyncio.Task[None] | None = None
        self._refused = False

    @property
    def over(self) -> bool:
        """Whether everything has been said about it."""
        return self._refused or (self._task is not None and self._task.done())

    async def hear(self, data: bytes) -> None:
        """Take more sound. Raises `BadInputError` for more of it than a recording may have."""
        if self.over:
            return
        try:
            await self._incoming.put(data)
        except BadInputError:  # what is left of it would be taken for the whole
            self._refused = True
            self._forget()
            raise
        if self._incoming.live and self._task is None:
            self._begin()  # not before: a model's slot is for who has something to say

    async def end(self) -> None:
        """Say that nothing follows, and wait until everything has been told."""
        if self._refused:
            return
        await self._incoming.finish()
        if self._task is None:
            self._begin()
        assert self._task is not None
        await asyncio.wait({self._task})

    def cancel(self) -> None:
        """Stop."""
        if self._task:
            self._task.cancel()
        self._forget()

    def _forget(self) -> None:
        self._messages.live = False
        self._incoming.forget()

    def _begin(self) -> None:
        incoming, start = self._incoming, self._start
        self._messages.live = incoming.path is None
        request = TranscribeRequest(
            audio=Blob(path=incoming.path) if incoming.path else None,
            format=incoming.format,
            sample_rate=incoming.sample_rate,
            language=spoken(start.language),
            prompt=start.prompt or None,
            hotwords=start.hotwords,
            word_timestamps=start.word_timestamps,
            options=start.options,
        )
        self._task = self._messages.work(self._tell(request))

    async def _tell(self, request: TranscribeRequest) -> None:
        live = self._incoming.live_input.stream if request.audio is None else None
        transcript = Transcript("transcribe", request.language)
        try:
            call = self._messages.start("transcribe", self._start.model, request, live=live, timed=live is None)
            async with aclosing(call) as events:
                async for event in events:
                    transcript.take(event)
                    await self._pass_on(event)
            ignored = self._messages.ignored()
            done = Heard(text=transcript.text, language=transcript.language, usage=transcript.usage, ignored=ignored)
            await self._messages.send(done)
        except ModelhostError as error:
            await self._messages.tell(error)
        finally:
            self._forget()

    async def _pass_on(self, event: Any) -> None:
        match event:
            case Partial() if self._start.partial:
                await self._messages.send(PartialText(text=event.text))
            case Segment() if not event.degenerate:
                await self._messages.send(_final(event))
            case Detected():
                await self._messages.send(Language(language=event.language, probability=event.probability))


def _final(event: Segment) -> FinalText:
    words = [TranscriptWord(word=word.text.strip(), start=round(word.start, 3), end=round(word.end, 3)) for word in event.words]
    return FinalText(start=round(event.start, 3), end=round(event.end, 3), text=event.text, words=words)
