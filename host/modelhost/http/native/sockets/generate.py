"""`/v1/generate_ws`: prompts in, text out as it is made, one after the other on one line."""

import asyncio
from contextlib import aclosing
from typing import Any

from litestar import WebSocket, websocket
from msgspec import UNSET, UnsetType

from modelhost.contract.answers import AnswerBuilder
from modelhost.contract.errors import BadInputError, ModelhostError
from modelhost.contract.structs import Struct
from modelhost.contract.types import Delta, Done, FinishReason
from modelhost.http.native.dialect import route_spec
from modelhost.http.native.generate import GenerateBody
from modelhost.http.routing.usage import UsageAnswer
from modelhost.http.routing.websocket import Failure, MessageSocket


class Prompt(GenerateBody, kw_only=True, tag_field="type", tag="prompt"):
    """A prompt, with the fields of `/v1/generate`."""


class Cancel(Struct, tag_field="type", tag="cancel"):
    """Stop the answer that is being made, if one is; `cancelled` is the answer to that."""


class Token(Struct, tag_field="type", tag="token"):
    """More of the text."""

    text: str


class Cancelled(Struct, tag_field="type", tag="cancelled"):
    """The answer was stopped."""


class Generated(Struct, tag_field="type", tag="done"):
    """The whole text."""

    generated_text: str
    model: str
    finish_reason: FinishReason
    usage: UsageAnswer
    ignored: list[str] | UnsetType = UNSET
    """Fields of the messages before that nobody knows, where there were any."""


HEARS = (Prompt, Cancel)
SAYS = (Token, Generated, Cancelled, Failure)


@websocket("/v1/generate_ws", opt=route_spec("inference", tag="Text", receives=HEARS, sends=SAYS))
async def generate_ws(socket: WebSocket[Any, Any, Any]) -> None:
    """Answer prompts, token by token."""
    running: asyncio.Task[None] | None = None
    async with MessageSocket[Prompt | Cancel](socket, Prompt | Cancel, {"prompt": "prompt"}, begin=(Prompt,)) as messages:
        try:
            async for message in messages:
                busy = running is not None and not running.done()
                if isinstance(message, bytes):
                    await messages.tell(BadInputError("prompts come as JSON, not as binary frames"))
                elif isinstance(message, Cancel):
                    if busy and running:
                        running.cancel()
                        await asyncio.wait({running})
                    await messages.send(Cancelled())
                elif busy:
                    await messages.tell(BadInputError("an answer is being made; wait for `done`, or send `cancel`"))
                else:
                    running = messages.work(_answer(messages, message))
                del message  # it may be large, and the next one long in coming
        finally:
            if running:
                running.cancel()


async def _answer(messages: MessageSocket[Any], prompt: Prompt) -> None:
    text = AnswerBuilder()
    try:
        async with aclosing(messages.start("generate", prompt.model, prompt.to_request())) as events:
            async for event in events:
                text.take(event)
                if isinstance(event, Delta) and event.text:
                    await messages.send(Token(text=event.text))
                elif isinstance(event, Done):
                    done = Generated(
                        generated_text=text.text,
                        model=events.model,
                        finish_reason=event.reason,
                        usage=UsageAnswer.of(event.usage),
                        ignored=messages.ignored(),
                    )
                    await messages.send(done)
    except ModelhostError as error:
        await messages.tell(error)
