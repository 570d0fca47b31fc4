"""Options that several commands share."""

import click

config_option = click.option(
    "--config", "config_path", type=click.Path(dir_okay=False), help="Configuration file; by default ./modelhost.toml."
)
url_option = click.option("--url", envvar="MODELHOST_URL", help="A running host; by default where the configuration says.")
