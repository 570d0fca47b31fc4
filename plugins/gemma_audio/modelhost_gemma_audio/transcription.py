"""Transcription of recordings of any length, of live sound, and for chats that ask for a transcript."""

from collections.abc import Iterator

from modelhost import (
    AudioPart,
    BadInputError,
    Blob,
    Context,
    Delta,
    Done,
    FinishReason,
    GenerateEvent,
    GenerateRequest,
    Message,
    Segment,
    StopStrings,
    TextPart,
    TranscribeEvent,
    TranscribeRequest,
)
from modelhost.audio import (
    SAMPLE_RATE,
    Endpointer,
    Limits,
    Resampler,
    Samples,
    SoundMemory,
    Utterance,
    Window,
    decode,
    from_pcm,
    normalize,
    remove_offset,
    windows,
)
from modelhost.authors.languages import code_of, spoken

from modelhost_gemma_audio.audio_features import WINDOW, Clip
from modelhost_gemma_audio.parts import Parts
from modelhost_gemma_audio.recording import Instructions, Recording
from modelhost_gemma_audio.transcript_request import TranscriptRequest


class Transcription:
    """Transcribes speech."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts of a model that hears; raises `BadInputError` for a language of the options that nobody knows."""
        self._parts = parts
        self._limits = Limits(seconds=parts.options.max_audio_seconds)
        self._memory = SoundMemory(int(parts.options.audio_memory_mb * 2**20), longest=parts.options.max_audio_seconds)
        self._default_language = language_code(parts.options.language)

    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Transcribe a recording of any length; raises `BadInputError` for one that cannot be read, or an unknown language."""
        recording = self.recording(
            Instructions(
                language=language_code(request.language) or self._default_language,
                translate=request.task == "translate",
                prompt=request.prompt or self._parts.options.prompt,
                hotwords=request.hotwords,
                temperatures=self.ladder(request.temperature),
            ),
            context,
        )
        if request.audio is None:
            yield from self._transcribe_live(recording, request, context)
        else:
            with self._memory.recording(context) as held:
                samples = decode(
                    request.audio,
                    format=request.format,
                    sample_rate=request.sample_rate,
                    limits=self._limits,
                    context=context,
                    held=held,
                )
                yield from self._transcribe(recording, samples)
                del samples  # before others may have its memory
        if not context.cancelled:
            yield Done(usage=recording.tally.usage())

    def answer(
        self, transcript_request: TranscriptRequest, request: GenerateRequest, context: Context
    ) -> Iterator[GenerateEvent]:
        """Answer with the transcript of a recording of any length, window by window.

        Of what a chat may set, language, temperature, `max_tokens` (to a whole window) and stop strings count.
        """
        with self._memory.recording(context) as held:
            samples = decode(
                transcript_request.audio.audio,
                format=transcript_request.audio.format,
                limits=self._limits,
                context=context,
                held=held,
            )
            yield from self._answer(transcript_request, request, context, samples)

    def _answer(
        self, transcript_request: TranscriptRequest, request: GenerateRequest, context: Context, samples: Samples
    ) -> Iterator[GenerateEvent]:
        recording = self.recording(
            Instructions(
                language=language_code(request.language) or transcript_request.language or self._default_language,
                prompt=transcript_request.context or self._parts.options.prompt,
                temperatures=self.ladder(request.temperature),
            ),
            context,
        )
        stops = StopStrings(request.stop)
        started = False
        reason: FinishReason = "stop"
        for event in self._transcribe(recording, samples):
            if isinstance(event, Segment):
                if text := stops.feed(event.text if started else event.text.lstrip()):
                    yield Delta(text=text)
                started = True
            if stops.stopped:
                break
            if request.max_tokens and recording.tally.written >= request.max_tokens:
                reason = "length"
                break
        if context.cancelled:
            return
        if text := stops.flush():
            yield Delta(text=text)
        yield Done(reason=reason, usage=recording.tally.usage())

    def ladder(self, temperature: float | None) -> tuple[float, ...]:
        """Return the temperatures to try: the request's, and those of the options that are higher."""
        if not temperature:
            return self._parts.options.temperatures
        return (temperature, *(one for one in self._parts.options.temperatures if one > temperature))

    def recording(self, instructions: Instructions, context: Context) -> Recording:
        """Begin a recording; the request's cancellation ends it."""
        assert self._parts.audio_features is not None
        audio_features = self._parts.audio_features

        def prompt(clip: Clip, instruction: str) -> list[int]:
            return self._parts.prompts.of_chat([recording_turn(instruction)], [clip])

        job = object()
        context.on_cancel(lambda: self._parts.engine.cancel(job))
        return Recording(
            engine=self._parts.engine,
            answer=self._parts.answer,
            ends=self._parts.vocabulary.ends,
            clip_of=lambda window: audio_features.clip_of(normalize(remove_offset(window.samples))),
            prompt=prompt,
            instructions=instructions,
            context=context,
            job=job,
            context_length=self._parts.context_length,
        )

    def _transcribe(self, recording: Recording, samples: Samples) -> Iterator[TranscribeEvent]:
        recording.tally.seconds = len(samples) / SAMPLE_RATE
        return recording.transcribe(windows(samples, WINDOW), recording.tally.seconds, ahead=self._parts.slots)

    def _transcribe_live(self, recording: Recording, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Transcribe live audio, each utterance when it has ended; ends with the input."""
        assert context.input is not None
        endpointer = Endpointer(longest=WINDOW)
        resampler = Resampler(request.sample_rate, SAMPLE_RATE)
        instructions = recording.instructions

        def events_of(utterance: Utterance) -> Iterator[TranscribeEvent]:
            recording.instructions = instructions  # the next who speaks may speak another language
            return _utterance_events(recording, utterance)

        for pcm in context.input:
            samples = from_pcm(resampler.resample(pcm))
            recording.tally.seconds += len(samples) / SAMPLE_RATE
            for event in endpointer.feed(samples):
                if isinstance(event, Utterance):
                    yield from events_of(event)
            if context.cancelled:
                return
        for event in endpointer.finish():
            yield from events_of(event)


def language_code(language: str | None) -> str | None:
    """Return a language's code, None for one that is to be found out. Raises `BadInputError` for one nobody knows."""
    named = spoken(language)
    if named is not None and code_of(named) is None:
        raise BadInputError(f"there is no language {named[:20]!r}; give an ISO 639-1 code such as en", param="language")
    return named


def recording_turn(text: str) -> Message:
    """Return a user's turn with a recording and, after it, an instruction: Gemma is trained with sound before text."""
    return Message(role="user", content=(AudioPart(audio=Blob(b"")), TextPart(text=text)))


def _utterance_events(recording: Recording, utterance: Utterance) -> Iterator[TranscribeEvent]:
    return recording.transcribe(
        [Window(samples=utterance.samples, start=utterance.start, end=utterance.end)], utterance.end, ahead=1
    )
