"""`modelhost models`, `show`, `ps`, `load`, `stop` and `plugins`: what a running host has, and what is installed."""

import sys
from typing import Any
from urllib.parse import quote

import click

from modelhost.cli.client import ask, connected
from modelhost.cli.options import config_option, url_option
from modelhost.cli.progress import loading
from modelhost.cli.tables import json_option, show_json, show_table
from modelhost.config import load_config
from modelhost.contract.errors import ConfigError
from modelhost.planning import wanted_plugins
from modelhost.plugins.discovery import Wanted, describe_all, installed


@click.command("models")
@config_option
@url_option
@json_option
def models_command(config_path: str | None, url: str | None, as_json: bool) -> None:
    """List the models of a running host: what each can do, and its state."""
    with connected(url, config_path) as client:
        models = ask(client, "GET", "/v1/models")["data"]
    if as_json:
        show_json(models)
        return
    show_table(
        ["MODEL", "ALIASES", "PLUGIN", "ABILITIES", "STATE", "GB"],
        [[m["id"], ", ".join(m["aliases"]), m["plugin"], ", ".join(m["abilities"]), m["state"], m["size_gb"]] for m in models],
    )


@click.command("show")
@click.argument("model")
@config_option
@url_option
@json_option
def show_command(model: str, config_path: str | None, url: str | None, as_json: bool) -> None:
    """Show what MODEL is and can do: abilities, inputs, features, context, voices, state."""
    with connected(url, config_path) as client:
        facts = ask(client, "GET", f"/v1/models/{quote(model, safe='')}")
    if as_json:
        show_json(facts)
        return
    facts = {
        key: value for key, value in facts.items() if key not in ("object", "capabilities") and value not in (None, "", [], {})
    }
    show_table(
        ["", ""], [[key, ", ".join(map(str, value)) if isinstance(value, list) else value] for key, value in facts.items()]
    )


@click.command("ps")
@config_option
@url_option
@json_option
@click.option("--output", "name", metavar="MODEL", help="Show what this model's worker last printed.")
@click.option("--failure", "failed", metavar="MODEL", help="Show the last exception of this model's plugin, with its traceback.")
def ps_command(config_path: str | None, url: str | None, as_json: bool, name: str | None, failed: str | None) -> None:
    """List the models that run, with their memory."""
    if as_json and (name or failed):
        raise click.UsageError("--output and --failure show text as it was; leave --json out")
    with connected(url, config_path) as client:
        if failed:
            failure = ask(client, "GET", f"/v1/workers/{quote(failed, safe='')}")["last_failure"]
            click.echo(
                f"in {failure['what']}:\n{failure['traceback']}" if failure else f"{failed} has not failed since the host started"
            )
            return
        if name:
            click.echo(ask(client, "GET", f"/v1/workers/{quote(name, safe='')}")["output"])
            return
        workers = ask(client, "GET", "/v1/workers")["data"]
    if as_json:
        show_json(workers)
        return
    show_table(
        ["MODEL", "STATE", "DEVICE", "MEMORY", "REQUESTS", "RESTARTS", "REASON"],
        [
            [
                w["id"],
                w["state"],
                w["device"],
                f"{w['memory_bytes'] / 2**20:.0f} MB" if w["memory_bytes"] else "",
                w["in_flight"],
                w["restarts"],
                _progress(w) or w["reason"],
            ]
            for w in workers
        ],
    )


def _progress(worker: dict[str, Any]) -> str | None:
    progress = worker["progress"]
    if not progress or not progress["of"]:
        return None
    return f"fetching: {100 * progress['bytes'] // progress['of']} % of {progress['of'] / 1e9:.1f} GB"


@click.command("load")
@click.argument("model")
@config_option
@url_option
def load_command(model: str, config_path: str | None, url: str | None) -> None:
    """Load MODEL now, rather than on first use."""
    with connected(url, config_path) as client, loading(client, model):
        loaded = ask(client, "POST", "/v1/models/load", json={"model": model})
    click.echo(f"{loaded['id']} is {loaded['state']}")


@click.command("stop")
@click.argument("model")
@config_option
@url_option
def stop_command(model: str, config_path: str | None, url: str | None) -> None:
    """Take MODEL out of memory; its files stay."""
    with connected(url, config_path) as client:
        stopped = ask(client, "DELETE", f"/v1/models/{quote(model, safe='')}")
    click.echo(f"{stopped['id']} is {stopped['state']}; {stopped['freed_bytes'] / 2**20:.0f} MB came free")


@click.command("plugins")
@config_option
def plugins_command(config_path: str | None) -> None:
    """List the plugins that are installed, here and for models with a `python` of their own; with what is wrong with any."""
    requested: Wanted = {(name, sys.executable): {} for name in installed()}
    try:
        elsewhere = wanted_plugins(load_config(config_path))
    except ConfigError as error:  # what is installed can be listed all the same
        click.echo(f"Warning: {error.message}", err=True)
        elsewhere = {}
    requested |= {key: {} for key in elsewhere if key[1] != sys.executable}
    rows = []
    for plugin in describe_all(requested).values():
        about = plugin.description
        where = "" if plugin.python == sys.executable else plugin.python
        if about is None:
            rows.append([plugin.name, None, None, f"quarantined: {plugin.problem}", where])
        else:
            rows.append([about.name, about.version, ", ".join(about.hooks), about.summary, where])
    show_table(["PLUGIN", "VERSION", "ABILITIES", "", "PYTHON"], rows)
