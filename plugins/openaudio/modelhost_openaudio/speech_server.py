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
from modelhost_openaudio.errors import unreachable
from modelhost_openaudio.options import DEFAULT_VOICE, OpenAudioOptions, Reference
from modelhost_openaudio.request import S1_CHUNK_LENGTH, body, check
from modelhost_openaudio.supervisor import Supervisor
from modelhost_openaudio.voices import Voices
from modelhost_openaudio.wav_stream import SAMPLE_RATE, WavStream

POLL_SECONDS = 0.2
"""Seconds between two looks at whether a server that was started answers. Chosen, because it loads for much longer."""


class SpeechServer:
    """One server. `load` and `close` block; the rest belongs to one event loop."""

    def __init__(self, options: OpenAudioOptions, log: Log) -> None:
        self._options = options
        self._log = log
        self._supervisor = Supervisor(options.command, options.command_folder, log) if options.command else None
        self._connecting = asyncio.Lock()
        self._ready = False
        """Whether the server was seen to answer, with the configured voices."""
        self._new_client()

    def _new_client(self) -> None:
        self._client = FishClient(self._options, self._log)
        self._voices = Voices(self._client)

    def load(self) -> ModelCard:
        """Connect to the server or start it, and add the configured voices. Raises `NotReadyError` where that cannot be done."""
        try:
            names = asyncio.run(self._connect_to_server())
        except DeadlineError:
            self._log.warning("the speech server is busy; its voices are not known yet")
            names = ()
        except BaseException:
            self.close()
            raise
        self._new_client()  # what the loop of the loading has touched stays with that loop
        return ModelCard(
            features=("streaming", "cloning"),
            voices=_voice_names(names),
            sample_rate=SAMPLE_RATE,
            concurrency=self._options.concurrency,
        )

    def close(self) -> None:
        """End the server, if it was started here."""
        if self._supervisor:
            self._supervisor.stop()

    async def synthesize(self, request: SynthesizeRequest) -> AsyncIterator[SynthesizeEvent]:
        """Yield the sound as it comes from the server. Closing this closes the connection, so that the server stops as well."""
        seconds = 0.0
        async with aclosing(_chunks(await self._response(request))) as chunks:
            async for chunk in chunks:
                seconds += len(chunk.data) / 2 / chunk.sample_rate
                self._check_length(seconds)
                yield chunk
        if not seconds:
            raise BackendFailedError("the speech server made no sound of this text; its log may say why")
        if self._supervisor:
            self._supervisor.note_success()
        yield Done(usage=Usage(audio_seconds=seconds))

    async def _response(self, request: SynthesizeRequest) -> AsyncGenerator[bytes, None]:
        """Check the request and see to it that server and voice are there; what comes back sends it when it is read."""
        check(request, self._options)
        voice = _voice_of(request, self._options)
        await self._ensure_ready()
        if voice is not None:
            await self._voices.check(voice)
        return self._client.speak(body(request, self._options, voice), expected_errors=_expected_errors(request))

    async def voices(self, request: VoicesRequest) -> AsyncIterator[VoicesEvent]:
        """Add or delete a voice if that is asked, then name all."""
        await self._ensure_ready()
        if request.add is not None:
            await self._voices.add(request.add, request.samples)
        if request.delete is not None:
            await self._voices.delete(request.delete)
        yield VoicesAnswer(names=_voice_names(await self._voices.listed()))
        yield Done()

    def _check_length(self, seconds: float) -> None:
        limit = self._options.max_audio_seconds
        if seconds > limit:
            raise BadInputError(
                f"the text makes more than {limit:g} s of sound, the most for this model; send it in parts", param="text"
            )

    async def _ensure_ready(self) -> None:
        """Return when the server is there: at once, unless it has died or was busy when the model was loaded."""
        if not self._is_ready():
            async with self._connecting:
                if not self._is_ready():
                    await self._connect_to_server()

    def _is_ready(self) -> bool:
        return self._ready and (self._supervisor is None or self._supervisor.running)

    async def _connect_to_server(self) -> tuple[str, ...]:
        """Find or start the server, and add the configured voices that it lacks; returns the names of all it has."""
        self._ready = False
        if self._supervisor:
            await self._start(self._supervisor)
        elif await self._client.health() == "down":
            raise unreachable(self._client.server)
        names = await self._add_references()
        if self._options.voice is not None and self._options.voice not in names:
            raise NotReadyError(
                f"the speech server has no voice {self._options.voice!r}; correct `voice`, or add it to `references`", retry=False
            )
        self._ready = True
        return names

    async def _start(self, supervisor: Supervisor) -> None:
        """Start the server if it does not run, and wait until it answers."""
        if not supervisor.running:
            if await self._client.health() != "down":
                raise NotReadyError(
                    f"another server answers at {self._client.server}; stop it, or leave `command` out to use it", retry=False
                )
            supervisor.start()
        over = time.monotonic() + self._options.start_timeout
        while await self._client.health() == "down":
            supervisor.check()
            if time.monotonic() > over:
                await asyncio.to_thread(supervisor.stop)
                raise NotReadyError(
                    f"the speech server did not answer at {self._client.server} within {self._options.start_timeout:g} s; "
                    "correct `command` or `base_url`, or raise `start_timeout`"
                )
            await asyncio.sleep(POLL_SECONDS)
        supervisor.check()

    async def _add_references(self) -> tuple[str, ...]:
        """Add the configured voices that the server lacks; returns the names of all it has."""
        names = await self._voices.listed()
        missing = [name for name in self._options.references if name not in names]
        for name in missing:
            await self._voices.add(name, (_sample(name, self._options.references[name]),))
            self._log.info("a voice was added", voice=name)
        return await self._voices.listed() if missing else names


async def _chunks(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[AudioChunk, None]:
    """Yield whole samples out of the bytes of an answer."""
    sound = WavStream()
    async with aclosing(pieces):
        async for piece in pieces:
            if samples := sound.feed(piece):
                yield AudioChunk(data=samples, sample_rate=sound.sample_rate)
    sound.finish()


def _voice_names(names: tuple[str, ...]) -> tuple[str, ...]:
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


def _expected_errors(request: SynthesizeRequest) -> Mapping[int, ModelhostError]:
    """Return the errors of statuses that only the request explains."""
    expected_errors: dict[int, ModelhostError] = {}
    if request.chunk_length is not None and request.chunk_length > S1_CHUNK_LENGTH:
        message = f"the speech server is of OpenAudio S1's time and takes a chunk_length of 100 to {S1_CHUNK_LENGTH}"
        expected_errors[422] = BadInputError(message, param="chunk_length")
    if request.samples:
        message = "the speech server failed; if it fails with these samples only, send them as WAV"
        expected_errors[500] = BackendFailedError(message)
    return expected_errors


def _sample(name: str, reference: Reference) -> VoiceSample:
    try:
        return VoiceSample(audio=Blob(reference.path.read_bytes()), text=reference.text)
    except OSError as error:
        raise NotReadyError(
            f"the recording of reference {name!r} cannot be read ({error.strerror}); correct references.{name}.audio", retry=False
        ) from None
