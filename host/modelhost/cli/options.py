"""Options that several commands share."""

import click

config_option = click.option(
    "--config", "config_path", type=click.Path(dir_okay=False), help="Configuration file; by default ./modelhost.toml."
)
url_option = click.option("--url", envvar="MODELHOST_URL", help="A running host; by default where the configuration says.")

NO_MODELS = "it has no models; the starter's are served only where there is no file. Add [models.NAME] tables to it"
"""Said of a configuration that serves nothing."""
