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
import msgspec

from modelhost.cli.options import AUTHORITY, authority
from modelhost.cli.own_host import own_host
from modelhost.config import Config, Loaded, ServerConfig, load_config
from modelhost.config.environment import override
from modelhost.config.paths import path_in
from modelhost.contract.errors import ConfigError


class HostClient(httpx.Client):
    """A client that sends the key of MODELHOST_API_KEY; a key on a command line would show in every process list."""

    def __init__(self, url: str, certificate: Path | None = None, trusted: str | None = None) -> None:
        """Ask the host at `url`.

        A configured certificate is the only one that is trusted then; else the system's are, and those in the file `trusted`.
        """
        key = os.environ.get("MODELHOST_API_KEY")
        self._settings: dict[str, Any] = {
            "base_url": url,
            "headers": {"authorization": f"Bearer {key}"} if key else {},
            "verify": _only(certificate) if certificate else _also(trusted) if trusted else True,
            "trust_env": False,
        }
        # Loading a large model may take minutes; a dead host is noticed at once all the same.
        super().__init__(**self._settings, timeout=httpx.Timeout(600, connect=5))

    def patient(self) -> httpx.AsyncClient:
        """Return a client of the same host for many requests at once, each of which may take as long as it takes."""
        return httpx.AsyncClient(**self._settings, timeout=httpx.Timeout(None, connect=5))


def running(url: str | None, config_path: str | None) -> HostClient | None:
    """Return a client of the host that runs; None where none does."""
    if url is not None:
        url = _base(url)
        client = HostClient(url, trusted=authority())
        if (why := _unanswered(client)) is not None:
            raise click.ClickException(f"no host answers at {url}{why}")
        return client
    loaded = _readable(config_path)
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
    return _unanswered(client) is None


def _base(url: str) -> str:
    """Return a host's own address for what was typed: a scheme may be left out, and clients of OpenAI end theirs with /v1."""
    url = url if "://" in url else f"http://{url}"
    return url.rstrip("/").removesuffix("/v1")


def _unanswered(client: httpx.Client) -> str | None:
    """Return why no host answers, to be appended to a sentence; None where one does."""
    try:
        return None if client.get("/livez", timeout=2).is_success else "; what answers there is no modelhost"
    except httpx.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            remedy = f"name the file of its authority with --cacert, or in {AUTHORITY} or SSL_CERT_FILE"
            return f": its certificate is not trusted here; {remedy}"
        if "SSL" in str(error):
            return ": it does not speak HTTPS; write http://"
        return ""
    except httpx.RemoteProtocolError:
        return ": it does not speak HTTP; it may want https://"
    except (httpx.HTTPError, httpx.InvalidURL):
        return ""


def _readable(config_path: str | None) -> Loaded:
    """Read the configuration for its address; where it is broken, variables and defaults: a host may be running all the same."""
    try:
        return load_config(config_path)
    except ConfigError as error:
        of_variables: dict[str, Any] = {}
        override(of_variables, os.environ)
        server = msgspec.convert(of_variables.get("server", {}), ServerConfig)
        default = Loaded(config=Config(server=server), path=None)
        with HostClient(_address(default)) as client:
            if not _alive(client):
                raise
        click.echo(f"Warning: {error.message}", err=True)
        return default


@contextlib.contextmanager
def connected(url: str | None, config_path: str | None) -> Iterator[HostClient]:
    """Yield a client of the running host. Raises when none runs."""
    found = running(url, config_path)
    if found is None:
        at = _address(_readable(config_path))
        raise click.ClickException(f"no host answers at {at}; start one with `modelhost serve`, or say with --url where it is")
    with contextlib.closing(found):
        if sys.stderr.isatty():
            click.echo(f"# {found.base_url}", err=True)
        yield found


@contextlib.contextmanager
def connected_or_started(
    url: str | None, config_path: str | None, *, no_start: bool = False, announce: bool = False
) -> Iterator[HostClient]:
    """Yield a client of the running host, or of one that lives as long as this command; `announce` says so on standard error."""
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


def _also(file: str) -> ssl.SSLContext:
    """Trust what the system trusts, and the certificates in a file."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read as certificates: {error.strerror or error}") from None
    return context


def ask(client: httpx.Client, method: str, path: str, **arguments: Any) -> Any:
    """Send a request and give its JSON; what the host refuses becomes a one-line error."""
    try:
        response = client.request(method, path, **arguments)
    except httpx.HTTPError as error:
        raise click.ClickException(f"the host at {client.base_url} went away ({type(error).__name__})") from None
    return checked(response)


def checked(response: httpx.Response) -> Any:
    """Return a response's JSON, or raise the error it tells."""
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
