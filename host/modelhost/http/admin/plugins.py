"""The plugins and extensions that are installed, with the reason for those that cannot be used."""

import asyncio
import sys
from typing import Any, Literal

from litestar import Request, get

from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability
from modelhost.http.admin.dialect import route_spec
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.plugins.discovery import Plugin, Wanted, describe_all, installed


class PluginAnswer(Struct):
    """A plugin, and why it cannot be used where that is so."""

    name: str
    state: Literal["active", "quarantined"]
    reason: str | None
    version: str | None
    distribution: str | None
    summary: str | None
    hooks: tuple[Ability, ...]
    models: list[str]
    """Those that the configuration gives it."""
    traceback: str | None = None
    """Of the exception that kept it from being imported."""


class ExtensionAnswer(Struct):
    """An extension, and why it cannot be used where that is so."""

    name: str
    state: Literal["active", "quarantined"]
    reason: str | None = None


class PluginList(Struct, tag_field="object", tag="list"):
    """The plugins and extensions that are installed."""

    data: list[PluginAnswer]
    extensions: list[ExtensionAnswer]


@get("/v1/plugins", summary="List the plugins", opt=route_spec("admin", tag="Models", answer=PluginList))
async def list_plugins(request: Request[Any, Any, Any]) -> JsonResponse:
    """Every installed plugin and extension, with the reason for those that cannot be used."""
    host = host_of(request)
    used = {plugin.name: plugin for plugin in host.plugins.values()}
    names = {name: [m.name for m in host.pool if m.plugin.name == name] for name in {*used, *installed()}}
    unused: Wanted = {(name, sys.executable): {} for name in names if name not in used}
    found = await asyncio.to_thread(describe_all, unused)
    host.plugins.update(found)  # asked once: one that hangs takes its ten seconds
    used |= {name: plugin for (name, _), plugin in found.items()}
    data = [describe_plugin(used[name], models) for name, models in sorted(names.items())]
    extensions = [ExtensionAnswer(name=name, state="active") for name in host.extensions.names]
    broken = host.extensions.broken.items()
    extensions += [ExtensionAnswer(name=name, state="quarantined", reason=why) for name, why in broken]
    return JsonResponse(PluginList(data=data, extensions=extensions))


def describe_plugin(plugin: Plugin, models: list[str]) -> PluginAnswer:
    """Say what is known of a plugin."""
    description = plugin.description
    return PluginAnswer(
        name=plugin.name,
        state="quarantined" if plugin.problem else "active",
        reason=plugin.problem,
        version=description.version if description else None,
        distribution=description.distribution if description else None,
        summary=description.summary if description else None,
        hooks=description.hooks if description else (),
        models=models,
        traceback=plugin.traceback,
    )
