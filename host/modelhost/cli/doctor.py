"""`modelhost doctor`."""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import click

from modelhost.authors.devices import nvidia_gpus
from modelhost.cli.client import ask, connected_or_started
from modelhost.cli.options import config_option, url_option
from modelhost.cli.trials import TRIALS
from modelhost.config import load_config
from modelhost.contract.errors import ConfigError
from modelhost.contract.log import Log, silent
from modelhost.http.server.bind import check_server
from modelhost.planning import Plan, PlannedModel
from modelhost.plugins.discovery import describe_all, installed
from modelhost.plugins.extensions import Extensions


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
@click.option("--model", help="Also load this model, and send it a real request for each of its abilities.")
def doctor_command(config_path: str | None, url: str | None, model: str | None) -> None:
    """Say what is installed, broken or missing, and what to type; exit status 1 when something is broken."""
    report = _Report()
    report.good(
        f"modelhost {version('modelhost')}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, {len(nvidia_gpus()) or 'no'} NVIDIA GPUs"
    )
    described = describe_all({(name, sys.executable): {} for name in installed()})
    for plugin in described.values():
        if plugin.description:
            report.good(f"plugin {plugin.name} {plugin.description.version}: {', '.join(plugin.description.hooks)}")
        else:
            report.bad(f"plugin {plugin.name}: {plugin.problem}")
    try:
        plan = Plan.of(load_config(config_path))
    except ConfigError as error:
        _look_at_extensions({}, report)
        report.bad(error.message)
    else:
        _look_at_extensions(plan.config.extensions, report)
        _look_at_models(plan, report)
    if model:
        _try_out(model, url, config_path, report)
    if report.sick:
        raise click.exceptions.Exit(1)


def _look_at_extensions(options: dict[str, dict[str, Any]], report: _Report) -> None:
    extensions = Extensions(Log(silent), options)
    for name in extensions.names:
        report.good(f"extension {name}")
    for name, why in extensions.broken.items():
        report.bad(f"extension {name}: {why}")


def _look_at_models(plan: Plan, report: _Report) -> None:
    report.good(f"configuration: {plan.loaded.name}")
    for warning in plan.loaded.warnings:
        report.note(warning)
    for mistake in plan.mistakes:
        report.bad(mistake)
    try:
        check_server(plan.config.server, plan.loaded.folder, keys=bool(plan.keys))
    except ConfigError as error:
        report.bad(error.message)
    if plan.mistakes:
        return
    for name, why in plan.left_out.items():
        report.note(f"model {name} is left out: {why}")
    wrong = plan.troubles()
    for name, texts in wrong.items():
        for text in texts:
            report.bad(f"models.{name}: {text}")
    for model in plan.enabled:
        if model.name not in wrong:
            _tell_of(model, report)


def _tell_of(model: PlannedModel, report: _Report) -> None:
    """Report what was found of a model that is configured well; without weights only its options were looked at."""
    what = f"model {model.name}: {', '.join(model.abilities_by(model.card))}"
    if not model.sources:
        report.note(f"{what} (only its options were looked at; `modelhost doctor --model {model.name}` tries it)")
    elif all(weights.find() for weights in model.sources):
        report.good(what)
    else:
        report.good(f"{what} (its weights are fetched on first use)")


def _try_out(name: str, url: str | None, config_path: str | None, report: _Report) -> None:
    with connected_or_started(url, config_path) as client:
        try:
            # What it can do is known for sure only when it is loaded.
            abilities = ask(client, "POST", "/v1/models/load", json={"model": name})["abilities"]
        except click.ClickException as error:
            report.bad(f"model {name}: {error.message}")
            return
        report.good(f"model {name} is loaded")
        for trial in (TRIALS[ability] for ability in abilities if ability in TRIALS):
            try:
                report.good(f"model {name} {trial(client, name)}")
            except click.ClickException as error:
                report.bad(f"model {name}: {error.message}")
