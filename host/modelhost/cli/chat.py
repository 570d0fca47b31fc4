"""`modelhost chat`."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from modelhost.cli.client import checked, connected_or_started
from modelhost.cli.conversation import Conversation, history, last
from modelhost.cli.options import config_option, url_option

HELP = """\
/system TEXT   tell the model about itself anew
/image FILE    send a picture along with what you say next
/model NAME    go on with another model
/clear         forget what was said
/bye           end the conversation, as Ctrl-D does
\"\"\"            begin and end something of several lines
Ctrl-C stops an answer."""

BLOCK = '"""'
"""Begins and ends what has several lines, as in Ollama's prompt."""


@click.command("chat")
@click.argument("prompt", required=False)
@config_option
@url_option
@click.option("-m", "--model", help="Which model; by default the only one that can, or the route's.")
@click.option("-s", "--system", help="What the model is told about itself first.")
@click.option("-c", "--continue", "goes_on", is_flag=True, help="Go on with the last conversation.")
@click.option("-i", "--image", "images", multiple=True, type=click.Path(path_type=Path), help="A picture to send along.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 for the likeliest answer, more for variety.")
@click.option("--top-p", type=click.FloatRange(0, 1), help="Choose among the likeliest words that have this share together.")
@click.option("--seed", type=int, help="The same seed gives the same answer.")
def chat_command(
    prompt: str | None,
    config_path: str | None,
    url: str | None,
    model: str | None,
    system: str | None,
    goes_on: bool,
    images: tuple[Path, ...],
    max_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    seed: int | None,
) -> None:
    """Talk to a model: PROMPT gets one answer; without it the conversation goes on until Ctrl-D.

    What comes through a pipe is said too, after the PROMPT. Uses the running host, or one that lives as long as the conversation.
    """
    if not sys.stdin.isatty():
        piped = sys.stdin.read()
        prompt = "\n\n".join(part for part in (prompt, piped) if part and part.strip()) if prompt is not None else piped
    if prompt is not None and not prompt.strip():
        raise click.UsageError("there is nothing to say: the prompt is empty")
    conversation = last() if goes_on else Conversation()
    if system:
        conversation.tell(system)
    for image in images:
        conversation.attach(image)
    settings = {"model": model, "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
    payload = {key: value for key, value in settings.items() if value is not None}
    with connected_or_started(url, config_path) as client:
        if prompt is not None:
            _turn(client, conversation, prompt, payload)
        else:
            _talk(client, conversation, payload)


def _talk(client: httpx.Client, conversation: Conversation, payload: dict[str, Any]) -> None:
    click.echo("/help says what else can be typed; Ctrl-D ends the conversation, Ctrl-C an answer.", err=True)
    with _line_editing():
        while (message := _typed()) is not None:
            try:
                if message.startswith("/") and "\n" not in message:
                    if not _run_slash_command(message, conversation, payload):
                        return
                elif message.strip():
                    _turn(client, conversation, message, payload)
            except click.ClickException as error:
                error.show()
    click.echo()


def _run_slash_command(command: str, conversation: Conversation, payload: dict[str, Any]) -> bool:
    """Do what a line that begins with a slash says; returns whether the conversation goes on."""
    name, _, rest = command.partition(" ")
    match name, rest.strip():
        case (("/bye" | "/exit" | "/quit"), ""):
            return False
        case "/clear", "":
            conversation.clear()
        case "/system", text if text:
            conversation.tell(text)
        case "/image", file if file:
            conversation.attach(Path(file).expanduser())
        case "/model", model if model:
            payload["model"] = model
        case _:
            click.echo(HELP, err=True)
    return True


def _typed() -> str | None:
    """Read what is said next, a block of several lines whole; None at the end."""
    try:
        message = input("you> ")
        if not message.startswith(BLOCK):
            return message
        lines = [message.removeprefix(BLOCK)]
        while not lines[-1].endswith(BLOCK):
            lines.append(input("...> "))
    except (EOFError, KeyboardInterrupt):
        return None
    return "\n".join(lines).removesuffix(BLOCK).strip("\n")


@contextlib.contextmanager
def _line_editing() -> Iterator[None]:
    """Enable the arrow keys, with what was typed before, also in earlier conversations."""
    try:
        import readline
    except ImportError:  # a Python without it: lines are typed plainly
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history())
    yield
    with contextlib.suppress(OSError):
        history().parent.mkdir(parents=True, exist_ok=True)
        history().touch(mode=0o600)
        readline.set_history_length(1000)
        readline.write_history_file(history())


def _turn(client: httpx.Client, conversation: Conversation, message: str, payload: dict[str, Any]) -> None:
    """Send a message and print the answer as it comes; both are remembered, unless there was none."""
    conversation.say(message)
    answer = ""
    try:
        for text in _words(client, {**payload, "messages": conversation.messages, "stream": True}):
            answer += text
            click.echo(text, nl=False)
    except KeyboardInterrupt:
        click.echo(" …", nl=False)
    except click.ClickException:
        conversation.take_back()
        raise
    click.echo()
    conversation.answer(answer)
    conversation.keep()


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
