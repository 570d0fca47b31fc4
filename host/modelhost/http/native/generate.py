"""`POST /v1/generate` and `/v1/generate_stream`: the shortest way to an answer, a prompt in and a text out."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

from litestar import Request, post
from litestar.response import Stream

from modelhost.contract.answers import collect
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.structs import Struct
from modelhost.contract.types import Delta, FinishReason, GenerateEvent, GenerateRequest, Message, TextPart
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.json_body import JsonBody
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.sampling import Sampling
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.streaming import byte_stream
from modelhost.http.routing.usage import USAGE, UsageAnswer


class GenerateBody(Sampling, kw_only=True):
    """`POST /v1/generate`."""

    spelt: ClassVar[Spelt] = {**Sampling.spelt, "messages": ("prompt",)}

    prompt: str
    """What a user says; the model's chat template goes around it."""
    model: str | None = None
    system: str | None = None
    """What the model is told before."""

    def to_request(self) -> GenerateRequest:
        """Return what a backend is asked."""
        system = [Message(role="system", content=(TextPart(text=self.system),))] if self.system else []
        user = Message(role="user", content=(TextPart(text=self.prompt),))
        return GenerateRequest(**self.sampling(), messages=(*system, user))


class GenerateAnswer(Struct):
    """The model's answer."""

    generated_text: str
    model: str
    finish_reason: FinishReason
    usage: UsageAnswer


_body = JsonBody(GenerateBody)

_ASKS = {"question": Example(summary="A question", value={"prompt": "Say hello.", "model": "chat", "max_tokens": 32})}


@post(
    "/v1/generate",
    status_code=OK,
    summary="Answer a prompt",
    opt=route_spec(
        "inference",
        tag="Text",
        body=GenerateBody,
        answer=GenerateAnswer,
        request_examples=_ASKS,
        response_examples={
            "answer": Example(
                value={
                    "generated_text": "Hello!",
                    "model": "smollm2-135m",
                    "finish_reason": "stop",
                    "usage": USAGE,
                }
            )
        },
    ),
)
async def generate(request: Request[Any, Any, Any]) -> JsonResponse:
    """A prompt in, `generated_text` out."""
    payload, headers = await _body.read(request)
    call = start_call(request, "generate", payload.model, payload.to_request())
    async with reading(request, call) as events:
        made = await collect(events)
    answer = GenerateAnswer(
        generated_text=made.choices[0].text,
        model=made.model,
        finish_reason=made.choices[0].reason,
        usage=UsageAnswer.of(made.usage),
    )
    return JsonResponse(answer, headers=headers)


@post(
    "/v1/generate_stream",
    status_code=OK,
    summary="Answer a prompt as it is written",
    opt=route_spec(
        "inference", tag="Text", body=GenerateBody, text="text/plain; charset=utf-8", request_examples=_ASKS, events="Hello!"
    ),
)
async def generate_stream(request: Request[Any, Any, Any]) -> Stream:
    """The bare text, chunk by chunk. Where the model fails midway the connection is cut, so that half is not taken for whole."""
    payload, headers = await _body.read(request)
    call = start_call(request, "generate", payload.model, payload.to_request())
    return await byte_stream(request, _texts(call), headers)


async def _texts(call: ClosableEvents[GenerateEvent]) -> AsyncGenerator[bytes, None]:
    async with aclosing(call) as events:
        async for event in events:
            if isinstance(event, Delta) and event.text:
                yield event.text.encode()
