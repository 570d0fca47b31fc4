"""`modelhost embed`."""

import contextlib
import json
import sys
from pathlib import Path

import click

from modelhost.cli.client import ask, connected_or_started
from modelhost.cli.options import config_option, url_option
from modelhost.cli.own_host import no_start_option


@click.command("embed")
@click.argument("inputs", nargs=-1, required=True, metavar="TEXT|FILE...")
@config_option
@url_option
@no_start_option
@click.option("-m", "--model", help="Which model; by default the only one that can, or the route's.")
@click.option("--dimensions", type=click.IntRange(1), help="Length of the vectors; by default the model's own.")
@click.option("--prompt", help="What the texts are to the model, as in `query` or `document`.")
def embed_command(
    inputs: tuple[str, ...],
    config_path: str | None,
    url: str | None,
    no_start: bool,
    model: str | None,
    dimensions: int | None,
    prompt: str | None,
) -> None:
    """Turn texts into vectors: a line of JSON each, in the order of the texts.

    What is the name of a file is read, as one text; so is standard input, which is `-`. All else is the text itself.

    Uses the running host, or one that lives as long as the command.
    """
    texts = [_text_of(value) for value in inputs]
    settings = {"model": model, "dimensions": dimensions, "prompt_name": prompt}
    body = {name: value for name, value in settings.items() if value is not None}
    with connected_or_started(url, config_path, no_start=no_start, announce=True) as client:
        answer = ask(client, "POST", "/v1/embeddings", json={**body, "input": texts, "encoding_format": "float"})
    for row in answer["data"]:
        click.echo(json.dumps(row["embedding"]))


def _text_of(value: str) -> str:
    name = "standard input" if value == "-" else click.format_filename(value)
    try:
        if value == "-":
            return sys.stdin.buffer.read().decode()
        return Path(value).read_bytes().decode() if _is_file(value) else value
    except OSError as error:
        raise click.ClickException(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{name} is not UTF-8; convert it, or name a text file") from None


def _is_file(value: str) -> bool:
    with contextlib.suppress(OSError):  # a text may be longer than a name can be
        return Path(value).is_file()
    return False
