"""`/health` in the words of older services, so that their probes go on."""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from modelhost.contract.structs import Struct
from modelhost.contract.types.abilities import ABILITIES, UNCOUNTED, Ability
from modelhost.pool import Model

Status = Literal["loaded", "not_loaded", "failed", "disabled"]


class OneModelHealth(Struct):
    """`as=model`: how one model is, of a service that has no other. For those without a key the status alone."""

    status: Literal["healthy", "unhealthy"]
    model_available: bool | UnsetType = UNSET
    """Whether its weights are on this machine."""
    model_loaded: bool | UnsetType = UNSET
    device: str | UnsetType = UNSET
    """`unknown` before it was ever loaded."""


class NamedModelHealth(Struct, omit_defaults=True):
    """How a model is that does one of the service's things; `disabled` where there is none."""

    status: Status
    name: str | None = None


class ChatModelHealth(NamedModelHealth):
    """How the model is that chats."""

    path: str | None = None
    """Where its weights come from."""
    context_length: int | None = None
    supports_tools: bool | None = None


class HostedHealth(Struct):
    """Whether Google's models can be asked."""

    api_key_set: bool
    default_model: str | None


class ServicesHealth(Struct):
    """`as=services`: what a service of several models has. For those without a key the status alone."""

    status: Literal["ok"]
    embedding_model: NamedModelHealth | UnsetType = UNSET
    local_summarization_model: NamedModelHealth | UnsetType = UNSET
    gemini_api: HostedHealth | UnsetType = UNSET
    chat_model: ChatModelHealth | UnsetType = UNSET


def one_model(models: list[Model], routes: dict[Ability, tuple[str, ...]], named: Model | None, *, known: bool) -> OneModelHealth:
    """Describe the model that is named, or the one that older services were about: who chats, else who hears, and so on."""
    order = sorted((ability for ability in ABILITIES if ability not in UNCOUNTED), key=lambda ability: ability != "generate")
    found = named or next((model for ability in order for model in _able(models, routes, ability)), None)
    sick = found is None or found.ails is not None
    status: Literal["healthy", "unhealthy"] = "unhealthy" if sick else "healthy"
    if not known:
        return OneModelHealth(status=status)
    return OneModelHealth(
        status=status,
        model_available=found is not None and found.weights.available(),
        model_loaded=found is not None and found.status.state == "ready",
        device=found.card.device if found and found.card else "unknown",
    )


def services(models: list[Model], routes: dict[Ability, tuple[str, ...]], *, known: bool) -> ServicesHealth:
    """Describe what such a service is made of."""
    if not known:
        return ServicesHealth(status="ok")
    hosted = [model for model in models if model.plugin.name == "gemini"]
    chats = [*_able(models, routes, "generate")]
    chat = next((model for model in chats if model not in hosted), chats[0] if chats else None)
    key = any(str(model.config.options.get("api_key") or "").strip() for model in hosted)
    named = next((model.config.options.get("model") for model in hosted), None)
    return ServicesHealth(
        status="ok",
        embedding_model=NamedModelHealth(**_named(next(_able(models, routes, "embed"), None))),
        local_summarization_model=NamedModelHealth(**_named(next(_able(models, routes, "summarize"), None))),
        gemini_api=HostedHealth(api_key_set=key, default_model=named if isinstance(named, str) else None),
        chat_model=_chat(chat),
    )


def _able(models: list[Model], routes: dict[Ability, tuple[str, ...]], ability: Ability) -> Iterator[Model]:
    """Return the models of an ability, first those of its route."""
    route = routes.get(ability, ())

    def turn(model: Model) -> int:
        names = {model.name, *model.config.names}
        return next((place for place, target in enumerate(route) if target in names), len(route))

    yield from sorted((model for model in models if ability in model.abilities), key=turn)


def _named(model: Model | None) -> dict[str, Any]:
    if model is None:
        return {"status": "disabled"}
    state = model.status.state
    status = "loaded" if state == "ready" else "failed" if state in ("failed", "backoff") else "not_loaded"
    return {"name": model.listed_as, "status": status}


def _chat(model: Model | None) -> ChatModelHealth:
    facts = _named(model)
    if model is None:
        return ChatModelHealth(**facts)
    card, weights = model.card, model.weights.sources
    return ChatModelHealth(
        **facts,
        path=weights[0].uri if weights else None,
        context_length=card.context_length if card else None,
        supports_tools=bool(card and "tools" in card.features),
    )
