"""The command line. Each command lives in a module that is imported when it is used: `--help` stays quick."""

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "serve": ("serve", "Run the host."),
    "chat": ("chat", "Talk to a model."),
    "transcribe": ("transcribe", "Write down recordings."),
    "say": ("say", "Say a text."),
    "summarize": ("summarize", "Summarise code, logs and documents."),
    "embed": ("embed", "Turn texts into vectors."),
    "models": ("models", "List the models."),
    "show": ("models", "Show what a model is and can do."),
    "ps": ("models", "List what runs, and what it costs."),
    "load": ("models", "Load a model now."),
    "stop": ("models", "Unload a model."),
    "plugins": ("models", "List the installed plugins."),
    "plugin": ("plugin", "Make a plugin of one's own."),
    "openapi": ("openapi", "Print the OpenAPI document."),
    "keys": ("keys", "Make API keys."),
    "config": ("config", "Check, show or describe the configuration."),
    "doctor": ("doctor", "Find out what is installed, broken or missing."),
}
"""Command → (module, what it does)."""

MEANT = {"run": "chat", "generate": "chat", "list": "models", "ls": "models", "pull": "load", "unload": "stop", "rm": "stop"}
"""Commands of comparable programs, and which of ours comes nearest."""


class LazyGroup(click.Group):
    """Knows its commands by name, and imports the one that is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"modelhost.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed; of one that is none, say which may have been meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            near = MEANT.get(args[0]) or next(iter(get_close_matches(args[0], COMMANDS, n=1)), None)
            if near is None:
                raise
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean `modelhost {near}`?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"modelhost {version('modelhost')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version.")
def cli() -> None:
    """One server for your own speech and language models.

    Start with `modelhost serve`, and ask `modelhost doctor` when something is missing.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line and an exit status, never a traceback."""
    try:
        status: Any = cli.main(arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        # Imported here: most commands end well, and `--help` must not pay for it.
        from modelhost.contract.errors import ConfigError, ModelhostError

        if not isinstance(error, ModelhostError):
            raise
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    sys.exit(status if isinstance(status, int) else 0)
