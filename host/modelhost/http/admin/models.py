"""Loading models and unloading them."""

from typing import Any

from litestar import Request, delete, post

from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.http.admin.dialect import route_spec
from modelhost.http.routing.json_body import JsonBody, host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.models import ModelAnswer, describe_model, described, named
from modelhost.http.routing.spec import Example
from modelhost.http.routing.statuses import NOT_FOUND, OK, SERVICE_UNAVAILABLE
from modelhost.pool.status import State


class LoadBody(Struct):
    """`POST /v1/models/load`; `model_name` is an older client's word for `model`."""

    model: str | None = None
    model_name: str | None = None


class UnloadedAnswer(Struct, tag_field="object", tag="model"):
    """A model that was taken out of memory."""

    id: str
    deleted: bool
    """True, as OpenAI's clients expect; the model's files stay."""
    state: State
    freed_bytes: int


_load_body = JsonBody(LoadBody)


@post(
    "/v1/models/load",
    status_code=OK,
    summary="Load a model",
    opt=route_spec(
        "admin",
        tag="Models",
        body=LoadBody,
        answer=ModelAnswer,
        errors=(NOT_FOUND, SERVICE_UNAVAILABLE),
        request_examples={"a model": Example(value={"model": "smollm2-135m"})},
    ),
)
async def load_model(request: Request[Any, Any, Any]) -> JsonResponse:
    """Load a model now rather than on first use; answers when it is ready. Goes on when the client leaves."""
    payload, headers = await _load_body.read(request)
    name = payload.model or payload.model_name
    if not name:
        raise BadInputError("say which model", param="model", code="missing_required_parameter")
    model = named(request, name)
    await model.load()
    (found,) = await described(describe_model, model)
    return JsonResponse(found, headers=headers)


@delete(
    "/v1/models/{name:path}",
    status_code=OK,
    summary="Unload a model",
    opt=route_spec("admin", tag="Models", answer=UnloadedAnswer),
)
async def unload_model(request: Request[Any, Any, Any], name: str) -> JsonResponse:
    """Take a model out of memory; its files stay. Running requests may finish first."""
    model = named(request, name)
    freed = await model.unload(host_of(request).config.server.drain_seconds)
    return JsonResponse(UnloadedAnswer(id=model.listed_as, deleted=True, state=model.status.state, freed_bytes=freed))
