"""`modelhost say`."""

import contextlib
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
import httpx

from modelhost.cli.client import checked, connected_or_started
from modelhost.cli.options import config_option, url_option
from modelhost.cli.own_host import no_start_option

FORMATS = {".wav": "wav", ".mp3": "mp3", ".opus": "opus", ".ogg": "opus", ".aac": "aac", ".flac": "flac", ".pcm": "pcm"}
"""Suffix → format."""


@click.command("say")
@click.argument("text")
@config_option
@url_option
@no_start_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write; by default standard output."
)
@click.option("-m", "--model", help="Which model; by default the only one that can, or the route's.")
@click.option("--voice", help="Which of the model's voices; by default its first.")
@click.option(
    "--format", "form", type=click.Choice([*dict.fromkeys(FORMATS.values())]), help="By default as the file is named, else wav."
)
@click.option("--speed", type=click.FloatRange(0.25, 4), help="1 is the voice's own.")
@click.option("--sample-rate", type=click.IntRange(8000, 192_000), help="Hz; by default the voice's own.")
def say_command(
    text: str,
    config_path: str | None,
    url: str | None,
    no_start: bool,
    output: Path | None,
    model: str | None,
    voice: str | None,
    form: str | None,
    speed: float | None,
    sample_rate: int | None,
) -> None:
    """Say TEXT, or what standard input brings if it is `-`; the sound is written while it is being made.

    Uses the running host, or one that lives as long as the command.
    """
    if output is None and sys.stdout.isatty():
        raise click.UsageError("a terminal cannot show sound; name a file with -o, or send it on: modelhost say … | aplay")
    payload = {
        "input": sys.stdin.read() if text == "-" else text,
        "response_format": form or _format_of(output),
        "stream": True,
        "model": model,
        "voice": voice,
        "speed": speed,
        "sample_rate": sample_rate,
    }
    body = {key: value for key, value in payload.items() if value is not None}
    with connected_or_started(url, config_path, no_start=no_start, announce=True) as client:
        sound = _sound(client, body)
        if output is None:
            for chunk in sound:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
        else:
            _write(sound, output)


def _format_of(output: Path | None) -> str:
    if output is None:
        return "wav"
    form = FORMATS.get(output.suffix.lower())
    if form is None:
        raise click.UsageError(
            f"{output.name} does not say which format it is to have; add --format, or one of {', '.join(FORMATS)}"
        )
    return form


def _sound(client: httpx.Client, body: dict[str, Any]) -> Iterator[bytes]:
    """Yield the sound piece by piece; raises `ClickException` before the first when it is refused."""
    try:
        with client.stream("POST", "/v1/audio/speech", json=body) as response:
            if response.is_error:
                response.read()
                checked(response)
            yield from response.iter_bytes()
    except httpx.HTTPError as error:
        raise click.ClickException(f"the host at {client.base_url} went away ({type(error).__name__})") from None


def _write(sound: Iterator[bytes], path: Path) -> None:
    """Write a sound into a file; a refusal leaves what is there as it was, and a sound that is cut leaves nothing."""
    first = next(sound, b"")
    try:
        with path.open("wb") as file, _removed_if_cut(path):
            for chunk in chain([first], sound):
                file.write(chunk)
                file.flush()
        if path.is_file():
            _fill_in_lengths(path)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


@contextlib.contextmanager
def _removed_if_cut(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if path.is_file():  # and not a pipe or a device
            path.unlink()
        raise


def _fill_in_lengths(path: Path) -> None:
    """Fill in the two lengths that a WAV file leaves open while it is being made."""
    with path.open("r+b") as file:
        head = file.read(4096)
        data, size = head.find(b"data", 12), file.seek(0, 2)
        if not head.startswith(b"RIFF") or data < 0 or size >= 2**32:
            return
        for at, length in ((4, size - 8), (data + 4, size - data - 8)):
            file.seek(at)
            file.write(length.to_bytes(4, "little"))
