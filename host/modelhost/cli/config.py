"""`modelhost config`."""

import json
import sys

import click
import msgspec

from modelhost.cli.options import NO_MODELS, config_option
from modelhost.config import load_config
from modelhost.config.checks import contradictions, option_problems, other_problems
from modelhost.config.json_schema import schema_of
from modelhost.config.secrecy import shown
from modelhost.contract.errors import ConfigError
from modelhost.contract.log import Log, silent
from modelhost.host import ModelHost, wanted_plugins
from modelhost.http.server.bind import among, check_openness, tls_context
from modelhost.plugins.discovery import describe_all, installed


@click.group("config")
def config_command() -> None:
    """Check, show or describe the configuration."""


@config_command.command("check")
@config_option
@click.option("--strict", is_flag=True, help="Exit with 2, not 1, when models cannot be served.")
def check(config_path: str | None, strict: bool) -> None:
    """Say whether the configuration is right, and what keeps models from serving; exit status 2 and 1."""
    loaded = load_config(config_path)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    plugins = describe_all(wanted_plugins(loaded))
    if problems := option_problems(loaded, plugins):
        raise ConfigError("\n       ".join(problems))
    host = ModelHost(loaded, plugins, Log(silent))
    if problems := contradictions(host):
        raise ConfigError("\n       ".join(problems))
    server = loaded.config.server
    check_openness(server, keys=bool(loaded.config.keys))
    tls_context(server, loaded.folder)
    among(server.trusted_proxies)
    names = [model.name for model in host.pool if model.config.enabled]
    wrong = other_problems(host)
    for name, problems in wrong.items():
        for problem in problems:
            click.echo(f"models.{name}: {problem}", err=True)
    if wrong:
        click.echo(f"{loaded.name} can be read, but {len(wrong)} of its {len(names)} models cannot be served")
        raise click.exceptions.Exit(2 if strict else 1)
    if not names:
        click.echo(f"Warning: {NO_MODELS}", err=True)
    click.echo(f"{loaded.name} is right: {', '.join(names) or 'no models are enabled'}")


@config_command.command("show")
@config_option
def show(config_path: str | None) -> None:
    """Print what the host would use, as JSON: includes, defaults and environment applied, secrets hidden."""
    loaded = load_config(config_path)
    click.echo(f"# {loaded.name}", err=True)
    click.echo(json.dumps(shown(msgspec.to_builtins(loaded.config)), indent=2))


@config_command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file, with the options of every installed plugin."""
    described = describe_all({(name, sys.executable): {} for name in installed()})
    click.echo(json.dumps(schema_of(list(described.values())), indent=2))
