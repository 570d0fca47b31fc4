"""`modelhost config`."""

import json
import sys
from typing import Any

import click
import msgspec

from modelhost.cli.options import NO_MODELS, config_option
from modelhost.cli.tables import json_option, show_json, show_table
from modelhost.config import Loaded, load_config
from modelhost.config.secrecy import shown, shown_url
from modelhost.http.server.bind import check_server
from modelhost.planning import Plan, PlannedModel
from modelhost.plugins import extensions
from modelhost.plugins.config_schema import schema_of
from modelhost.plugins.discovery import describe_all, installed


@click.group("config")
def config_command() -> None:
    """Check, show or describe the configuration."""


@config_command.command("check")
@config_option
@click.option("--strict", is_flag=True, help="Exit with 2, not 1, when models cannot be served.")
def check(config_path: str | None, strict: bool) -> None:
    """Say whether the configuration is right, and what keeps models from serving; exit status 2 and 1."""
    plan = Plan.of(_loaded(config_path))
    plan.check()
    check_server(plan.config.server, plan.loaded.folder, keys=bool(plan.keys))
    names = [model.name for model in plan.enabled]
    wrong = plan.troubles()
    for name, problems in wrong.items():
        for problem in problems:
            click.echo(f"models.{name}: {problem}", err=True)
    if wrong:
        click.echo(f"{plan.loaded.name} can be read, but {len(wrong)} of its {len(names)} models cannot be served")
        raise click.exceptions.Exit(2 if strict else 1)
    if not names:
        click.echo(f"Warning: {NO_MODELS}", err=True)
    click.echo(f"{plan.loaded.name} is right: {', '.join(names) or 'no models are enabled'}")


@config_command.command("plan")
@config_option
@json_option
def plan_command(config_path: str | None, as_json: bool) -> None:
    """Print what would be served, from where, and with what problem; nothing is loaded or fetched, and no port is taken."""
    plan = Plan.of(_loaded(config_path))
    told = [_told(model) for model in plan.models]
    if as_json:
        facts = {"config": plan.loaded.name, "models": told, "left_out": plan.left_out, "mistakes": plan.mistakes}
        show_json(facts)
    else:
        click.echo(f"# {plan.loaded.name}", err=True)
        rows = [[*(_cell(one[key]) for key in _COLUMNS), _state(one)] for one in told]
        show_table([*(key.upper() for key in _COLUMNS), ""], rows)
        for name, why in plan.left_out.items():
            click.echo(f"without {name}: {why}", err=True)
    plan.check()


_COLUMNS = ("model", "plugin", "run", "devices", "abilities", "weights")


def _told(model: PlannedModel) -> dict[str, Any]:
    """Say what is known of a model before it is loaded."""
    return {
        "model": model.name,
        "enabled": model.config.enabled,
        "aliases": model.config.names,
        "plugin": model.plugin.name,
        "version": model.plugin.description.version if model.plugin.description else None,
        "python": model.plugin.python,
        "run": model.run,
        "devices": model.config.devices,
        "abilities": model.abilities_by(model.card),
        "weights": [shown_url(source.uri) for source in model.sources],
        "revision": model.revision,
        "problems": model.troubles() if model.config.enabled else [],
    }


def _cell(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, (tuple, list)) else value


def _state(told: dict[str, Any]) -> str:
    return "; ".join(told["problems"]) if told["enabled"] else "not enabled"


def _loaded(config_path: str | None) -> Loaded:
    """Read the configuration, and print its warnings."""
    loaded = load_config(config_path)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return loaded


@config_command.command("show")
@config_option
def show(config_path: str | None) -> None:
    """Print what the host would use, as JSON: includes, defaults and environment applied, secrets hidden."""
    loaded = load_config(config_path)
    click.echo(f"# {loaded.name}", err=True)
    click.echo(json.dumps(shown(msgspec.to_builtins(loaded.config)), indent=2))


@config_command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file, with the options of every installed plugin and extension."""
    described = describe_all({(name, sys.executable): {} for name in installed()})
    click.echo(json.dumps(schema_of(list(described.values()), extensions.schemas()), indent=2))
