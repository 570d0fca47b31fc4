"""`modelhost chat`."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import click
import httpx

from modelhost.cli.client import checked, connected_or_started
from modelhost.cli.options import config_option, url_option


@click.command("chat")
@click.argument("prompt", required=False)
@config_option
@url_option
@click.option("-m", "--model", help="Which model; by default the only one that can, or the route's.")
@click.option("-s", "--system", help="What the model is told about itself first.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 for the likeliest answer, more for variety.")
def chat_command(
    prompt: str | None,
    config_path: str | None,
    url: str | None,
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
) -> None:
    """Talk to a model: PROMPT gets one answer; without it the conversation goes on until Ctrl-D.

    Uses the running host, or one that lives as long as the conversation.
    """
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is not None and not prompt.strip():
        raise click.UsageError("there is nothing to say: the prompt is empty")
    messages = [{"role": "system", "content": system}] if system else []
    settings = {"model": model, "max_tokens": max_tokens, "temperature": temperature}
    asked = {key: value for key, value in settings.items() if value is not None}
    with connected_or_started(url, config_path) as client:
        if prompt is not None:
            _turn(client, messages, prompt, asked)
            return
        click.echo("Ctrl-D ends the conversation, Ctrl-C an answer.", err=True)
        while True:
            try:
                said = click.prompt(click.style("you", bold=True), prompt_suffix="> ")
            except click.Abort:
                click.echo()
                return
            try:
                _turn(client, messages, said, asked)
            except click.ClickException as error:
                messages.pop()
                error.show()


def _turn(client: httpx.Client, messages: list[dict[str, str]], said: str, asked: dict[str, Any]) -> None:
    """Say something and print the answer as it comes; both are remembered."""
    messages.append({"role": "user", "content": said})
    answer = ""
    try:
        for text in _words(client, {**asked, "messages": messages, "stream": True}):
            answer += text
            click.echo(text, nl=False)
    except KeyboardInterrupt:
        click.echo(" …", nl=False)
    click.echo()
    messages.append({"role": "assistant", "content": answer})


def _words(client: httpx.Client, body: dict[str, Any]) -> Iterator[str]:
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.is_error:
                response.read()
                checked(response)
            for line in response.iter_lines():
                data = line.removeprefix("data: ")
                if not line.startswith("data: ") or data == "[DONE]":
                    continue
                event = json.loads(data)
                if "error" in event:
                    raise click.ClickException(event["error"]["message"])
                for choice in event["choices"]:
                    yield choice["delta"].get("content") or ""
    except httpx.HTTPError as error:
        raise click.ClickException(f"the host at {client.base_url} went away ({type(error).__name__})") from None
