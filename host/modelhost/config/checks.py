"""What is wrong with a configuration beyond its spelling: options, plugins, weights, devices."""

from modelhost.authors.devices import nvidia_gpus
from modelhost.config.loader import Loaded
from modelhost.config.sources import parse_hub
from modelhost.contract.errors import ConfigError, ModelhostError, UnknownModelError
from modelhost.contract.types import Ability
from modelhost.host import ModelHost
from modelhost.plugins.discovery import Plugin
from modelhost.pool import Model


def option_problems(loaded: Loaded, plugins: dict[tuple[str, str], Plugin]) -> list[str]:
    """Name every option a plugin does not take as it stands: these are the operator's to mend, so a host does not start."""
    found = []
    for plugin in plugins.values():
        if plugin.description is None:
            continue
        for model, report in plugin.description.models.items():
            where = f"{loaded.origins.get(model, loaded.name)}: models.{model}.options"
            if report.problem:
                found.append(f"{where}{report.key or ''}: {report.problem}")
            for source in report.sources:
                if source.uri.startswith("hf:"):
                    try:
                        parse_hub(source.uri)
                    except ConfigError as error:
                        found.append(f"{where}.{source.option}: {error.message}")
    return found


def other_problems(host: ModelHost) -> dict[str, list[str]]:
    """Name for each model what will keep it from serving, though others serve: what `--strict` turns into an error."""
    models = [model for model in host.pool if model.config.enabled]
    return {model.name: problems for model in models if (problems := _problems_of(model))}


def contradictions(host: ModelHost) -> list[str]:
    """Name where the file wants of a model what it cannot do: mistakes of the operator's, so a host does not start."""
    routes = [(ability, target) for ability, targets in host.config.routes.items() for target in targets]
    found = [
        f"{host.loaded.name}: routes.{ability}: {problem}"
        for ability, target in routes
        if host.router.knows(target) and (problem := _cannot(host, target, ability))  # the starter names what may be left out
    ]
    for model in host.pool:
        if not model.config.enabled or model.plugin.description is None:
            continue
        where = f"{host.loaded.origins.get(model.name, host.loaded.name)}: models.{model.name}"
        for ability in set(model.config.abilities or ()) - set(model.plugin.description.hooks):
            hooks = ", ".join(model.plugin.description.hooks)
            found.append(f"{where}.abilities: the plugin {model.plugin.name!r} cannot {ability}; it can {hooks}")
        report = model.plugin.description.models.get(model.name)
        for option, (target, ability) in (report.asks if report else {}).items():
            if target and (problem := _cannot(host, target, ability, of=model)):
                found.append(f"{where}.options.{option}: {problem}")
    return found


def _cannot(host: ModelHost, target: str, ability: Ability, of: Model | None = None) -> str | None:
    """Say why a model that is named for something cannot do it, as far as is known before it was loaded."""
    try:
        asked = host.router.find(target)
    except UnknownModelError as error:
        return error.message
    if asked is of:
        return f"{target!r} is this model itself, which cannot ask itself"
    if asked.plugin.description is None or ability in asked.abilities:
        return None
    return f"{target!r} cannot {ability}; it can {', '.join(asked.abilities) or 'nothing'}"


def _problems_of(model: Model) -> list[str]:
    found = [] if model.problem is None else [model.problem]
    report = model.plugin.description.models.get(model.name) if model.plugin.description else None
    found += report.troubles if report else ()
    for weights in model.weights.sources:
        if model.config.download == "auto" and weights.uri.startswith("hf:"):
            continue
        try:
            weights.resolve("never")
        except ModelhostError as error:
            found.append(error.message)
    present = {name for gpu in nvidia_gpus() for name in gpu}
    return found + [f"devices: there is no GPU {gpu}" for gpu in model.config.devices if gpu not in present]
