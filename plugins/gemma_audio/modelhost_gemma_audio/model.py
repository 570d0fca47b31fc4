"""A loaded Gemma: where prompts, ears, engine and answers meet."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from modelhost import (
    AudioPart,
    BadInputError,
    Blob,
    Context,
    Delta,
    Done,
    GenerateEvent,
    GenerateRequest,
    Message,
    ModelCard,
    Segment,
    StopStrings,
    TextPart,
    TokenizeEvent,
    TokenizeRequest,
    Tokens,
    Tool,
    TranscribeEvent,
    TranscribeRequest,
    UnsupportedError,
    Usage,
)
from modelhost.audio import (
    SAMPLE_RATE,
    Endpointer,
    Limits,
    Resampler,
    Samples,
    Utterance,
    Window,
    decode,
    decoded,
    from_pcm,
    normalize,
    remove_offset,
    windows,
)
from modelhost.languages import code_of
from modelhost.log import Log
from modelhost.types import FinishReason

from modelhost_gemma_audio.answer import GEMMA4, Answer, marks_of
from modelhost_gemma_audio.asking import Asked, transcript_asked
from modelhost_gemma_audio.checkpoint import look
from modelhost_gemma_audio.ears import WINDOW, Clip, Ears
from modelhost_gemma_audio.engine import Engine, Row
from modelhost_gemma_audio.loading import load_extractor, load_model, load_tokenizer
from modelhost_gemma_audio.options import GemmaAudioOptions
from modelhost_gemma_audio.placement import place
from modelhost_gemma_audio.prompt import Prompts
from modelhost_gemma_audio.recording import Recording, Wanted
from modelhost_gemma_audio.sampling import Sampling, decide
from modelhost_gemma_audio.vocabulary import Vocabulary

LONGEST_CONTEXT = 32_768
"""Tokens, where the operator says nothing: the caches of a longer one fill any memory."""

MEDIA = ("audio_token_id", "image_token_id", "video_token_id")


class GemmaModel:
    """A checkpoint, ready to answer. Used from many threads at once."""

    def __init__(self, options: GemmaAudioOptions, *, threads: int, log: Log) -> None:
        """Load it; raises what `Backend.load` may raise."""
        assert options.source is not None
        self._options = options
        self._checkpoint = checkpoint = look(options.source.path)
        self._placement = place(checkpoint, options)
        model = load_model(checkpoint, self._placement, options)
        self._usual: Any = model.generation_config
        ends = self._usual.eos_token_id
        media = [checkpoint.settings[name] for name in MEDIA if checkpoint.settings.get(name) is not None]
        tokenizer = load_tokenizer(checkpoint)
        self._vocabulary = Vocabulary(
            tokenizer, ends=ends if isinstance(ends, list) else [ends] if ends is not None else [], media=media
        )
        self._prompts = Prompts(checkpoint, self._vocabulary)
        hears = checkpoint.hears and self._prompts.has_template
        self._ears = Ears(checkpoint, load_extractor(checkpoint)) if hears else None
        self._layout: dict[str, Any] | None = getattr(tokenizer, "response_template", None) or (
            GEMMA4 if checkpoint.kind.startswith("gemma4") else None
        )
        trained = int(getattr(model.config.get_text_config(), "max_position_embeddings", LONGEST_CONTEXT))
        self._context_length = min(options.context_length or LONGEST_CONTEXT, trained)
        on_gpu = self._placement.kind != "cpu"
        self._places = options.batch_size or (1 if options.low_memory else 8 if on_gpu else 4)
        self._engine = Engine(
            model,
            self._placement.device,
            places=self._places,
            threads=options.threads or threads,
            tidy=options.low_memory,
            log=log,
        )
        try:
            self._language(options.language)
            if options.warm_up:
                self._warm_up()
        except BaseException:
            self._engine.close()
            raise

    def close(self) -> None:
        """Stop computing."""
        self._engine.close()

    def card(self) -> ModelCard:
        """Say what this model does."""
        prompts = self._prompts
        return ModelCard(
            abilities=("transcribe", "generate", "tokenize") if self._ears else ("generate", "tokenize"),
            inputs=("text", "audio") if self._ears else ("text",),
            features=(
                *("streaming", "completion", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty"),
                *("logit_bias", "ignore_eos"),
                *(("tools",) if prompts.takes_tools and self._layout else ()),
                *(("reasoning",) if prompts.can_think and self._layout else ()),
                *(("live", "translate", "hotwords") if self._ears else ()),
            ),
            context_length=self._context_length,
            concurrency=self._options.concurrency,
            size_bytes=self._checkpoint.size,
            device=self._placement.device,
        )

    def transcribe(self, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Write down a recording of any length; raises `BadInputError` for one that cannot be read, or an unknown language."""
        recording = self._recording(
            Wanted(
                language=self._language(request.language or self._options.language),
                translate=request.task == "translate",
                prompt=request.prompt or self._options.prompt,
                hotwords=request.hotwords,
                temperatures=self._ladder(request.temperature),
            ),
            context,
        )
        if request.audio is None:
            yield from self._listen(recording, request, context)
        else:
            samples = decode(
                request.audio, format=request.format, sample_rate=request.sample_rate, limits=self._limits(), context=context
            )
            yield from self._write_down(recording, samples)
        if not context.cancelled:
            yield Done(usage=recording.tally.usage())

    def generate(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Answer a request; raises `BadInputError` or `UnsupportedError` before the first event."""
        asked = transcript_asked(request.messages) if self._ears and request.prompt is None else None
        yield from self._transcript(asked, request, context) if asked else self._chat(request, context)

    def tokenize(self, request: TokenizeRequest) -> Iterator[TokenizeEvent]:
        """Count without computing. Raises `BadInputError` or `UnsupportedError`."""
        vocabulary = self._vocabulary
        text = ""
        if request.tokens is not None:
            tokens = vocabulary.existing(request.tokens, "tokens")
            text = vocabulary.text(tokens)
        elif request.text is not None:
            tokens = vocabulary.ids(request.text, control=request.parse_special, param="text")
            tokens = [*vocabulary.begin(), *tokens] if request.add_special else tokens
        else:
            tokens = self._prompts.of_chat(request.messages, self._sounds(request.messages)[0])
        yield Tokens(tokens=tuple(tokens), text=text)
        yield Done()

    def _chat(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        clips, seconds = self._sounds(request.messages, context)
        if context.cancelled:
            return
        prompt = self._prompt(request, clips)
        row = Row(
            job=context,
            prompt=prompt,
            clips=tuple(clips),
            sampling=decide(request, self._options, self._usual, tokens=self._vocabulary.size, ends=self._vocabulary.ends),
            limit=self._room(request, len(prompt)),
            ends=frozenset() if request.ignore_eos else self._vocabulary.ends,
        )
        answer = self._answer(request.stop, raw=request.prompt is not None)
        context.on_cancel(lambda: self._engine.cancel(context))
        self._engine.submit(row)
        if request.echo and request.prompt is not None:
            yield Delta(text=self._vocabulary.text(prompt) if not isinstance(request.prompt, str) else request.prompt)
        written = 0
        for token in row.tokens():
            written += 1
            yield from answer.feed(token)
            if answer.stopped or context.cancelled:
                break
        if context.cancelled:
            return
        yield from answer.finish()
        ended = answer.stopped or row.ended
        yield Done(
            reason="tool_calls" if answer.calls and ended else "stop" if ended else "length",
            usage=Usage(
                input_tokens=len(prompt),
                audio_tokens=sum(clip.tokens for clip in clips),
                output_tokens=written,
                reasoning_tokens=answer.thought,
                audio_seconds=seconds,
            ),
        )

    def _transcript(self, asked: Asked, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Answer with the transcript of a recording of any length, window by window.

        Of what a chat may set, language, temperature, `max_tokens` (to a whole window) and stop strings count.
        """
        samples = decode(asked.audio.audio, format=asked.audio.format, limits=self._limits(), context=context)
        recording = self._recording(
            Wanted(
                language=self._language(request.language) or asked.language or self._language(self._options.language),
                prompt=asked.context or self._options.prompt,
                temperatures=self._ladder(request.temperature),
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

    def _ladder(self, temperature: float | None) -> tuple[float, ...]:
        """Give the temperatures to try: what is asked for, and those of the options that are higher."""
        if not temperature:
            return self._options.temperatures
        return (temperature, *(one for one in self._options.temperatures if one > temperature))

    def _answer(self, stops: tuple[str, ...] = (), *, raw: bool = False) -> Answer:
        if raw or not self._layout:
            return Answer(self._vocabulary.words(), stops)
        marks = self._vocabulary.named_in(marks_of(self._layout))
        return Answer(self._vocabulary.words(marks), stops, self._layout, marks)

    def _recording(self, wanted: Wanted, context: Context) -> Recording:
        assert self._ears is not None
        ears = self._ears

        def prompt(clip: Clip, instruction: str) -> list[int]:
            return self._prompts.of_chat([_heard(instruction)], [clip])

        job = object()
        context.on_cancel(lambda: self._engine.cancel(job))
        return Recording(
            engine=self._engine,
            answer=self._answer,
            ends=self._vocabulary.ends,
            hear=lambda window: ears.hear(normalize(remove_offset(window.samples))),
            prompt=prompt,
            wanted=wanted,
            context=context,
            job=job,
            room=self._context_length,
        )

    def _write_down(self, recording: Recording, samples: Samples) -> Iterator[TranscribeEvent]:
        recording.tally.seconds = len(samples) / SAMPLE_RATE
        return recording.write_down(windows(samples, WINDOW), recording.tally.seconds, ahead=self._places)

    def _listen(self, recording: Recording, request: TranscribeRequest, context: Context) -> Iterator[TranscribeEvent]:
        """Write down live audio, each utterance when it has ended; ends with the input."""
        assert context.input is not None
        endpointer = Endpointer(longest=WINDOW)
        resampler = Resampler(request.sample_rate, SAMPLE_RATE)
        for pcm in context.input:
            samples = from_pcm(resampler.resample(pcm))
            recording.tally.seconds += len(samples) / SAMPLE_RATE
            for event in endpointer.feed(samples):
                if isinstance(event, Utterance):
                    yield from _written(recording, event)
            if context.cancelled:
                return
        for event in endpointer.finish():
            yield from _written(recording, event)

    def _sounds(self, messages: Sequence[Message], context: Context | None = None) -> tuple[list[Clip], float]:
        """Give the recordings of a chat in order, and their seconds. Raises `BadInputError` for one beyond the window."""
        parts = [part for message in messages for part in message.content if isinstance(part, AudioPart)]
        if parts and not self._ears:
            raise UnsupportedError("this model does not hear; name one that does, or send text", param="messages")
        clips: list[Clip] = []
        seconds = 0.0
        for part in parts:
            samples = np.concatenate([np.empty(0, np.float32), *self._short(part, context)])
            assert self._ears is not None
            clips.append(self._ears.hear(normalize(remove_offset(samples))))
            seconds += len(samples) / SAMPLE_RATE
            if (tokens := sum(clip.tokens for clip in clips)) > self._context_length:
                message = f"the recordings have over {tokens} tokens, and this model's context {self._context_length}; send fewer"
                raise BadInputError(message, code="context_length_exceeded", param="messages")
            if context and context.cancelled:
                break
        return clips, seconds

    def _short(self, part: AudioPart, context: Context | None) -> Iterator[Samples]:
        """Read a recording block by block, and no further than the model could hear."""
        heard = 0
        for block in decoded(part.audio, format=part.format, context=context):
            heard += len(block)
            if heard > WINDOW * SAMPLE_RATE:
                raise BadInputError(
                    f"this recording is longer than the {WINDOW:.0f} s that the model hears at once; "
                    "send a shorter one, or ask to transcribe it and nothing else, which has no such limit",
                    code="audio_too_long",
                    param="messages",
                )
            yield block

    def _prompt(self, request: GenerateRequest, clips: list[Clip]) -> list[int]:
        if request.prompt is None:
            if request.tool_choice and request.tool_choice.mode == "required":
                raise UnsupportedError("this model cannot be made to call a tool; leave tool_choice to auto", param="tool_choice")
            thinking = request.reasoning_effort not in (None, "none")
            return self._prompts.of_chat(request.messages, clips, tools=_offered(request), thinking=thinking)
        vocabulary = self._vocabulary
        if isinstance(request.prompt, str):
            tokens = [*vocabulary.begin(), *vocabulary.ids(request.prompt)]
        else:
            tokens = vocabulary.existing(request.prompt, "prompt") or vocabulary.begin()
        if vocabulary.media.intersection(tokens):
            raise BadInputError("the prompt has tokens that stand for sound or pictures, and none came with it", param="prompt")
        return tokens

    def _room(self, request: GenerateRequest, count: int) -> int:
        """Tokens the answer may take; raises where the context does not hold what is asked for."""
        longest = self._context_length
        param = "messages" if request.prompt is None else "prompt"
        wanted = request.max_tokens or 0
        if count >= longest or count + wanted > longest:
            asked = f"{count + wanted} tokens: {count} in the {param}, {wanted} for the answer" if wanted else f"{count} tokens"
            raise BadInputError(
                f"This model's maximum context length is {longest} tokens, but you asked for {asked}; "
                f"shorten the {param}{' or lower max_tokens' if wanted else ''}.",
                code="context_length_exceeded",
                param=param,
            )
        return min(longest - count, request.max_tokens or self._options.max_tokens or longest)

    def _limits(self) -> Limits:
        return Limits(seconds=self._options.max_audio_seconds)

    def _language(self, language: str | None) -> str | None:
        """Give a language by its code. Raises `BadInputError` for one nobody knows."""
        if language is None:
            return None
        code = code_of(language) or code_of(language.replace("_", "-").partition("-")[0])
        if code is None:
            raise BadInputError(f"there is no language {language[:20]!r}; give an ISO 639-1 code such as en", param="language")
        return code

    def _warm_up(self) -> None:
        silence: Samples = np.zeros(SAMPLE_RATE, np.float32)
        clips = [self._ears.hear(silence)] if self._ears else []
        prompt = (
            self._prompts.of_chat([_heard("Hello.")], clips)
            if clips
            else [*self._vocabulary.begin(), *self._vocabulary.ids("Hello.")]
        )
        row = Row(job=None, prompt=prompt, clips=tuple(clips), sampling=Sampling(), limit=2, ends=frozenset())
        self._engine.submit(row)
        for _ in row.tokens():
            pass


def _offered(request: GenerateRequest) -> tuple[Tool, ...]:
    """Give the tools that the model may call."""
    choice = request.tool_choice
    if choice is None or (choice.mode == "auto" and not choice.names):
        return request.tools
    return tuple(tool for tool in request.tools if choice.mode != "none" and tool.name in choice.names)


def _written(recording: Recording, said: Utterance) -> Iterator[TranscribeEvent]:
    return recording.write_down([Window(samples=said.samples, start=said.start, end=said.end)], said.end, ahead=1)


def _heard(text: str) -> Message:
    """Make a turn of a recording and what to do with it: Gemma is trained to hear first."""
    return Message(role="user", content=(AudioPart(audio=Blob(b"")), TextPart(text=text)))
