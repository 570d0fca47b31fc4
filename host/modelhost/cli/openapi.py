"""`modelhost openapi`."""

import json

import click


@click.command("openapi")
def openapi_command() -> None:
    """Print the OpenAPI document of the host's routes: for generating clients, without a running host."""
    from modelhost.http.admin.openapi import own_document

    click.echo(json.dumps(own_document(""), indent=2, ensure_ascii=False))
