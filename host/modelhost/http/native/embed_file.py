"""`POST /embed`: the vector of a file, as older clients ask for it."""

import asyncio
import contextlib
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Request, post
from msgspec import Meta

from modelhost.contract.answers import numbers
from modelhost.contract.errors import BadInputError, PluginError, ServiceError
from modelhost.contract.structs import Struct
from modelhost.contract.types import EmbedRequest
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.embed_call import Dimensions, EmbedCalls
from modelhost.http.routing.forms import FormReader
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.text_files import text_of

USUAL = 128
"""Dimensions where a request says none and the model was trained for so few."""

TRUNCATED = "x-modelhost-truncated"
"""Header that says that the text was cut."""


class EmbedForm(PluginFields):
    """`POST /embed`: the text is the file `file`."""

    spelt: ClassVar[Spelt] = {"input": ("file",), "inputs": ("file",), "overlong": ("truncate",)}


class EmbedQuery(Struct):
    """What stands in the URL of `POST /embed`."""

    dimensions: Annotated[list[Dimensions], Meta(max_length=8)] = []
    prompt_name: str | None = None
    title: str | None = None
    model: str | None = None
    truncate: bool = False
    cache: bool = True


_form = FormReader(EmbedForm, files=("file",), limit="max_body_mb")

_QUERY = {
    "dimensions": "Length of the vector, or several of up to eight; by default 128 where the model was trained for it.",
    "prompt_name": "What the vector is for: `document` unless said otherwise, `query`, `clustering`, …",
    "title": "Of the document, for models that make use of it.",
    "model": "Who computes; without it the model that embeds.",
    "truncate": "`true` cuts a text that is too long, and says so in `x-modelhost-truncated`.",
    "cache": "`false` computes anew and keeps nothing.",
}


@post(
    "/embed",
    status_code=OK,
    summary="Turn a file into a vector",
    opt=route_spec(
        "inference",
        tag="Embeddings",
        form=EmbedForm,
        files=("file",),
        query=_QUERY,
        answer=dict,
        response_examples={"answer": Example(value={"embedding_128d": [0.6, 0.0, -0.8]})},
    ),
)
async def embed_file(request: Request[Any, Any, Any]) -> JsonResponse:
    """The vector of a text file, under the name of its length; `dimensions` may be there several times."""
    payload = _read_query(request)
    form, files, headers = await _form.read(request)
    text = await asyncio.to_thread(text_of, files)
    if not text:
        raise BadInputError("the file is empty", param="file")
    calls = EmbedCalls(request, cache=payload.cache)
    answer: dict[str, list[float]] = {}
    sizes: list[int | None] = [*payload.dimensions] or [await _usual(request, payload.model)]
    for dimensions in sizes:
        model_request = EmbedRequest(
            inputs=(text,),
            dimensions=dimensions,
            prompt_name=payload.prompt_name,
            title=payload.title,
            overlong="truncate" if payload.truncate else "refuse",
            options=form.options,
        )
        if payload.prompt_name is None:
            rows = await calls.vectors_for("document", payload.model, model_request)
        else:
            rows = await calls.vectors(payload.model, model_request)
        answer[f"embedding_{rows.dimensions}d"] = numbers(rows.vectors[0])
        headers |= {TRUNCATED: "true"} if rows.truncated else {}
    return JsonResponse(answer, headers={**headers, **calls.headers()})


def _read_query(request: Request[Any, Any, Any]) -> EmbedQuery:
    given = {name: [value for value in values if value] for name, values in request.query_params.dict().items()}
    for name, values in given.items():
        if len(values) > 1 and name != "dimensions" and name in _QUERY:
            raise BadInputError(f"{name} is there {len(values)} times", param=name)
    plain = {name: values if name == "dimensions" else values[0] for name, values in given.items() if values}
    return msgspec.convert(plain, EmbedQuery, strict=False)


async def _usual(request: Request[Any, Any, Any], model: str | None) -> int | None:
    """Return the dimensions for a request that says none: as the card of the first model that can be loaded has them."""
    for chosen in host_of(request).router.candidates("embed", model):
        if "embed" in chosen.abilities:
            with CancelOnDisconnect(request), contextlib.suppress(ServiceError, PluginError):
                await chosen.load()
                return USUAL if chosen.card and USUAL in chosen.card.dimensions else None
    return None  # nobody can: the call says why
