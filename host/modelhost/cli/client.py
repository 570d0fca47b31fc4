"""How commands reach a host: one that runs, or one they start and stop again."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import httpx

from modelhost.config import load_config

_READY = re.compile(r"modelhost is serving .* on (http://\S+)")


def running_url(url: str | None, config_path: str | None) -> str | None:
    """Give the base URL of the host that runs; None where none does."""
    if url is None:
        server = load_config(config_path).config.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        url = f"http://{host}:{server.port}"
        if not _alive(url):
            return None
    else:
        url = url if "://" in url else f"http://{url}"
        if not _alive(url):
            raise click.ClickException(f"no host answers at {url}")
    return url.rstrip("/")


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url.rstrip('/')}/livez", timeout=2, trust_env=False).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


@contextlib.contextmanager
def connected(url: str | None, config_path: str | None) -> Iterator[httpx.Client]:
    """Give a client of the running host. Raises when none runs."""
    found = running_url(url, config_path)
    if found is None:
        raise click.ClickException("no host is running; start one with `modelhost serve`")
    if sys.stderr.isatty():
        click.echo(f"# {found}", err=True)
    with _client(found) as client:
        yield client


@contextlib.contextmanager
def connected_or_started(url: str | None, config_path: str | None) -> Iterator[httpx.Client]:
    """Give a client of the running host, or of one that lives as long as this command."""
    found = running_url(url, config_path)
    if found is not None:
        with _client(found) as client:
            yield client
        return
    command = [sys.executable, "-m", "modelhost", "serve", "--port", "0", "--log-level", "warning"]
    command += ["--config", config_path] if config_path else []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            assert server.stderr is not None
            said = []
            for line in server.stderr:
                said.append(line)
                if match := _READY.search(line):
                    with _client(match[1]) as client:
                        yield client
                    return
            raise click.ClickException("the host did not start: " + "".join(said[-3:]).strip())
        finally:
            server.terminate()
            assert server.stderr is not None
            server.stderr.close()


def _client(url: str) -> httpx.Client:
    # Loading a large model may take minutes; a dead host is noticed at once all the same.
    return httpx.Client(base_url=url, timeout=httpx.Timeout(600, connect=5), trust_env=False)


def ask(client: httpx.Client, method: str, path: str, **arguments: Any) -> Any:
    """Send a request and give its JSON; what the host refuses becomes a one-line error."""
    try:
        response = client.request(method, path, **arguments)
    except httpx.HTTPError as error:
        raise click.ClickException(f"the host at {client.base_url} went away ({type(error).__name__})") from None
    return checked(response)


def checked(response: httpx.Response) -> Any:
    """Give a response's JSON, or raise the error it tells."""
    try:
        answer = response.json()
    except ValueError:
        raise click.ClickException(f"{response.url} answered {response.status_code}, not as a modelhost would") from None
    if response.is_error:
        raise click.ClickException(answer.get("error", {}).get("message", f"the host answered {response.status_code}"))
    return answer
