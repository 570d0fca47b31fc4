"""The chat route."""

from typing import Any

from litestar import Request, post
from litestar.response import Stream

from modelhost.http.openai.chat import examples
from modelhost.http.openai.chat.body import ChatBody
from modelhost.http.openai.chat.response import Completion
from modelhost.http.openai.chat.shapes import ChatCompletion, ChatCompletionChunk
from modelhost.http.openai.dialect import route_spec
from modelhost.http.routing.bodies.json_text import made
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.chat_messages import MEDIA
from modelhost.http.routing.in_flight import request_id_of
from modelhost.http.routing.json_body import JsonBody
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.streaming import event_stream

_body = JsonBody(ChatBody, base64_in=MEDIA)


@post(
    "/v1/chat/completions",
    status_code=OK,
    summary="Continue a conversation",
    opt=route_spec(
        "inference",
        tag="Text",
        body=ChatBody,
        answer=ChatCompletion,
        event=ChatCompletionChunk,
        request_examples=examples.ASKS,
        response_examples=examples.ANSWERS,
        events=examples.EVENTS,
    ),
)
async def chat_completions(request: Request[Any, Any, Any]) -> JsonResponse | Stream:
    """OpenAI's chat: whole or as a stream, with tools and reasoning where the model has them."""
    payload, headers = await _body.read(request)
    model_request = await made(request, payload.to_request, Media.of(request))
    completion = Completion(
        request_id_of(request), n=model_request.n, thinking=bool(payload.include_thinking), include_usage=payload.include_usage
    )
    call = start_call(request, "generate", payload.model, model_request)
    if payload.stream:
        return await event_stream(request, completion.chunks(call), headers)
    async with reading(request, call):
        return await completion.whole(call, headers)
