"""`/v1/models`: what models there are, and what each can do."""

from typing import Any

from litestar import Request, get

from modelhost.contract.structs import Struct
from modelhost.http.openai.dialect import route_spec
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.models import ModelAnswer, describe_model, described, named


class ModelList(Struct, tag_field="object", tag="list"):
    """The models."""

    data: list[ModelAnswer]


@get("/v1/models", summary="List the models", opt=route_spec("inference", tag="Models", answer=ModelList))
async def list_models(request: Request[Any, Any, Any]) -> JsonResponse:
    """OpenAI's list of models; those that are not enabled are left out."""
    models = [model for model in host_of(request).pool if model.config.enabled]
    return JsonResponse(ModelList(data=await described(describe_model, *models)))


@get("/v1/models/{name:path}", summary="Show a model", opt=route_spec("inference", tag="Models", answer=ModelAnswer))
async def show_model(request: Request[Any, Any, Any], name: str) -> JsonResponse:
    """One model, by name, alias or hub id; slashes may be sent as `%2F`."""
    (found,) = await described(describe_model, named(request, name))
    return JsonResponse(found)
