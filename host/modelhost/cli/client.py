"""How commands reach a host: one that runs, or one they start and stop again."""

import contextlib
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from modelhost.config import load_config

_READY = re.compile(r"modelhost is serving .* on (https?://\S+)")


def running(url: str | None, config_path: str | None) -> httpx.Client | None:
    """Give a client of the host that runs; None where none does."""
    if url is not None:
        url = url if "://" in url else f"http://{url}"
        client = _client(url)
        if not _alive(client):
            raise click.ClickException(f"no host answers at {url}")
        return client
    loaded = load_config(config_path)
    server = loaded.config.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104  # asked at this machine's own
    scheme, trusted = ("https", loaded.folder / Path(server.tls_cert).expanduser()) if server.tls_cert else ("http", None)
    client = _client(f"{scheme}://[{host}]:{server.port}" if ":" in host else f"{scheme}://{host}:{server.port}", trusted)
    if _alive(client):
        return client
    client.close()
    return None


def _alive(client: httpx.Client) -> bool:
    try:
        return client.get("/livez", timeout=2).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


@contextlib.contextmanager
def connected(url: str | None, config_path: str | None) -> Iterator[httpx.Client]:
    """Give a client of the running host. Raises when none runs."""
    found = running(url, config_path)
    if found is None:
        raise click.ClickException("no host is running; start one with `modelhost serve`")
    with contextlib.closing(found):
        if sys.stderr.isatty():
            click.echo(f"# {found.base_url}", err=True)
        yield found


@contextlib.contextmanager
def connected_or_started(url: str | None, config_path: str | None) -> Iterator[httpx.Client]:
    """Give a client of the running host, or of one that lives as long as this command."""
    found = running(url, config_path)
    if found is not None:
        with contextlib.closing(found):
            yield found
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


def _client(url: str, trusted: Path | None = None) -> httpx.Client:
    """Make a client that sends the key of MODELHOST_API_KEY; a key on a command line would show in every process list."""
    key = os.environ.get("MODELHOST_API_KEY")
    # Loading a large model may take minutes; a dead host is noticed at once all the same.
    return httpx.Client(
        base_url=url,
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(600, connect=5),
        verify=_only(trusted) if trusted else True,
        trust_env=False,
    )


def _only(certificate: Path) -> ssl.SSLContext:
    """Trust the configured certificate and no other, by whatever name the host is asked."""
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


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
        message = answer.get("error", {}).get("message", f"the host answered {response.status_code}")
        if response.status_code == 401:
            message += "; for this command put it into the environment variable MODELHOST_API_KEY"
        raise click.ClickException(message)
    return answer
