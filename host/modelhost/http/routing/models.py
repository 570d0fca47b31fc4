"""Models as the routes tell of them, in OpenAI's shape with what else is known."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from litestar import Request

from modelhost.contract.card import Input
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability
from modelhost.http.routing.json_body import host_of
from modelhost.pool import Model
from modelhost.pool.status import State

T = TypeVar("T")


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
    features: tuple[str, ...] | None
    """What of a request it honours beyond the plain case; what begins with `x-` is its plugin's own."""
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


async def described(describe: Callable[[Model], T], *models: Model) -> list[T]:
    """Describe models in a thread: sizes are on disk, and adding up a large worker's memory takes the kernel a while."""
    return await asyncio.to_thread(lambda: [describe(model) for model in models])


def named(request: Request[Any, Any, Any], name: str) -> Model:
    """Find the model a path names. Raises `UnknownModelError`."""
    return host_of(request).router.find(name.removeprefix("/"))
