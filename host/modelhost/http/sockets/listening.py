"""`/v1/speech-to-text/ws` and `/ws/stt`: sound goes in while it is heard, words come back as soon as they are known."""

import asyncio
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, cast

from litestar import WebSocket, websocket
from msgspec import Meta, structs

from modelhost.errors import BadInputError, ModelhostError
from modelhost.http.about import about
from modelhost.http.audio.shapes import DurationUsage, TranscriptWord
from modelhost.http.audio.transcript import Transcript
from modelhost.http.forms import from_base64
from modelhost.http.sockets.feed import Feed
from modelhost.http.sockets.talk import Failure, Talk
from modelhost.structs import Struct
from modelhost.types import Blob, Detected, Partial, Segment, TranscribeRequest


class Listen(Struct, tag_field="type", tag="start"):
    """Begin, or begin anew after `end`. May be left out: then the query of the URL and the defaults count."""

    model: str | None = None
    language: str | None = None
    """ISO 639-1; without it the model finds out."""
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    format: str = "pcm"
    """`pcm` (16-bit, little-endian, mono) is written down while it comes; anything else, such as `webm`, at `end`."""
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


HEARS = (Listen, Sound, End)
SAYS = (Language, PartialText, FinalText, Heard, Failure)


@websocket(["/v1/speech-to-text/ws", "/ws/stt"], opt=about("inference", tag="Audio", hears=HEARS, says=SAYS))
async def listen(socket: WebSocket[Any, Any, Any]) -> None:
    """Write down sound as it comes."""
    session: Listening | None = None
    async with Talk[Listen | Sound | End](socket, Listen | Sound | End, {"audio": "audio"}) as talk:
        first = _asked_in_url(socket)
        try:
            async for message in talk:
                match message:
                    case Listen():
                        if session and not session.over:
                            await talk.tell(BadInputError("send `end` before you `start` again"))
                        else:
                            session = Listening(talk, structs.replace(message, model=message.model or first.model))
                    case End():
                        if session:
                            await session.end()
                        session = None
                    case _:
                        session = session or Listening(talk, first)
                        try:
                            await session.hear(message if isinstance(message, bytes) else from_base64(message.audio, "audio"))
                        except BadInputError as error:
                            await talk.tell(error)
        finally:
            if session:
                session.cancel()


def _asked_in_url(socket: WebSocket[Any, Any, Any]) -> Listen:
    query = socket.query_params
    return Listen(model=query.get("model"), language=query.get("language"), format=query.get("format") or "pcm")


class Listening:
    """One stretch of sound, from `start` to `end`."""

    def __init__(self, talk: Talk[Any], asked: Listen) -> None:
        self._talk = talk
        self._asked = asked
        self._feed = Feed()
        self._path: Path | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether everything has been said about it."""
        return self._task is not None and self._task.done()

    async def hear(self, data: bytes) -> None:
        """Take more sound. Raises `BadInputError` for more of it than a recording may have."""
        if self._asked.format == "pcm":
            if self._task is None:
                self._begin(None)  # not before: a model's place is for who has something to say
            if not self.over:
                await self._feed.put(data)
            return
        if self._path is None:
            with tempfile.NamedTemporaryFile(prefix="modelhost-upload-", delete=False) as file:
                self._path = Path(file.name)
        most = self._talk.host.config.server.max_audio_mb
        if self._path.stat().st_size + len(data) > most * 2**20:
            raise BadInputError(f"the recording is larger than {most:g} MiB", param="audio")
        with self._path.open("ab") as file:
            file.write(data)

    async def end(self) -> None:
        """Say that nothing follows, and wait until everything has been told."""
        self._feed.finish()
        if self._task is None:
            self._begin(self._path if self._asked.format != "pcm" else None)
        assert self._task is not None
        await asyncio.wait({self._task})

    def cancel(self) -> None:
        """Stop."""
        if self._task:
            self._task.cancel()
        self._forget()

    def _forget(self) -> None:
        self._talk.live = False
        if self._path:
            self._path.unlink(missing_ok=True)

    def _begin(self, path: Path | None) -> None:
        self._talk.live = path is None
        asked = self._asked
        request = TranscribeRequest(
            audio=None if path is None else Blob(path=path),
            format=asked.format,
            sample_rate=asked.sample_rate,
            language=asked.language,
            prompt=asked.prompt,
            hotwords=asked.hotwords,
            word_timestamps=asked.word_timestamps,
        )
        self._task = self._talk.work(self._tell(request))

    async def _tell(self, request: TranscribeRequest) -> None:
        context = self._talk.context(timed=request.audio is not None)
        if request.audio is None:
            context.input = self._feed.mailbox
        transcript = Transcript("transcribe", request.language)
        try:
            events = self._talk.host.router.call("transcribe", self._asked.model, request, context)
            async with aclosing(cast(Any, events)):
                async for event in events:
                    transcript.take(event)
                    await self._pass_on(event)
            await self._talk.send(Heard(text=transcript.text, language=transcript.language, usage=transcript.usage))
        except ModelhostError as error:
            await self._talk.tell(error)
        finally:
            self._feed.mailbox.close()
            self._forget()

    async def _pass_on(self, event: Any) -> None:
        match event:
            case Partial() if self._asked.partial:
                await self._talk.send(PartialText(text=event.text))
            case Segment():
                words = [TranscriptWord(word=word.text.strip(), start=word.start, end=word.end) for word in event.words]
                await self._talk.send(FinalText(start=event.start, end=event.end, text=event.text, words=words))
            case Detected():
                await self._talk.send(Language(language=event.language, probability=event.probability))
