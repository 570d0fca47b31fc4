"""Transcripts: of recordings of any length, of live sound, and in answer to chats that ask for one."""

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

from modelhost_gemma_audio.asking import Asked
from modelhost_gemma_audio.ears import WINDOW, Clip
from modelhost_gemma_audio.parts import Parts
from modelhost_gemma_audio.recording import Recording, Wanted


class Transcription:
    """Writes down what is said."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts of a model that hears; raises `BadInputError` for a language of the options that nobody knows."""
        self._parts = parts
        self._limits = Limits(seconds=parts.options.max_audio_seconds)
        self._memory = SoundMemory(int(parts.options.audio_memory_mb * 2**20), longest=parts.options.max_audio_seconds)
        self._usual_language = code(parts.options.language)

    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Write down a recording of any length; raises `BadInputError` for one that cannot be read, or an unknown language."""
        recording = self.recording(
            Wanted(
                language=code(request.language) or self._usual_language,
                translate=request.task == "translate",
                prompt=request.prompt or self._parts.options.prompt,
                hotwords=request.hotwords,
                temperatures=self.ladder(request.temperature),
            ),
            context,
        )
        if request.audio is None:
            yield from self._listen(recording, request, context)
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
                yield from self._write_down(recording, samples)
                del samples  # before others may have its memory
        if not context.cancelled:
            yield Done(usage=recording.tally.usage())

    def answer(self, asked: Asked, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Answer with the transcript of a recording of any length, window by window.

        Of what a chat may set, language, temperature, `max_tokens` (to a whole window) and stop strings count.
        """
        with self._memory.recording(context) as held:
            samples = decode(asked.audio.audio, format=asked.audio.format, limits=self._limits, context=context, held=held)
            yield from self._answer(asked, request, context, samples)

    def _answer(self, asked: Asked, request: GenerateRequest, context: Context, samples: Samples) -> Iterator[GenerateEvent]:
        recording = self.recording(
            Wanted(
                language=code(request.language) or asked.language or self._usual_language,
                prompt=asked.context or self._parts.options.prompt,
                temperatures=self.ladder(request.temperature),
            ),
            context,
        )
        stops = StopStrings(request.stop)
        said = False
        reason: FinishReason = "stop"
        for event in self._write_down(recording, samples):
            if isinstance(event, Segment):
                if text := stops.feed(event.text if said else event.text.lstrip()):
                    yield Delta(text=text)
                said = True
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
        """Return the temperatures to try: what is asked for, and those of the options that are higher."""
        if not temperature:
            return self._parts.options.temperatures
        return (temperature, *(one for one in self._parts.options.temperatures if one > temperature))

    def recording(self, wanted: Wanted, context: Context) -> Recording:
        """Begin a recording; the request's cancellation ends it."""
        assert self._parts.ears is not None
        ears = self._parts.ears

        def prompt(clip: Clip, instruction: str) -> list[int]:
            return self._parts.prompts.of_chat([heard(instruction)], [clip])

        job = object()
        context.on_cancel(lambda: self._parts.engine.cancel(job))
        return Recording(
            engine=self._parts.engine,
            answer=self._parts.answer,
            ends=self._parts.vocabulary.ends,
            hear=lambda window: ears.hear(normalize(remove_offset(window.samples))),
            prompt=prompt,
            wanted=wanted,
            context=context,
            job=job,
            room=self._parts.context_length,
        )

    def _write_down(self, recording: Recording, samples: Samples) -> Iterator[TranscribeEvent]:
        recording.tally.seconds = len(samples) / SAMPLE_RATE
        return recording.write_down(windows(samples, WINDOW), recording.tally.seconds, ahead=self._parts.places)

    def _listen(self, recording: Recording, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Write down live audio, each utterance when it has ended; ends with the input."""
        assert context.input is not None
        endpointer = Endpointer(longest=WINDOW)
        resampler = Resampler(request.sample_rate, SAMPLE_RATE)
        wanted = recording.wanted

        def written(said: Utterance) -> Iterator[TranscribeEvent]:
            recording.wanted = wanted  # the next who speaks may speak another language
            return _written(recording, said)

        for pcm in context.input:
            samples = from_pcm(resampler.resample(pcm))
            recording.tally.seconds += len(samples) / SAMPLE_RATE
            for event in endpointer.feed(samples):
                if isinstance(event, Utterance):
                    yield from written(event)
            if context.cancelled:
                return
        for event in endpointer.finish():
            yield from written(event)


def code(language: str | None) -> str | None:
    """Return a language's code, None for one that is to be found out. Raises `BadInputError` for one nobody knows."""
    named = spoken(language)
    if named is not None and code_of(named) is None:
        raise BadInputError(f"there is no language {named[:20]!r}; give an ISO 639-1 code such as en", param="language")
    return named


def heard(text: str) -> Message:
    """Make a turn of a recording and what to do with it: Gemma is trained to hear first."""
    return Message(role="user", content=(AudioPart(audio=Blob(b"")), TextPart(text=text)))


def _written(recording: Recording, said: Utterance) -> Iterator[TranscribeEvent]:
    return recording.write_down([Window(samples=said.samples, start=said.start, end=said.end)], said.end, ahead=1)
