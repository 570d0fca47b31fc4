"""`POST /v1/completions`: OpenAI's older way, which continues a raw text instead of answering a chat."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, post
from litestar.response import Stream
from msgspec import UNSET, Meta, UnsetType

from modelhost.contract.errors import BadInputError, UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.contract.types import ChoiceDone, Delta, Done, GenerateRequest, TokenLogprob, Usage
from modelhost.http.openai.chat.shapes import FINISH_REASONS, FinishReason
from modelhost.http.openai.dialect import DONE, route_spec
from modelhost.http.openai.token_ids import as_texts
from modelhost.http.routing.bodies.json_text import made
from modelhost.http.routing.calls import details_of
from modelhost.http.routing.dialect import server_sent_event
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.json_body import JsonBody, host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.sampling import Sampling, StreamOptions
from modelhost.http.routing.spec import Example
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.streaming import event_stream
from modelhost.http.routing.usage import USAGE, UsageAnswer

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]

MAX_TOKENS = 16
"""Where the request says nothing, as OpenAI's reference has it."""


class CompletionBody(Sampling, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[str | int | list[int]]
    """A text, its token ids, or a list of up to 128 of either."""
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    """Only the same as `n`: nothing is generated to be thrown away."""
    echo: bool | None = None
    """Return the prompt too, before its continuation."""
    suffix: str | None = None
    """What comes after the gap to fill, of models that can."""
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    """How many alternatives to each token to give."""
    user: str | None = None

    def prompts(self) -> list[str | tuple[int, ...]]:
        """Return the prompts one by one. Raises `BadInputError`."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if not self.prompt or (len(self.prompt) > 128 and not isinstance(self.prompt[0], int)):
            raise BadInputError("prompt must hold one to 128 prompts", param="prompt")
        for kind in (list[str], list[list[TokenId]], list[TokenId]):
            try:
                prompts: Any = msgspec.convert(self.prompt, kind)
            except msgspec.ValidationError:
                continue
            if kind == list[TokenId]:
                return [tuple(prompts)]
            if all(prompts):
                return [prompt if isinstance(prompt, str) else tuple(prompt) for prompt in prompts]
        raise BadInputError("prompt must be a text, token ids, or a list of texts or of lists of ids", param="prompt")

    @property
    def scores_prompt(self) -> bool:
        """Whether it asks how likely the prompt is."""
        return bool(self.echo) and self.logprobs is not None

    def limit(self, usual: int | None = None) -> int | None:
        """Return the most tokens of the answer; 0 where only the prompt is of interest."""
        return 0 if self.scores_prompt and self.max_tokens == 0 else super().limit(usual)

    def to_request(self, prompt: str | tuple[int, ...]) -> GenerateRequest:
        """Return what a backend is asked for one prompt. Raises `RequestError` for what cannot be honoured."""
        if self.best_of not in (None, self.n or 1):
            raise UnsupportedError("best_of other than n is not supported; ask for n", param="best_of")
        if self.stream_options and not self.stream:
            raise BadInputError("stream_options is for streams; set stream to true", param="stream_options")
        return GenerateRequest(
            **{**self.sampling(), "max_tokens": self.limit(MAX_TOKENS)},
            prompt=prompt,
            n=self.n or 1,
            echo=bool(self.echo),
            prompt_logprobs=self.scores_prompt,
            suffix=self.suffix or None,
            logprobs=self.logprobs is not None,
            top_logprobs=self.logprobs or 0,
        )


class CompletionLogprobs(Struct):
    """How likely each token was; `text_offset` is where it begins in the choice's text.

    The first token of an echoed prompt has neither a probability nor likelier ones where nothing stands before it.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(Struct):
    """One continuation; a stream gives it piece by piece."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextCompletion(Struct):
    """Continuations, those of the first prompt first; in a stream an event with more of one."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    object: Literal["text_completion"] = "text_completion"
    system_fingerprint: None = None
    usage: UsageAnswer | UnsetType | None = UNSET


class _Choice:
    """One continuation, as it grows."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.length = 0
        self.parts: list[CompletionChoice] = []

    def more(self, event: Delta) -> CompletionChoice:
        logprobs = _logprobs(event.logprobs, self.length, event.text) if event.logprobs else None
        self.length += len(event.text)
        return CompletionChoice(text=event.text, index=self.index, logprobs=logprobs)

    def whole(self) -> CompletionChoice:
        logprobs = [part.logprobs for part in self.parts if part.logprobs]
        joined = CompletionLogprobs(
            tokens=[token for one in logprobs for token in one.tokens],
            token_logprobs=[value for one in logprobs for value in one.token_logprobs],
            top_logprobs=[top for one in logprobs for top in one.top_logprobs or ()],
            text_offset=[offset for one in logprobs for offset in one.text_offset],
        )
        reason = next((part.finish_reason for part in self.parts if part.finish_reason), None)
        text = "".join(part.text for part in self.parts)
        return CompletionChoice(text=text, index=self.index, logprobs=joined if logprobs else None, finish_reason=reason)


def _logprobs(tokens: tuple[TokenLogprob, ...], offset: int, text: str) -> CompletionLogprobs:
    """Return OpenAI's parallel lists; a token begins where those before it end, as far as the text goes."""
    offsets, at = [], 0
    for token in tokens:
        offsets.append(offset + min(at, len(text)))
        at += len(token.token)
    return CompletionLogprobs(
        tokens=[token.token for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[
            None if token.logprob is None else {one.token: one.logprob or 0.0 for one in token.top} for token in tokens
        ],
        text_offset=offsets,
    )


class _Completion:
    """Runs a request's prompts one after another and tells what comes as OpenAI's completion."""

    def __init__(self, request: Request[Any, Any, Any], payload: CompletionBody, prompts: list[str | tuple[int, ...]]) -> None:
        self._router = host_of(request).router
        self._details = details_of(request)
        self._model = ""
        self._payload = payload
        self._requests = [payload.to_request(prompt) for prompt in prompts]
        self._created = int(time.time())
        self._include_usage = bool(payload.stream_options and payload.stream_options.include_usage)
        self._usage = Usage()

    async def parts(self) -> AsyncGenerator[CompletionChoice, None]:
        """Return the choices piece by piece, and note what they cost."""
        n = self._payload.n or 1
        for number, request in enumerate(self._requests):
            call = self._router.start("generate", self._payload.model, request, self._details)
            choices = [_Choice(number * n + index) for index in range(n)]
            open_choices = set(range(n))
            async with aclosing(call) as events:
                async for event in events:
                    self._model = call.model
                    match event:
                        case Delta():
                            yield choices[event.index].more(event)
                        case ChoiceDone(index=index, reason=reason):
                            open_choices.discard(index)
                            yield CompletionChoice(text="", index=choices[index].index, finish_reason=FINISH_REASONS[reason])
                        case Done(reason=reason):
                            self._usage += event.usage
                            for index in sorted(open_choices):
                                yield CompletionChoice(text="", index=choices[index].index, finish_reason=FINISH_REASONS[reason])

    async def whole(self) -> TextCompletion:
        """Collect the pieces."""
        choices = [_Choice(index) for index in range(len(self._requests) * (self._payload.n or 1))]
        async with aclosing(self.parts()) as parts:
            async for part in parts:
                choices[part.index].parts.append(part)
        return self._answer([choice.whole() for choice in choices], UsageAnswer.of(self._usage))

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Return server-sent events, ready to go out."""
        async with aclosing(self.parts()) as parts:
            async for part in parts:
                yield self._event([part], None)
        if self._include_usage:
            yield self._event([], UsageAnswer.of(self._usage))
        yield DONE

    def _event(self, choices: list[CompletionChoice], usage: UsageAnswer | None) -> bytes:
        answer = self._answer(choices, usage if self._include_usage else UNSET)
        return server_sent_event(answer)

    def _answer(self, choices: list[CompletionChoice], usage: UsageAnswer | UnsetType | None) -> TextCompletion:
        request_id = self._details.request_id
        return TextCompletion(id=f"cmpl-{request_id}", created=self._created, model=self._model, choices=choices, usage=usage)


_body = JsonBody(CompletionBody)

_HEAD = '{"id":"cmpl-req_4f1e9c0b7a3d5e6f8a9b0c1d","created":1795000000,"model":"smollm2-135m","choices":'
_TAIL = ',"object":"text_completion","system_fingerprint":null}'


@post(
    "/v1/completions",
    status_code=OK,
    summary="Continue a text",
    opt=route_spec(
        "inference",
        tag="Text",
        body=CompletionBody,
        answer=TextCompletion,
        event=TextCompletion,
        request_examples={
            "text": Example(summary="A text", value={"model": "chat", "prompt": "The capital of France is", "max_tokens": 8})
        },
        response_examples={
            "answer": Example(
                summary="Its continuation",
                value={
                    "id": "cmpl-req_4f1e9c0b7a3d5e6f8a9b0c1d",
                    "created": 1795000000,
                    "model": "smollm2-135m",
                    "choices": [{"text": " Paris.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
                    "object": "text_completion",
                    "system_fingerprint": None,
                    "usage": USAGE,
                },
            )
        },
        events=(
            f'data: {_HEAD}[{{"text":" Paris.","index":0,"logprobs":null,"finish_reason":null}}]{_TAIL}\n\n'
            f'data: {_HEAD}[{{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}}]{_TAIL}\n\n'
            "data: [DONE]\n\n"
        ),
    ),
)
async def completions(request: Request[Any, Any, Any]) -> JsonResponse | Stream:
    """OpenAI's completions: the model goes on where the prompt ends, without a chat template around it."""
    payload, headers = await _body.read(request)
    prompts = await as_texts("prompt", await made(request, payload.prompts), payload.model, host_of(request).router)
    completion = await made(request, _Completion, request, payload, prompts)
    if payload.stream:
        return await event_stream(request, completion.chunks(), headers)
    with CancelOnDisconnect(request):
        answer = await completion.whole()
    return JsonResponse(answer, headers=headers)
