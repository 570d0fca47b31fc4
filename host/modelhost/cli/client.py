"""How commands reach a host: one that runs, or one they start and stop again."""

import contextlib
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from modelhost.cli.own_host import own_host
from modelhost.config import Loaded, load_config
from modelhost.config.paths import path_in


class HostClient(httpx.Client):
    """A client that sends the key of MODELHOST_API_KEY; a key on a command line would show in every process list."""

    def __init__(self, url: str, certificate: Path | None = None) -> None:
        """Ask the host at `url`; a configured certificate is the only one trusted then."""
        key = os.environ.get("MODELHOST_API_KEY")
        self._settings: dict[str, Any] = {
            "base_url": url,
            "headers": {"authorization": f"Bearer {key}"} if key else {},
            "verify": _only(certificate) if certificate else True,
            "trust_env": False,
        }
        # Loading a large model may take minutes; a dead host is noticed at once all the same.
        super().__init__(**self._settings, timeout=httpx.Timeout(600, connect=5))

    def patient(self) -> httpx.AsyncClient:
        """Give a client of the same host for many requests at once, each of which may take as long as it takes."""
        return httpx.AsyncClient(**self._settings, timeout=httpx.Timeout(None, connect=5))


def running(url: str | None, config_path: str | None) -> HostClient | None:
    """Give a client of the host that runs; None where none does."""
    if url is not None:
        url = url if "://" in url else f"http://{url}"
        client = HostClient(url)
        if not _alive(client):
            raise click.ClickException(f"no host answers at {url}")
        return client
    loaded = load_config(config_path)
    client = HostClient(_address(loaded), _certificate(loaded))
    if _alive(client):
        return client
    client.close()
    return None


def _address(loaded: Loaded) -> str:
    server = loaded.config.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104  # asked at this machine's own
    scheme = "https" if server.tls_cert else "http"
    return f"{scheme}://[{host}]:{server.port}" if ":" in host else f"{scheme}://{host}:{server.port}"


def _certificate(loaded: Loaded) -> Path | None:
    name = loaded.config.server.tls_cert
    return path_in(loaded.folder, name, "server.tls_cert") if name else None


def _alive(client: httpx.Client) -> bool:
    try:
        return client.get("/livez", timeout=2).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


@contextlib.contextmanager
def connected(url: str | None, config_path: str | None) -> Iterator[HostClient]:
    """Give a client of the running host. Raises when none runs."""
    found = running(url, config_path)
    if found is None:
        at = _address(load_config(config_path))
        raise click.ClickException(f"no host answers at {at}; start one with `modelhost serve`, or say with --url where it is")
    with contextlib.closing(found):
        if sys.stderr.isatty():
            click.echo(f"# {found.base_url}", err=True)
        yield found


@contextlib.contextmanager
def connected_or_started(
    url: str | None, config_path: str | None, *, no_start: bool = False, announce: bool = False
) -> Iterator[HostClient]:
    """Give a client of the running host, or of one that lives as long as this command; `announce` says so on standard error."""
    found = running(url, config_path)
    if found is not None:
        with contextlib.closing(found):
            yield found
        return
    if no_start:
        raise click.ClickException("no host is running; start one with `modelhost serve`, or leave --no-start out")
    if announce:
        click.echo("no host is running: starting one for this command", err=True)
    with own_host(config_path) as address, HostClient(address, _certificate(load_config(config_path))) as client:
        yield client


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
        error = answer.get("error", {})
        raise refused({"message": f"the host answered {response.status_code}", **error})
    return answer


_REMEDIES = {
    "invalid_api_key": "for this command put it into the environment variable MODELHOST_API_KEY",
    "deadline_exceeded": "request_timeout under [server] says how many seconds a request may take",
}
"""Code of an error → what whoever types a command can do."""


def refused(error: dict[str, Any]) -> click.ClickException:
    """Make an exception of an error that the host tells."""
    remedy = _REMEDIES.get(error.get("code") or "")
    return click.ClickException(f"{error['message']}; {remedy}" if remedy else error["message"])
