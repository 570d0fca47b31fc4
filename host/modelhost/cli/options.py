"""Options that several commands share."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

config_option = click.option(
    "--config", "config_path", type=click.Path(dir_okay=False), help="Configuration file; by default ./modelhost.toml."
)
AUTHORITY = "MODELHOST_CACERT"
"""Variable that names a file of certificates to trust, as `--cacert` does."""

F = TypeVar("F", bound=Callable[..., Any])

_url = click.option("--url", envvar="MODELHOST_URL", help="A running host; by default where the configuration says.")
_authority = click.option(
    "--cacert",
    envvar=AUTHORITY,
    type=click.Path(exists=True, dir_okay=False),
    expose_value=False,
    callback=lambda context, _, file: context.meta.update({AUTHORITY: file}),
    help="Certificates to trust beside the system's, in PEM, for a host with HTTPS of an authority of its own.",
)


def url_option(command: F) -> F:
    """Add the options that say which host a command asks, and whom to trust that it is this host."""
    return _url(_authority(command))


def authority() -> str | None:
    """Return the file of certificates that was named for the running command."""
    context = click.get_current_context(silent=True)
    named = context.meta.get(AUTHORITY) if context else None
    return named or os.environ.get("SSL_CERT_FILE")


NO_MODELS = "it has no models; the starter's are served only where there is no file. Add [models.NAME] tables to it"
"""Said of a configuration that serves nothing."""
