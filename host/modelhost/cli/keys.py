"""`modelhost keys`."""

import hashlib
import secrets
from typing import get_args

import click

from modelhost.config.schema import Scope


@click.group("keys")
def keys_command() -> None:
    """Make API keys."""


@keys_command.command("new")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(get_args(Scope)), help="What it is good for; may be given again."
)
def new(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key: the lines for modelhost.toml go to standard output, the key itself, this once, to standard error.

    For example: `modelhost keys new alice >> modelhost.toml`.
    """
    key = f"mh-{secrets.token_urlsafe(32)}"
    listed = ", ".join(f'"{scope}"' for scope in scopes or ("inference",))
    click.echo(f'\n[keys."{name}"]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\nscopes = [{listed}]')
    click.echo(f"The key of {name}, shown only now: {key}", err=True)
