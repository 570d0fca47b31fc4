"""The model behind the hooks: a server that is reached or started, its voices, and its speech."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from modelhost import (
    AudioChunk,
    BackendFailedError,
    BadInputError,
    Blob,
    DeadlineError,
    Done,
    Log,
    ModelCard,
    ModelhostError,
    NotReadyError,
    SynthesizeEvent,
    SynthesizeRequest,
    Usage,
    Voices as VoicesAnswer,
    VoiceSample,
    VoicesEvent,
    VoicesRequest,
)

from modelhost_openaudio.client import FishClient
from modelhost_openaudio.failures import unreachable
from modelhost_openaudio.options import DEFAULT_VOICE, OpenAudioOptions, Reference
from modelhost_openaudio.request import S1_CHUNK_LENGTH, body, check
from modelhost_openaudio.sound import SAMPLE_RATE, Sound
from modelhost_openaudio.supervisor import Supervisor
from modelhost_openaudio.voices import Voices

POLL_SECONDS = 0.2
"""Between two looks at whether a server that was started answers."""


class Speaker:
    """One server. `load` and `close` block; the rest belongs to one event loop."""

    def __init__(self, options: OpenAudioOptions, log: Log) -> None:
        self._options = options
        self._log = log
        self._own = Supervisor(options.command, options.command_folder, log) if options.command else None
        self._reaching = asyncio.Lock()
        self._reached = False
        """Whether the server was seen to answer, with the configured voices."""
        self._connect()

    def _connect(self) -> None:
        self._client = FishClient(self._options, self._log)
        self._voices = Voices(self._client)

    def load(self) -> ModelCard:
        """Reach or start the server, and give it the configured voices. Raises `NotReadyError` where that cannot be done."""
        try:
            names = asyncio.run(self._reach())
        except DeadlineError:
            self._log.warning("the speech server is busy; its voices are not known yet")
            names = ()
        except BaseException:
            self.close()
            raise
        self._connect()  # what the loop of the loading has touched stays with that loop
        return ModelCard(
            features=("streaming", "cloning"),
            voices=_answered(names),
            sample_rate=SAMPLE_RATE,
            concurrency=self._options.concurrency,
        )

    def close(self) -> None:
        """End the server, if it was started here."""
        if self._own:
            self._own.stop()

    async def synthesize(self, request: SynthesizeRequest) -> AsyncIterator[SynthesizeEvent]:
        """Yield the sound as it comes from the server. Closing this closes the connection, so that the server stops as well."""
        seconds = 0.0
        async with aclosing(_chunks(await self._asked(request))) as chunks:
            async for chunk in chunks:
                seconds += len(chunk.data) / 2 / chunk.sample_rate
                self._check_length(seconds)
                yield chunk
        if not seconds:
            raise BackendFailedError("the speech server made no sound of this text; its log may say why")
        if self._own:
            self._own.proved()
        yield Done(usage=Usage(audio_seconds=seconds))

    async def _asked(self, request: SynthesizeRequest) -> AsyncGenerator[bytes, None]:
        """Check the request and see to it that server and voice are there; what comes back sends it when it is read."""
        check(request, self._options)
        voice = _voice_of(request, self._options)
        await self._be_there()
        if voice is not None:
            await self._voices.check(voice)
        return self._client.speak(body(request, self._options, voice), meant=_meant(request))

    async def voices(self, request: VoicesRequest) -> AsyncIterator[VoicesEvent]:
        """Add or delete a voice if that is asked, then name all."""
        await self._be_there()
        if request.add is not None:
            await self._voices.add(request.add, request.samples)
        if request.delete is not None:
            await self._voices.delete(request.delete)
        yield VoicesAnswer(names=_answered(await self._voices.listed()))
        yield Done()

    def _check_length(self, seconds: float) -> None:
        limit = self._options.max_audio_seconds
        if seconds > limit:
            raise BadInputError(
                f"the text makes more than {limit:g} s of sound, the most for this model; send it in parts", param="text"
            )

    async def _be_there(self) -> None:
        """Return when the server is there: at once, unless it has died or was busy when the model was loaded."""
        if not self._is_there():
            async with self._reaching:
                if not self._is_there():
                    await self._reach()

    def _is_there(self) -> bool:
        return self._reached and (self._own is None or self._own.running)

    async def _reach(self) -> tuple[str, ...]:
        """Find or start the server, give it the configured voices it lacks, and name all it has."""
        self._reached = False
        if self._own:
            await self._start(self._own)
        elif await self._client.health() == "down":
            raise unreachable(self._client.server)
        names = await self._preloaded()
        if self._options.voice is not None and self._options.voice not in names:
            raise NotReadyError(
                f"the speech server has no voice {self._options.voice!r}; correct `voice`, or add it to `references`", retry=False
            )
        self._reached = True
        return names

    async def _start(self, own: Supervisor) -> None:
        """Start the server if it does not run, and wait until it answers."""
        if not own.running:
            if await self._client.health() != "down":
                raise NotReadyError(
                    f"another server answers at {self._client.server}; stop it, or leave `command` out to use it", retry=False
                )
            own.start()
        over = time.monotonic() + self._options.start_timeout
        while await self._client.health() == "down":
            own.check()
            if time.monotonic() > over:
                await asyncio.to_thread(own.stop)
                raise NotReadyError(
                    f"the speech server did not answer at {self._client.server} within {self._options.start_timeout:g} s; "
                    "correct `command` or `base_url`, or raise `start_timeout`"
                )
            await asyncio.sleep(POLL_SECONDS)
        own.check()

    async def _preloaded(self) -> tuple[str, ...]:
        """Return the server the configured voices it lacks, and name all it has."""
        names = await self._voices.listed()
        missing = [name for name in self._options.references if name not in names]
        for name in missing:
            await self._voices.add(name, (_sample(name, self._options.references[name]),))
            self._log.info("a voice was added", voice=name)
        return await self._voices.listed() if missing else names


async def _chunks(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[AudioChunk, None]:
    """Yield whole samples out of the bytes of an answer."""
    sound = Sound()
    async with aclosing(pieces):
        async for piece in pieces:
            if samples := sound.feed(piece):
                yield AudioChunk(data=samples, sample_rate=sound.sample_rate)
    sound.finish()


def _answered(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return all names a request may use."""
    return (DEFAULT_VOICE, *(name for name in names if name != DEFAULT_VOICE))


def _voice_of(request: SynthesizeRequest, options: OpenAudioOptions) -> str | None:
    """Return the voice to name to the server, which takes either a name or samples and would drop the samples."""
    named = None if request.voice == DEFAULT_VOICE else request.voice
    if not request.samples:
        return options.voice if named is None else named
    if named is not None:
        raise BadInputError("a voice and samples of one exclude each other; leave one out", param="samples")
    return None


def _meant(request: SynthesizeRequest) -> Mapping[int, ModelhostError]:
    """Return the errors of statuses that only the request explains."""
    meant: dict[int, ModelhostError] = {}
    if request.chunk_length is not None and request.chunk_length > S1_CHUNK_LENGTH:
        message = f"the speech server is of OpenAudio S1's time and takes a chunk_length of 100 to {S1_CHUNK_LENGTH}"
        meant[422] = BadInputError(message, param="chunk_length")
    if request.samples:
        message = "the speech server failed; if it fails with these samples only, send them as WAV"
        meant[500] = BackendFailedError(message)
    return meant


def _sample(name: str, reference: Reference) -> VoiceSample:
    try:
        return VoiceSample(audio=Blob(reference.path.read_bytes()), text=reference.text)
    except OSError as error:
        raise NotReadyError(
            f"the recording of reference {name!r} cannot be read ({error.strerror}); correct references.{name}.audio", retry=False
        ) from None
