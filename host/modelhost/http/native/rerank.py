"""`POST /v1/rerank`: documents by how near they are to a question, in the shape that Cohere's and Jina's clients share."""

import asyncio
from math import hypot
from operator import mul
from typing import Annotated, Any, Literal

from litestar import Request, post
from msgspec import UNSET, Meta, UnsetType

from modelhost.contract.answers import Rows, numbers
from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types import EmbedRequest, Usage
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.embed_call import MAX_INPUTS, EmbedCalls
from modelhost.http.routing.in_flight import request_id_of
from modelhost.http.routing.json_body import JsonBody
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.spec import Example
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.usage import EmbeddingsUsage


class RerankDocument(Struct):
    """A document."""

    text: str


class RerankBody(PluginFields, kw_only=True):
    """`POST /v1/rerank`; the model is one that embeds."""

    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | RerankDocument], Meta(min_length=1, max_length=MAX_INPUTS)]
    model: str | None = None
    top_n: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """Return only so many, the best."""
    return_documents: bool | None = None
    """Return the documents' texts too."""
    truncate: bool | None = None
    """Compare the beginnings of texts that are too long, in place of refusing them; the answer names the documents."""
    cache: bool | None = None
    """`false` computes anew and keeps nothing."""

    def texts(self) -> tuple[str, ...]:
        """Return the documents' texts. Raises `BadInputError`."""
        texts = tuple(document if isinstance(document, str) else document.text for document in self.documents)
        if "" in texts:
            raise BadInputError(f"document {texts.index('')} is empty; leave it out", param="documents")
        return texts


class RerankResult(Struct):
    """One document."""

    index: int
    """Its number in the request."""
    relevance_score: float
    """Cosine of the angle between its vector and the question's: 1 at most, and below 0 where they have nothing in common."""
    document: RerankDocument | UnsetType = UNSET


class Reranked(Struct):
    """The documents, the nearest first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: EmbeddingsUsage
    truncated: list[int] | UnsetType = UNSET
    """Numbers of the documents that were cut, where any were."""


_body = JsonBody(RerankBody)


@post(
    "/v1/rerank",
    status_code=OK,
    summary="Sort documents by a question",
    opt=route_spec(
        "inference",
        tag="Embeddings",
        body=RerankBody,
        answer=Reranked,
        request_examples={
            "documents": Example(
                summary="Two documents",
                value={
                    "model": "text-embedding-3-small",
                    "query": "who purrs?",
                    "documents": ["Cars have engines.", "Cats purr when they are content."],
                    "top_n": 1,
                    "return_documents": True,
                },
            )
        },
        response_examples={
            "answer": Example(
                value={
                    "id": "req_1",
                    "model": "minilm-l6-v2",
                    "results": [
                        {"index": 1, "relevance_score": 0.61, "document": {"text": "Cats purr when they are content."}},
                    ],
                    "usage": {"prompt_tokens": 23, "total_tokens": 23},
                }
            )
        },
    ),
)
async def rerank(request: Request[Any, Any, Any]) -> JsonResponse:
    """Compares vectors, made with the model's prompts for questions and documents where it has them."""
    payload, headers = await _body.read(request)
    texts = payload.texts()
    calls = EmbedCalls(request, cache=payload.cache)
    documents = await _vectors(calls, payload, payload.model, "documents", texts)
    # Vectors of two models cannot be compared: whoever has answered first answers again.
    model = calls.model
    query = await _vectors(calls, payload, model, "query", (payload.query,))
    scores = await asyncio.to_thread(_scores, query, documents)
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: payload.top_n]
    answer = Reranked(
        id=request_id_of(request),
        model=model,
        results=[_result(index, scores[index], texts[index] if payload.return_documents else None) for index in best],
        usage=EmbeddingsUsage.of(Usage(input_tokens=documents.usage.input_tokens + query.usage.input_tokens)),
        truncated=[*documents.truncated] or UNSET,
    )
    return JsonResponse(answer, headers={**headers, **calls.headers()})


async def _vectors(
    calls: EmbedCalls, payload: RerankBody, model: str | None, field: Literal["documents", "query"], texts: tuple[str, ...]
) -> Rows:
    model_request = EmbedRequest(inputs=texts, overlong="truncate" if payload.truncate else "refuse", options=payload.options)
    purpose = "document" if field == "documents" else "query"
    calls.spell({"input": field, "inputs": field, "overlong": "truncate"})
    return await calls.vectors_for(purpose, model, model_request)


def _scores(query: Rows, documents: Rows) -> list[float]:
    """Return the cosine of each document; a vector without length is like nothing."""
    question = numbers(query.vectors[0])
    scores = []
    for row in documents.vectors:
        values = numbers(row)
        lengths = hypot(*question) * hypot(*values)
        scores.append(sum(map(mul, question, values)) / lengths if lengths else 0.0)
    return scores


def _result(index: int, score: float, text: str | None) -> RerankResult:
    return RerankResult(index=index, relevance_score=score, document=UNSET if text is None else RerankDocument(text=text))
