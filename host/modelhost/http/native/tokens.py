"""`POST /tokenize` and `/detokenize`: what a text costs, in the shapes of llama.cpp's server and of vLLM's."""

from typing import Annotated, Any, ClassVar

from litestar import Request, post
from msgspec import UNSET, Meta, UnsetType

from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types import TokenizeRequest, Tokens
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.bodies.json_text import made
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.chat_messages import MEDIA, ChatMessage, messages_of
from modelhost.http.routing.json_body import JsonBody, host_of
from modelhost.http.routing.json_response import PORTION, JsonResponse, JsonStream
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.prefill import check_prefill
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class TokenizeBody(PluginFields):
    """`POST /tokenize`: one of `content` (llama.cpp's word), `prompt` (vLLM's) and `messages`."""

    spelt: ClassVar[Spelt] = {"text": ("content", "prompt"), "add_special": ("add_special", "add_special_tokens")}

    model: str | None = None
    content: str | None = None
    """The text; begins with the model's BOS token only with `add_special`."""
    prompt: str | None = None
    """The text; begins with the model's BOS token unless `add_special_tokens` is false."""
    messages: Annotated[list[ChatMessage], Meta(max_length=10_000)] | None = None
    """A chat, with the model's template around it and ready for the answer."""
    add_generation_prompt: bool | None = None
    """Of a chat: end with what begins the model's turn."""
    continue_final_message: bool | None = None
    """Of a chat: end in the midst of its last message, so that an answer goes on with it."""
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    """Take the names of control tokens for the tokens."""
    with_pieces: bool | None = None
    """Return each token with its text."""
    return_token_strs: bool | None = None
    """Return the tokens' texts in a list of their own."""

    def to_request(self, media: Media) -> TokenizeRequest:
        """Return what a backend is asked. Raises `BadInputError`."""
        given = [name for name in ("content", "prompt", "messages") if getattr(self, name) is not None]
        if len(given) != 1 or self.messages == []:
            raise BadInputError("give one of content, prompt and messages", param=given[0] if given else "content")
        special = self.add_special if self.add_special is not None else self.add_special_tokens
        messages = messages_of(self.messages or [], media)
        if messages:
            check_prefill(messages, self.continue_final_message, self.add_generation_prompt)
        return TokenizeRequest(
            text=self.content if self.content is not None else self.prompt,
            messages=messages,
            add_generation_prompt=self.add_generation_prompt if messages else None,
            continue_final_message=self.continue_final_message if messages else None,
            add_special=self.prompt is not None if special is None else special,
            parse_special=bool(self.parse_special),
            options=self.options,
        )


class TokenPiece(Struct):
    """A token and its text: a list of bytes where those are no whole characters."""

    id: int
    piece: str | list[int]


class TokenizeAnswer(Struct):
    """The tokens of a text."""

    model: str
    count: int
    max_model_len: int | None
    """Tokens the model can hold, prompt and answer together."""
    tokens: list[int | TokenPiece]
    token_strs: list[str] | UnsetType = UNSET


class DetokenizeBody(Struct):
    """`POST /detokenize`."""

    tokens: Annotated[list[TokenId], Meta(max_length=1_048_576)]
    model: str | None = None


class DetokenizeAnswer(Struct):
    """The text of tokens, under both names; bytes that are no character are U+FFFD."""

    model: str
    content: str
    prompt: str


class _Found:
    """What the parts of an answer say together."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.pieces: list[bytes] = []
        self.texts: list[str] = []

    def take(self, part: Tokens) -> None:
        self.tokens += part.tokens
        self.pieces += part.pieces
        self.texts.append(part.text)


async def _ask(request: Request[Any, Any, Any], model: str | None, model_request: TokenizeRequest) -> tuple[_Found, str]:
    call = start_call(request, "tokenize", model, model_request)
    found = _Found()
    async with reading(request, call) as events:
        async for event in events:
            if isinstance(event, Tokens):
                found.take(event)
    return found, call.model


def _piece(token: int, data: bytes) -> TokenPiece:
    try:
        return TokenPiece(id=token, piece=data.decode())
    except UnicodeDecodeError:
        return TokenPiece(id=token, piece=list(data))


_tokenize_body = JsonBody(TokenizeBody, base64_in=MEDIA)
_detokenize_body = JsonBody(DetokenizeBody)


@post(
    "/tokenize",
    status_code=OK,
    summary="Cut a text or a chat into tokens",
    opt=route_spec(
        "inference",
        tag="Text",
        body=TokenizeBody,
        answer=TokenizeAnswer,
        request_examples={
            "text": Example(summary="A text", value={"model": "chat", "content": "Hello world"}),
            "chat": Example(
                summary="A chat, to know what it costs",
                value={"model": "chat", "messages": [{"role": "user", "content": "Hello"}]},
            ),
        },
        response_examples={
            "answer": Example(value={"model": "smollm2-135m", "count": 2, "max_model_len": 8192, "tokens": [19556, 905]}),
        },
    ),
)
async def tokenize(request: Request[Any, Any, Any]) -> JsonResponse | JsonStream:
    """What the model would read; never waits behind an answer that is being written."""
    payload, headers = await _tokenize_body.read(request)
    found, model = await _ask(request, payload.model, await made(request, payload.to_request, Media.of(request)))
    if payload.with_pieces and len(found.pieces) != len(found.tokens):
        raise BadInputError("this model does not tell its tokens' texts", param="with_pieces")
    card = host_of(request).router.find(model).card

    tokens = map(_piece, found.tokens, found.pieces) if payload.with_pieces else iter(found.tokens)
    texts = (data.decode(errors="replace") for data in found.pieces)
    large = len(found.tokens) > PORTION
    answer = TokenizeAnswer(
        model=model,
        count=len(found.tokens),
        max_model_len=card.context_length if card else None,
        tokens=[] if large else list(tokens),
        token_strs=UNSET if not payload.return_token_strs else [] if large else list(texts),
    )
    if not large:
        return JsonResponse(answer, headers=headers)
    return JsonStream.of_lists(answer, tokens, *([texts] if payload.return_token_strs else []), headers=headers)


@post(
    "/detokenize",
    status_code=OK,
    summary="Turn tokens back into text",
    opt=route_spec(
        "inference",
        tag="Text",
        body=DetokenizeBody,
        answer=DetokenizeAnswer,
        request_examples={"tokens": Example(summary="Token ids", value={"model": "chat", "tokens": [19556, 905]})},
        response_examples={"answer": Example(value={"model": "smollm2-135m", "content": "Hello world", "prompt": "Hello world"})},
    ),
)
async def detokenize(request: Request[Any, Any, Any]) -> JsonResponse:
    """What a list of token ids says."""
    payload, headers = await _detokenize_body.read(request)
    found, model = await _ask(request, payload.model, TokenizeRequest(tokens=tuple(payload.tokens)))

    def answer() -> DetokenizeAnswer:
        text = "".join(found.texts)
        return DetokenizeAnswer(model=model, content=text, prompt=text)

    return await JsonResponse.of_many(len(payload.tokens), answer, headers)
