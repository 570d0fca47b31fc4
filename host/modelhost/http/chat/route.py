"""The chat route."""

from contextlib import aclosing
from typing import Any, cast

from litestar import Request, post
from litestar.response import Stream

from modelhost.http.about import about
from modelhost.http.answering import JsonAnswer
from modelhost.http.chat import examples
from modelhost.http.chat.answer import Completion
from modelhost.http.chat.body import ChatBody
from modelhost.http.chat.shapes import ChatCompletion, ChatCompletionChunk
from modelhost.http.leaving import CancelledWhenGone
from modelhost.http.reading import JsonBody, context_of, host_of
from modelhost.http.streaming import event_stream

_body = JsonBody(ChatBody)


@post(
    "/v1/chat/completions",
    status_code=200,
    summary="Continue a conversation",
    opt=about(
        "inference",
        tag="Text",
        body=ChatBody,
        answer=ChatCompletion,
        event=ChatCompletionChunk,
        asks=examples.ASKS,
        answers=examples.ANSWERS,
        events=examples.EVENTS,
    ),
)
async def chat_completions(request: Request[Any, Any, Any], body: bytes) -> JsonAnswer | Stream:
    """OpenAI's chat: whole or as a stream, with tools and reasoning where the model has them."""
    asked, headers = _body.read(request, body)
    wanted = asked.to_request()
    context = context_of(request)
    completion = Completion(
        context.request_id,
        lambda: context.info.model,
        n=wanted.n,
        thinking=bool(asked.include_thinking),
        include_usage=asked.include_usage,
    )
    events = host_of(request).router.call("generate", asked.model, wanted, context)
    if asked.stream:
        return await event_stream(request, completion.chunks(events), headers)
    with CancelledWhenGone(request):
        async with aclosing(cast(Any, events)):
            answer = await completion.whole(events)
    return JsonAnswer(answer, headers=headers)
