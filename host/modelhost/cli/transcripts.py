"""Asks a host what is said in a recording."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import click
import httpx

from modelhost.cli.client import checked, refused
from modelhost.cli.progress import Line
from modelhost.cli.recordings import ReadFile, Recording

SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt", "verbose_json": ".json"}
"""Format → how a file of it is named."""


@dataclass(frozen=True)
class TranscriptOptions:
    """What a transcript is to be like; what is None, the host or the model decides."""

    format: str = "text"
    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    translate: bool = False
    words: bool = False

    @property
    def path(self) -> str:
        """Return where the host is asked."""
        return f"/v1/audio/{'translations' if self.translate else 'transcriptions'}"

    @property
    def streamed(self) -> bool:
        """Return whether its text comes while it is being heard; subtitles and times come whole."""
        return self.format in ("text", "json")

    def fields(self) -> dict[str, Any]:
        """Return the fields of the form."""
        given = {"model": self.model, "language": self.language, "prompt": self.prompt}
        form: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.streamed:
            return form | {"response_format": "json", "stream": "true"}
        granularities = {"timestamp_granularities[]": ["segment", "word"]} if self.words else {}
        return form | {"response_format": self.format} | granularities


async def transcript(client: httpx.AsyncClient, recording: Recording, options: TranscriptOptions, line: Line) -> str:
    """Return what is said in a recording, written as wanted, with a line break at its end.

    Raises `ClickException` with what the host says against it, and `OSError` for a file that cannot be read.
    """
    with ReadFile(recording.path, line.sent) as file:
        upload = {"file": (recording.upload_name, file)}
        try:
            async with client.stream("POST", options.path, data=options.fields(), files=upload) as response:
                if response.is_error or not options.streamed:
                    await response.aread()
                    return _whole(response, options)
                return await _streamed(response, options, line)
        except httpx.HTTPError as error:
            raise click.ClickException(f"the host at {client.base_url} went away ({type(error).__name__})") from None


def _whole(response: httpx.Response, options: TranscriptOptions) -> str:
    if response.is_error or options.format == "verbose_json":
        return _as_json(checked(response))
    return response.text


async def _streamed(response: httpx.Response, options: TranscriptOptions, line: Line) -> str:
    characters = 0
    async for event in _events(response):
        match event:
            case {"error": {"message": str()} as error}:
                raise refused(error)
            case {"type": "transcript.text.delta", "delta": str(delta)}:
                characters += len(delta)
                line.received(characters)
            case {"type": "transcript.text.done", "text": str(text), **more}:
                return f"{text}\n" if options.format == "text" else _as_json({"text": text, "usage": more.get("usage")})
    raise click.ClickException("the host ended its answer too early; its log says why")


async def _events(response: httpx.Response) -> AsyncIterator[Any]:
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
