"""`modelhost openapi`."""

import json

import click


@click.command("openapi")
def openapi_command() -> None:
    """Print the OpenAPI document of the host's routes: for generating clients, without a running host."""
    from modelhost.http.app import DOCUMENT

    click.echo(json.dumps(DOCUMENT.value(), indent=2, ensure_ascii=False))
