"""`modelhost doctor`."""

import os
import platform
import sys
from importlib.metadata import version

import click

from modelhost.cli.client import ask, connected_or_started
from modelhost.cli.options import config_option, url_option
from modelhost.config import Loaded, load_config
from modelhost.config.checking import gpus, option_problems, other_problems
from modelhost.errors import ConfigError
from modelhost.extensions import Extensions
from modelhost.host import ModelHost, missing_from_starter, wanted_plugins
from modelhost.log import Log, silent
from modelhost.plugins import Plugin, describe_all, installed


class _Report:
    """Prints findings and remembers whether one is bad."""

    def __init__(self) -> None:
        self.sick = False

    def good(self, text: str) -> None:
        click.echo(f"{click.style('ok', fg='green')}   {text}")

    def note(self, text: str) -> None:
        click.echo(f"{click.style('--', fg='yellow')}   {text}")

    def bad(self, text: str) -> None:
        self.sick = True
        click.echo(f"{click.style('bad', fg='red')}  {text}")


@click.command("doctor")
@config_option
@url_option
@click.option("--model", help="Also send one real request to this model.")
def doctor_command(config_path: str | None, url: str | None, model: str | None) -> None:
    """Say what is installed, broken or missing, and what to type; exit status 1 when something is broken."""
    report = _Report()
    report.good(
        f"modelhost {version('modelhost')}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, {len(gpus()) // 2 or 'no'} NVIDIA GPUs"
    )
    described = describe_all({(name, sys.executable): {} for name in installed()})
    for plugin in described.values():
        if plugin.description:
            report.good(f"plugin {plugin.name} {plugin.description.version}: {', '.join(plugin.description.hooks)}")
        else:
            report.bad(f"plugin {plugin.name}: {plugin.problem}")
    extensions = Extensions(Log(silent))
    for name in extensions.names:
        report.good(f"extension {name}")
    for name, why in extensions.broken.items():
        report.bad(f"extension {name}: {why}")
    try:
        loaded = load_config(config_path)
    except ConfigError as error:
        report.bad(error.message)
    else:
        _look_at_models(loaded, describe_all(wanted_plugins(loaded)), report)
    if model:
        _try_out(model, url, config_path, report)
    if report.sick:
        raise click.exceptions.Exit(1)


def _look_at_models(loaded: Loaded, plugins: dict[tuple[str, str], Plugin], report: _Report) -> None:
    report.good(f"configuration: {loaded.name}")
    for warning in loaded.warnings:
        report.note(warning)
    problems = option_problems(loaded, plugins)
    for problem in problems:
        report.bad(problem)
    if problems:
        return
    host = ModelHost(loaded, plugins, Log(silent))
    if loaded.path is None:
        by_name = {name: plugin for (name, _), plugin in plugins.items()}
        for name, settings in loaded.config.models.items():
            if why := missing_from_starter(by_name[settings.plugin], name):
                report.note(f"model {name} is left out: {why}")
    wrong = other_problems(host)
    for name, texts in wrong.items():
        for text in texts:
            report.bad(f"models.{name}: {text}")
    for model in host.pool:
        if model.config.enabled and model.name not in wrong:
            later = "" if model.available() else " (its weights are fetched on first use)"
            report.good(f"model {model.name}: {', '.join(model.abilities)}{later}")


def _try_out(name: str, url: str | None, config_path: str | None, report: _Report) -> None:
    with connected_or_started(url, config_path) as client:
        try:
            about = ask(client, "GET", f"/v1/models/{name}")
            if "generate" not in about["abilities"]:
                ask(client, "POST", "/v1/models/load", json={"model": name})
                report.good(f"model {name} loads")
                return
            question = {"model": name, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
            answer = ask(client, "POST", "/v1/chat/completions", json=question)
        except click.ClickException as error:
            report.bad(f"model {name}: {error.message}")
        else:
            report.good(f"model {name} says: {answer['choices'][0]['message']['content']!r}")
