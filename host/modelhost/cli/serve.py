"""`modelhost serve`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import click
import msgspec

from modelhost.cli.options import NO_MODELS, config_option
from modelhost.config import Loaded, load_config
from modelhost.contract.errors import ConfigError
from modelhost.contract.log import Level
from modelhost.host import ModelHost
from modelhost.planning import Plan
from modelhost.plugins.discovery import Plugin, installed

MISTAKE = 2
"""Exit status of a command whose configuration is wrong: what click uses for wrong usage."""


@click.command("serve")
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--log-level", type=click.Choice(get_args(Level)), help="What is logged.")
@click.option("--strict", is_flag=True, help="Do not start unless every model can be served.")
@click.option(
    "--debug-plugin",
    "debug_plugins",
    multiple=True,
    metavar="NAME",
    help="Print every exception of this plugin whole, as its author needs it. It may hold what people said.",
)
@click.option("--reload", is_flag=True, help="Start again whenever the configuration or a plugin's code changes.")
def serve_command(
    config_path: str | None,
    host: str | None,
    port: int | None,
    log_level: str | None,
    strict: bool,
    debug_plugins: tuple[str, ...],
    reload: bool,
) -> None:
    """Run the host until Ctrl-C or SIGTERM."""
    if reload:
        _serve_again_and_again(load_config(config_path))
        return
    loaded = _with(load_config(config_path), host=host, port=port, log_level=log_level)
    # Imported here: half of the time a start takes, and other commands do without.
    from modelhost.http.server.bind import address_of, bind, check_server
    from modelhost.http.server.run import run
    from modelhost.http.server.temporary_folder import scratch
    from modelhost.observability.logs import host_log, say, set_up

    server = loaded.config.server
    set_up(server.log_level, server.log_format, server.log_levels)
    log = host_log()
    for warning in loaded.warnings:
        log.warning(warning)
    plan = Plan.of(loaded)
    check_server(server, loaded.folder, keys=bool(plan.keys))
    _show_imports(plan.plugins.values(), debug_plugins)
    plan.check()
    if strict and (wrong := plan.troubles()):
        raise ConfigError("\n       ".join(f"models.{name}: {text}" for name, texts in wrong.items() for text in texts))
    sock = bind(server)

    def make_host() -> ModelHost:
        made = ModelHost(plan, log)
        made.debug_plugins = frozenset(debug_plugins)
        for model in plan.models:
            if model.problem:
                log.warning("a model cannot be served", model=model.name, reason=model.problem)
        return made

    def say_ready() -> None:
        say(f"modelhost is serving {loaded.name} on {address_of(sock, server)}")
        if not any(model.enabled for model in loaded.config.models.values()):
            say(f"Warning: {NO_MODELS}")
        for name, why in plan.left_out.items():
            say(f"  without {name}: {why}")

    try:
        with scratch():
            run(make_host, sock, say_ready)
    except ConfigError:
        sock.close()
        raise


def _show_imports(plugins: Iterable[Plugin], debugged: tuple[str, ...]) -> None:
    """Print why plugins that are debugged cannot be imported. Raises `ConfigError` for one that no model uses."""
    found = {plugin.name: plugin for plugin in plugins}
    for name in debugged:
        if name not in found:
            raise ConfigError(f"--debug-plugin {name}: no model has this plugin; there are: {', '.join(sorted(found)) or 'none'}")
        if found[name].traceback:
            click.echo(f"plugin {name} cannot be imported:\n{found[name].traceback}", err=True)


def _with(loaded: Loaded, **changes: object) -> Loaded:
    """Put what was typed over what the file says."""
    typed = {key: value for key, value in changes.items() if value is not None}
    server = msgspec.structs.replace(loaded.config.server, **typed)
    return msgspec.structs.replace(loaded, config=msgspec.structs.replace(loaded.config, server=server))


def _serve_again_and_again(loaded: Loaded) -> None:
    from watchfiles import PythonFilter, watch

    watched = {Path(__file__).parents[1]}
    watched |= {path.parent for path in (loaded.path, *loaded.origins.values()) if path}
    for entries in installed().values():
        spec = find_spec(entries[0].module.partition(".")[0])
        watched |= {Path(folder) for folder in (spec.submodule_search_locations or () if spec else ())}
    command = [sys.executable, "-m", "modelhost", *(word for word in sys.argv[1:] if word != "--reload")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # on the way out the server below is stopped as well
    changes = watch(*watched, watch_filter=PythonFilter(extra_extensions=(".toml", ".env")))
    while True:
        with subprocess.Popen(command, env=os.environ.copy()) as server:
            try:
                while next(changes, None) is not None:
                    if server.poll() is not None or _is_sound(loaded.path):
                        break
                else:
                    break
            except KeyboardInterrupt:
                break
            finally:
                server.terminate()
                server.wait()
        click.echo("something changed: starting again", err=True)


def _is_sound(path: Path | None) -> bool:
    """Return whether a host could start with what the files say now; what is wrong is printed, and the running host goes on."""
    command = [sys.executable, "-m", "modelhost", "config", "check", *(("--config", str(path)) if path else ())]
    checked = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if checked.returncode != MISTAKE:
        return True
    click.echo(f"{checked.stderr.strip()}\nsomething changed, but not for the better: the host goes on as it was", err=True)
    return False
