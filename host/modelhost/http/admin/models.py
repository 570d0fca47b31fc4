"""The models: what there is, what each can do, loading and unloading."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from litestar import Request, delete, get, post

from modelhost.contract.card import Feature, Input
from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability
from modelhost.http.routing.json_body import JsonBody, host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.spec import Example, route_spec
from modelhost.pool import Model
from modelhost.pool.status import State

T = TypeVar("T")


class LoadBody(Struct):
    """`POST /v1/models/load`; `model_name` is an older client's word for `model`."""

    model: str | None = None
    model_name: str | None = None


class Capabilities(Struct):
    """What a model can, in an older client's words."""

    transcription: bool
    chat: bool
    multimodal: bool
    streaming: bool


class ModelAnswer(Struct, tag_field="object", tag="model"):
    """A model in OpenAI's shape, with what else is known of it. What only a loaded model says is null before it ever was."""

    id: str
    created: int
    """Unix time at which the host read its configuration."""
    abilities: tuple[Ability, ...]
    inputs: tuple[Input, ...]
    features: tuple[Feature, ...] | None
    """What of a request it honours beyond the plain case."""
    state: State
    plugin: str
    aliases: tuple[str, ...]
    context_length: int | None
    """Tokens."""
    dimensions: tuple[int, ...]
    """Lengths of vector it makes, the usual one first."""
    voices: tuple[str, ...]
    size_gb: float | None
    """Of its weights, on disk."""
    capabilities: Capabilities
    owned_by: str = "modelhost"


class ModelList(Struct, tag_field="object", tag="list"):
    """The models."""

    data: list[ModelAnswer]


class UnloadedAnswer(Struct, tag_field="object", tag="model"):
    """A model that was taken out of memory."""

    id: str
    deleted: bool
    """True, as OpenAI's clients expect; the model's files stay."""
    state: State
    freed_bytes: int


_load_body = JsonBody(LoadBody)


def describe_model(model: Model) -> ModelAnswer:
    """Say what is known of a model."""
    card = model.card
    size = model.size_bytes()
    abilities = model.abilities
    inputs = card.inputs if card else ("text",)
    return ModelAnswer(
        id=model.listed_as,
        created=model.created,
        abilities=abilities,
        inputs=inputs,
        features=card.features if card else None,
        state=model.status.state,
        plugin=model.plugin.name,
        aliases=tuple(model.config.aliases),
        context_length=card.context_length if card else None,
        dimensions=card.dimensions if card else (),
        voices=card.voices if card else (),
        size_gb=None if size is None else round(size / 1e9, 3),
        capabilities=Capabilities(
            transcription="transcribe" in abilities,
            chat="generate" in abilities,
            multimodal=len(inputs) > 1,
            streaming=card is None or "streaming" in card.features,
        ),
    )


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


@post(
    "/v1/models/load",
    status_code=200,
    summary="Load a model",
    opt=route_spec(
        "admin",
        tag="Models",
        body=LoadBody,
        answer=ModelAnswer,
        errors=(404, 503),
        request_examples={"a model": Example(value={"model": "smollm2-135m"})},
    ),
)
async def load_model(request: Request[Any, Any, Any]) -> JsonResponse:
    """Load a model now rather than on first use; answers when it is ready. Goes on when the client leaves."""
    asked, headers = await _load_body.read(request)
    name = asked.model or asked.model_name
    if not name:
        raise BadInputError("say which model", param="model", code="missing_required_parameter")
    model = named(request, name)
    await model.load()
    (found,) = await described(describe_model, model)
    return JsonResponse(found, headers=headers)


@delete(
    "/v1/models/{name:path}",
    status_code=200,
    summary="Unload a model",
    opt=route_spec("admin", tag="Models", answer=UnloadedAnswer),
)
async def unload_model(request: Request[Any, Any, Any], name: str) -> JsonResponse:
    """Take a model out of memory; its files stay. Running requests may finish first."""
    model = named(request, name)
    freed = await model.unload(host_of(request).config.server.drain_seconds)
    return JsonResponse(UnloadedAnswer(id=model.listed_as, deleted=True, state=model.status.state, freed_bytes=freed))


async def described(describe: Callable[[Model], T], *models: Model) -> list[T]:
    """Describe models in a thread: sizes are on disk, and adding up a large worker's memory takes the kernel a while."""
    return await asyncio.to_thread(lambda: [describe(model) for model in models])


def named(request: Request[Any, Any, Any], name: str) -> Model:
    """Find the model a path names. Raises `UnknownModelError`."""
    return host_of(request).router.find(name.removeprefix("/"))
