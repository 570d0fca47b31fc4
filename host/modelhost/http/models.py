"""The models: what there is, what each can do, loading and unloading; and the plugins and workers behind them."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from litestar import Request, delete, get, post

from modelhost.errors import BadInputError
from modelhost.http.about import about
from modelhost.http.answering import JsonAnswer
from modelhost.http.reading import JsonBody, host_of
from modelhost.plugins import Plugin, Wanted, describe_all, installed
from modelhost.pool import Model
from modelhost.structs import Struct


class LoadBody(Struct):
    """`POST /v1/models/load`; `model_name` is an older client's word for `model`."""

    model: str | None = None
    model_name: str | None = None


_load_body = JsonBody(LoadBody)


def describe_model(model: Model) -> dict[str, Any]:
    """Give a model in OpenAI's shape, with what else is known of it."""
    card = model.card
    size = model.size_bytes()
    abilities = model.abilities
    inputs = card.inputs if card else ("text",)
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "modelhost",
        "abilities": abilities,
        "inputs": inputs,
        "features": card.features if card else None,
        "state": model.status.state,
        "plugin": model.plugin.name,
        "aliases": model.config.aliases,
        "context_length": card.context_length if card else None,
        "dimensions": card.dimensions if card else (),
        "voices": card.voices if card else (),
        "size_gb": None if size is None else round(size / 1e9, 3),
        "capabilities": {
            "transcription": "transcribe" in abilities,
            "chat": "generate" in abilities,
            "multimodal": len(inputs) > 1,
            "streaming": card is None or "streaming" in card.features,
        },
    }


@get("/v1/models", summary="List the models", opt=about("inference"))
async def list_models(request: Request[Any, Any, Any]) -> JsonAnswer:
    """OpenAI's list of models; those that are not enabled are left out."""
    models = [model for model in host_of(request).pool if model.config.enabled]
    return JsonAnswer({"object": "list", "data": await _described(describe_model, *models)})


@get("/v1/models/{name:path}", summary="Show a model", opt=about("inference"))
async def show_model(request: Request[Any, Any, Any], name: str) -> JsonAnswer:
    """One model, by name, alias or hub id; slashes may be sent as `%2F`."""
    (described,) = await _described(describe_model, _named(request, name))
    return JsonAnswer(described)


@post("/v1/models/load", status_code=200, summary="Load a model", opt=about("admin"))
async def load_model(request: Request[Any, Any, Any], body: bytes) -> JsonAnswer:
    """Load a model now rather than on first use; answers when it is ready. Goes on when the client leaves."""
    asked, headers = _load_body.read(request, body)
    name = asked.model or asked.model_name
    if not name:
        raise BadInputError("say which model", param="model", code="missing_required_parameter")
    model = _named(request, name)
    await model.load()
    (described,) = await _described(describe_model, model)
    return JsonAnswer(described, headers=headers)


@delete("/v1/models/{name:path}", status_code=200, summary="Unload a model", opt=about("admin"))
async def unload_model(request: Request[Any, Any, Any], name: str) -> JsonAnswer:
    """Take a model out of memory; its files stay. Running requests may finish first."""
    model = _named(request, name)
    freed = await model.unload(host_of(request).config.server.drain_seconds)
    return JsonAnswer({"id": model.name, "object": "model", "deleted": True, "state": model.status.state, "freed_bytes": freed})


async def _described(describe: Callable[[Model], dict[str, Any]], *models: Model) -> list[dict[str, Any]]:
    """Describe models in a thread: sizes are on disk, and adding up a large worker's memory takes the kernel a while."""
    return await asyncio.to_thread(lambda: [describe(model) for model in models])


def _named(request: Request[Any, Any, Any], name: str) -> Model:
    return host_of(request).router.find(name.removeprefix("/"))


@get("/v1/plugins", summary="List the plugins", opt=about("admin"))
async def list_plugins(request: Request[Any, Any, Any]) -> JsonAnswer:
    """Every installed plugin and extension, with the reason for those that cannot be used."""
    host = host_of(request)
    used = {plugin.name: plugin for plugin in host.plugins.values()}
    names = {name: [m.name for m in host.pool if m.plugin.name == name] for name in {*used, *installed()}}
    unused: Wanted = {(name, sys.executable): {} for name in names if name not in used}
    found = await asyncio.to_thread(describe_all, unused)
    host.plugins.update(found)  # asked once: one that hangs takes its ten seconds
    used |= {name: plugin for (name, _), plugin in found.items()}
    data = [describe_plugin(used[name], models) for name, models in sorted(names.items())]
    extensions = [{"name": name, "state": "active"} for name in host.extensions.names]
    extensions += [{"name": name, "state": "quarantined", "reason": why} for name, why in host.extensions.broken.items()]
    return JsonAnswer({"object": "list", "data": data, "extensions": extensions})


def describe_plugin(plugin: Plugin, models: list[str]) -> dict[str, Any]:
    """Give a plugin as JSON."""
    about = plugin.description
    return {
        "name": plugin.name,
        "state": "quarantined" if plugin.problem else "active",
        "reason": plugin.problem,
        "version": about and about.version,
        "distribution": about and about.distribution,
        "summary": about and about.summary,
        "hooks": about.hooks if about else (),
        "models": models,
    }


@get("/v1/workers", summary="List what runs", opt=about("admin"))
async def list_workers(request: Request[Any, Any, Any]) -> JsonAnswer:
    """The models that hold memory or are about to, with what they cost."""
    running = [model for model in host_of(request).pool if model.status.state not in ("cold", "disabled")]
    return JsonAnswer({"object": "list", "data": await _described(describe_worker, *running)})


@get("/v1/workers/{name:path}", summary="Show what a worker printed", opt=about("admin"))
async def show_worker(request: Request[Any, Any, Any], name: str) -> JsonAnswer:
    """One running model, with the last 64 KiB its worker printed."""
    model = _named(request, name)
    (described,) = await _described(describe_worker, model)
    return JsonAnswer({**described, "output": model.output()})


def describe_worker(model: Model) -> dict[str, Any]:
    """Give a running model as JSON."""
    status = model.status
    return {
        "id": model.name,
        "state": status.state,
        "reason": status.reason or None,
        "device": model.card.device if model.card else None,
        "memory_bytes": model.memory(),
        "in_flight": model.in_flight,
        "pid": model.pid,
        "restarts": status.restarts,
        "progress": None if model.progress is None else {"bytes": model.progress[0], "of": model.progress[1]},
    }
