"""Chats, with recordings in them or without, and raw prompts."""

from collections.abc import Iterator, Sequence

import numpy as np
from modelhost import (
    AudioPart,
    BadInputError,
    Context,
    Delta,
    Done,
    GenerateEvent,
    GenerateRequest,
    Message,
    Tool,
    UnsupportedError,
    Usage,
)
from modelhost.audio import SAMPLE_RATE, Samples, decoded, normalize, remove_offset

from modelhost_gemma_audio.audio_features import WINDOW, Clip
from modelhost_gemma_audio.engine import Row
from modelhost_gemma_audio.parts import Parts
from modelhost_gemma_audio.sampling import decide


class Chat:
    """Answers chats and prompts with the text that the model writes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def answer(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        """Answer a request; raises `BadInputError` or `UnsupportedError` before the first event."""
        clips, seconds = self.sounds(request.messages, context)
        if context.cancelled:
            return
        prompt, vocabulary = self.prompt(request, clips), self._parts.vocabulary
        row = Row(
            job=context,
            prompt=prompt,
            clips=tuple(clips),
            sampling=decide(
                request, self._parts.options, self._parts.generation_config, tokens=vocabulary.size, ends=vocabulary.ends
            ),
            limit=self._token_limit(request, len(prompt)),
            ends=frozenset() if request.ignore_eos else vocabulary.ends,
        )
        answer = self._parts.answer(request.stop, raw=request.prompt is not None)
        context.on_cancel(lambda: self._parts.engine.cancel(context))
        self._parts.engine.submit(row)
        if request.echo and request.prompt is not None:
            yield Delta(text=request.prompt if isinstance(request.prompt, str) else vocabulary.text(prompt))
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

    def sounds(self, messages: Sequence[Message], context: Context | None = None) -> tuple[list[Clip], float]:
        """Return the recordings of a chat in order, and their seconds. Raises `BadInputError` for one beyond the window."""
        parts = [part for message in messages for part in message.content if isinstance(part, AudioPart)]
        if parts and not self._parts.audio_features:
            raise UnsupportedError("this model does not hear; name one that does, or send text", param="messages")
        clips: list[Clip] = []
        seconds = 0.0
        for part in parts:
            samples = np.concatenate([np.empty(0, np.float32), *self._short_recording(part, context)])
            assert self._parts.audio_features is not None
            clips.append(self._parts.audio_features.clip_of(normalize(remove_offset(samples))))
            seconds += len(samples) / SAMPLE_RATE
            if (tokens := sum(clip.tokens for clip in clips)) > (longest := self._parts.context_length):
                message = f"the recordings have over {tokens} tokens, and this model's context {longest}; send fewer"
                raise BadInputError(message, code="context_length_exceeded", param="messages")
            if context and context.cancelled:
                break
        return clips, seconds

    def _short_recording(self, part: AudioPart, context: Context | None) -> Iterator[Samples]:
        """Yield a recording block by block; raises `BadInputError` once it is longer than the model's window."""
        length = 0
        for block in decoded(part.audio, format=part.format, context=context):
            length += len(block)
            if length > WINDOW * SAMPLE_RATE:
                raise BadInputError(
                    f"this recording is longer than the {WINDOW:.0f} s that the model hears at once; "
                    "send a shorter one, or ask to transcribe it and nothing else, which has no such limit",
                    code="audio_too_long",
                    param="messages",
                )
            yield block

    def prompt(self, request: GenerateRequest, clips: list[Clip]) -> list[int]:
        """Return the tokens a request begins with."""
        if request.prompt is None:
            if request.tool_choice and request.tool_choice.mode == "required":
                raise UnsupportedError("this model cannot be made to call a tool; leave tool_choice to auto", param="tool_choice")
            thinking = request.reasoning_effort not in (None, "none")
            return self._parts.prompts.of_chat(
                request.messages,
                clips,
                tools=_offered(request),
                thinking=thinking,
                begins=request.add_generation_prompt is not False,
                continues=request.continues,
            )
        vocabulary = self._parts.vocabulary
        if isinstance(request.prompt, str):
            tokens = vocabulary.prompt(request.prompt)
        else:
            tokens = vocabulary.existing(request.prompt, "prompt") or vocabulary.begin()
        if vocabulary.media.intersection(tokens):
            raise BadInputError("the prompt has tokens that stand for sound or pictures, and none came with it", param="prompt")
        return tokens

    def _token_limit(self, request: GenerateRequest, count: int) -> int:
        """Return how many tokens the answer may have; raises where the context does not hold prompt and answer."""
        longest = self._parts.context_length
        param = "messages" if request.prompt is None else "prompt"
        max_tokens = request.max_tokens or 0
        if count >= longest or count + max_tokens > longest:
            parts = f": {count} in the {param}, {max_tokens} for the answer" if max_tokens else ""
            total = f"{count + max_tokens} tokens{parts}"
            raise BadInputError(
                f"This model's maximum context length is {longest} tokens, but you asked for {total}; "
                f"shorten the {param}{' or lower max_tokens' if max_tokens else ''}.",
                code="context_length_exceeded",
                param=param,
            )
        return min(longest - count, request.max_tokens or self._parts.options.max_tokens or longest)


def _offered(request: GenerateRequest) -> tuple[Tool, ...]:
    """Return the tools that the model may call."""
    choice = request.tool_choice
    if choice is None or (choice.mode == "auto" and not choice.names):
        return request.tools
    return tuple(tool for tool in request.tools if choice.mode != "none" and tool.name in choice.names)
