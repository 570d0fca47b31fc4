"""`modelhost summarize`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from modelhost.cli.client import HostClient, checked, connected_or_started, refused
from modelhost.cli.options import config_option, url_option
from modelhost.cli.own_host import no_start_option
from modelhost.cli.progress import SummaryLine
from modelhost.cli.recordings import Recording, recordings_of


@click.command("summarize")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@config_option
@url_option
@no_start_option
@click.option("-m", "--model", help="Who summarises; by default the only one that can, or the route's.")
@click.option("--generator", help="The model that writes; by default the summarizer's own.")
@click.option("--persona", help="For whom, as in `developer`; by default as suits the text.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest summary.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write; by default standard output."
)
def summarize_command(
    files: tuple[str, ...],
    config_path: str | None,
    url: str | None,
    no_start: bool,
    model: str | None,
    generator: str | None,
    persona: str | None,
    max_tokens: int | None,
    output: Path | None,
) -> None:
    """Summarise code, logs and documents; the FILE `-` is standard input.

    The summaries of several stand under the names of their files. A file that fails stops no other; the exit status is 1 then.

    Uses the running host, or one that lives as long as the command.
    """
    settings = {"model": model, "generator": generator, "persona": persona, "max_tokens": max_tokens}
    form = {name: str(value) for name, value in settings.items() if value is not None} | {"stream": "true"}
    with connected_or_started(url, config_path, no_start=no_start, announce=True) as client, recordings_of(files) as texts:
        made = _summaries(client, texts, form, shown=output is None)
    if output is not None and made:
        _write(output, "".join(made))
    if len(made) < len(texts):
        raise click.exceptions.Exit(1)


def _summaries(client: HostClient, texts: list[Recording], form: dict[str, str], *, shown: bool) -> list[str]:
    """Return the summaries that could be made, one after the other; with their heads where there are several texts."""
    made: list[str] = []
    for text in texts:
        apart = "\n" if made else ""
        head = f"{apart}# {text.name}\n\n" if len(texts) > 1 else ""
        summary = _summary_or_none(client, text, form, head, shown=shown)
        if summary is not None:
            made.append(summary)
    return made


def _summary_or_none(client: HostClient, text: Recording, form: dict[str, str], head: str, *, shown: bool) -> str | None:
    """Return a text's summary after its head, `shown` while it is written; None for one that failed, which has been said then."""
    written = ""
    try:
        for piece in _pieces(client, text, form, seen=shown and sys.stdout.isatty()):
            new = piece if written else head + piece
            written += new
            if shown:
                click.echo(new, nl=False)
    except click.ClickException as error:
        if shown and written:
            click.echo()
        click.echo(f"Error: {text.name}: {error.message}", err=True)
        return None
    except OSError as error:
        click.echo(f"Error: {text.name}: {error.strerror}", err=True)
        return None
    return written


def _pieces(client: HostClient, text: Recording, form: dict[str, str], *, seen: bool) -> Iterator[str]:
    """Yield a summary as it is written, a line break at its end; standard error says how far it is until words are `seen`."""
    with SummaryLine(text.name, until_words=seen) as line, text.path.open("rb") as file:
        upload = {"file": (Path(text.name).name, file)}
        try:
            with client.stream("POST", "/summarize", data=form, files=upload) as response:
                if response.is_error:
                    response.read()
                    checked(response)
                yield from _told(response, line, text.name)
        except httpx.HTTPError as error:
            raise click.ClickException(f"the host at {client.base_url} went away ({type(error).__name__})") from None


def _told(response: httpx.Response, line: SummaryLine, name: str) -> Iterator[str]:
    last = ""
    for event in _events(response):
        match event:
            case {"error": {"message": str()} as error}:
                raise refused(error)
            case {"type": "summary.progress", "fraction": fraction, "step": step}:
                line.read(step, fraction)
            case {"type": "summary.delta", "delta": str(delta)}:
                line.wrote(len(delta))
                last = delta
                yield delta
            case {"type": "summary.done", "finish_reason": reason}:
                line.stop()
                if not last.endswith("\n"):
                    yield "\n"
                if reason == "length":
                    click.echo(f"{name}: the summary was cut off; --max-tokens says how long it may be", err=True)
                return
    raise click.ClickException("the host ended its answer too early; its log says why")


def _events(response: httpx.Response) -> Iterator[Any]:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
