"""`POST /v1/embeddings`: OpenAI's way from texts to vectors."""

import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from litestar import Request, post
from msgspec import UNSET, Meta, UnsetType

from modelhost.concurrency.executor import computed
from modelhost.contract.answers import Rows, numbers
from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types import EmbedRequest
from modelhost.http.openai.dialect import route_spec
from modelhost.http.openai.token_ids import as_texts
from modelhost.http.routing.bodies.json_text import made
from modelhost.http.routing.embed_call import MAX_INPUTS, Dimensions, EmbedCalls
from modelhost.http.routing.json.foreign_fields import EMBEDDING, Elsewhere
from modelhost.http.routing.json_body import JsonBody, host_of
from modelhost.http.routing.json_response import JsonResponse, JsonStream
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.usage import EmbeddingsUsage

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]

MANY = 32_768
"""Numbers of an answer that is written at once, in 2 ms; and of the pieces that a longer one is written in."""

_NO_DATA = b'"data":[]'
"""Where the vectors go. No text has it: quotes in texts are escaped."""


class EmbeddingsBody(PluginFields, kw_only=True):
    """`POST /v1/embeddings`; the fields from `prompt_name` on are modelhost's own."""

    elsewhere: ClassVar[dict[str, Elsewhere]] = EMBEDDING

    spelt: ClassVar[Spelt] = {"inputs": ("input",), "overlong": ("truncate",)}

    input: str | list[str | int | list[int]]
    """A text, its token ids, or a list of up to 2048 of either. Ids are the model's own; by a name of OpenAI's, OpenAI's."""
    model: str | None = None
    dimensions: Dimensions | None = None
    """Length of the vectors, one of those the model was trained for; they are cut and brought to length 1."""
    encoding_format: Literal["float", "base64"] | None = None
    """Numbers, or the base64 of little-endian float32; `float` unless said otherwise."""
    user: str | None = None
    prompt_name: str | None = None
    """What the vectors are for: `query`, `document`, `clustering`, or another name the model has."""
    title: str | None = None
    """Of the document, for models that make use of it."""
    truncate: bool | None = None
    """Cut inputs that are too long, in place of refusing them; the answer names them."""
    cache: bool | None = None
    """`false` computes anew and keeps nothing; the header `cache-control: no-store` says the same."""

    def inputs(self) -> tuple[str | tuple[int, ...], ...]:
        """Return the inputs one by one. Raises `BadInputError`."""
        given = [self.input] if isinstance(self.input, str) else self.input
        for kind in (list[str], list[list[TokenId]], list[TokenId]):
            try:
                found: Any = msgspec.convert(given, kind)
            except msgspec.ValidationError:
                continue
            found = [found] if found and kind == list[TokenId] else found
            return _checked(tuple(one if isinstance(one, str) else tuple(one) for one in found))
        raise BadInputError("input must be a text, token ids, or a list of texts or of lists of ids", param="input")

    def to_request(self) -> EmbedRequest:
        """Return what a backend is asked. Raises `BadInputError`."""
        return EmbedRequest(
            inputs=self.inputs(),
            dimensions=self.dimensions,
            prompt_name=self.prompt_name,
            title=self.title,
            overlong="truncate" if self.truncate else "refuse",
            options=self.options,
        )


def _checked(inputs: tuple[str | tuple[int, ...], ...]) -> tuple[str | tuple[int, ...], ...]:
    if not 0 < len(inputs) <= MAX_INPUTS:
        raise BadInputError(f"input holds {len(inputs)} inputs; send 1 to {MAX_INPUTS}", param="input")
    for number, one in enumerate(inputs):
        if not one:
            raise BadInputError(f"input {number} is empty; leave it out", param="input")
    return inputs


class Embedding(Struct):
    """The vector of one input."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class Embeddings(Struct):
    """The vectors, in the order of the inputs."""

    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
    object: Literal["list"] = "list"
    truncated: list[int] | UnsetType = UNSET
    """Numbers of the inputs that were cut, where any were."""


_body = JsonBody(EmbeddingsBody)


@post(
    "/v1/embeddings",
    status_code=OK,
    summary="Turn texts into vectors",
    opt=route_spec(
        "inference",
        tag="Embeddings",
        body=EmbeddingsBody,
        answer=Embeddings,
        request_examples={
            "texts": Example(summary="Texts", value={"model": "text-embedding-3-small", "input": ["a cat", "a car"]}),
            "query": Example(
                summary="A question, for a search",
                value={"model": "text-embedding-3-small", "input": "who purrs?", "prompt_name": "query"},
            ),
        },
        response_examples={
            "answer": Example(
                value={
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, 0.0, -0.8]}],
                    "model": "minilm-l6-v2",
                    "usage": {"prompt_tokens": 4, "total_tokens": 4},
                }
            )
        },
    ),
)
async def embeddings(request: Request[Any, Any, Any]) -> JsonResponse | JsonStream:
    """OpenAI's embeddings; equal inputs of one caller are computed once, which `x-modelhost-cache` tells."""
    payload, headers = await _body.read(request)
    calls = EmbedCalls(request, cache=payload.cache)
    rows = await calls.vectors(payload.model, await _as_the_model_reads(request, payload))
    as_base64 = payload.encoding_format == "base64"
    large = len(rows.vectors) * rows.dimensions > MANY
    answer = Embeddings(
        data=[] if large else [_embedding(index, row, as_base64=as_base64) for index, row in enumerate(rows.vectors)],
        model=calls.model,
        usage=EmbeddingsUsage.of(rows.usage),
        truncated=[*rows.truncated] or UNSET,
    )
    headers |= calls.headers()
    return (
        JsonStream(_pieces(answer, rows, as_base64=as_base64), headers=headers)
        if large
        else JsonResponse(answer, headers=headers)
    )


async def _as_the_model_reads(request: Request[Any, Any, Any], payload: EmbeddingsBody) -> EmbedRequest:
    """Return the request, with texts in place of token ids that are not of the model's vocabulary."""
    model_request: EmbedRequest = await made(request, payload.to_request)
    texts = await as_texts("input", [*model_request.inputs], payload.model, host_of(request).router)
    return msgspec.structs.replace(model_request, inputs=_checked(tuple(texts)))


def _embedding(index: int, row: bytes, *, as_base64: bool) -> Embedding:
    return Embedding(index=index, embedding=base64.b64encode(row).decode() if as_base64 else numbers(row))


async def _pieces(answer: Embeddings, rows: Rows, *, as_base64: bool) -> AsyncIterator[bytes]:
    """Write an answer while it goes out: its numbers take six times the memory of the vectors, and millions of them seconds."""
    head, tail = msgspec.json.encode(answer).split(_NO_DATA, 1)
    yield head + _NO_DATA[:-1]
    some = max(1, MANY // rows.dimensions)
    for first in range(0, len(rows.vectors), some):
        yield await computed(_portion, rows, first, first + some, as_base64)
    yield _NO_DATA[-1:] + tail


def _portion(rows: Rows, first: int, last: int, as_base64: bool) -> bytes:
    some = enumerate(rows.vectors[first:last], first)
    written = [msgspec.json.encode(_embedding(index, row, as_base64=as_base64)) for index, row in some]
    return (b"," if first else b"") + b",".join(written)
