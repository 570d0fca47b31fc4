"""Where the host listens: its address and port, and its certificate."""

import ipaddress
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from modelhost.config import ServerConfig
from modelhost.config.paths import path_in, read_bytes
from modelhost.contract.errors import ConfigError

_HOST = re.compile(r"[0-9A-Fa-f:.]+(%\w+)?|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|")
"""An address, a host's name, or nothing, which is every address."""

MOST_PEM = 1024 * 1024
"""Bytes of a certificate with its chain: chosen, because a hundred certificates take a tenth of it."""


def check_server(config: ServerConfig, folder: Path, *, keys: bool) -> None:
    """Raise `ConfigError` for what keeps a host from listening as `[server]` says; `keys` says whether there are any."""
    check_openness(config, keys)
    tls_context(config, folder)
    among(config.trusted_proxies)


def bind(config: ServerConfig) -> socket.socket:
    """Take the port. Raises `ConfigError` when that cannot be."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((config.host, config.port))
        # Listening at once makes a second host on the port fail here, and lets early clients wait rather than fail.
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror}; "
            "another host may be running there, or choose another with --port"
        ) from None
    return sock


def check_openness(config: ServerConfig, keys: bool) -> None:
    """Raise `ConfigError` where anybody could use the models, and nobody has said that this is meant."""
    if not _HOST.fullmatch(config.host):
        raise ConfigError(
            f"server.host = {config.host!r} is neither an address nor a host's name; 127.0.0.1 is this machine alone"
        )
    if not is_loopback(config.host) and not (keys or config.allow_unauthenticated):
        raise ConfigError(
            f"server.host = {config.host!r} lets others use the models without a key; add one (`modelhost keys new`), "
            "set allow_unauthenticated = true if that is meant, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only; a name other than `localhost` may lead anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(sock: socket.socket, config: ServerConfig) -> str:
    """Return the base URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    scheme = "https" if config.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def tls_context(config: ServerConfig, folder: Path) -> ssl.SSLContext | None:
    """Return what speaks TLS with the configured certificate and key; None without. Raises `ConfigError`."""
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise ConfigError("server.tls_cert and server.tls_key belong together; set both")
    cert, key = path_in(folder, config.tls_cert, "server.tls_cert"), path_in(folder, config.tls_key, "server.tls_key")
    for name, file, begins in (("tls_cert", cert, "CERTIFICATE"), ("tls_key", key, "PRIVATE KEY")):
        try:
            content = read_bytes(file, MOST_PEM)
        except OSError as error:
            raise ConfigError(f"server.{name}: {file} cannot be read: {error.strerror}") from None
        if not re.search(rb"-----BEGIN [A-Z0-9 ]*" + begins.encode() + b"-----", content):
            raise ConfigError(f"server.{name}: {file} is no PEM file with a {begins.lower()}; it has no such line of BEGIN")
    if b"ENCRYPTED" in content:
        raise ConfigError(f"server.tls_key: {key} is encrypted, and nobody is there to type its passphrase; write it without one")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        why = "the key is not that of the certificate" if mismatch else "what lies between BEGIN and END is damaged"
        raise ConfigError(f"server.tls_cert and server.tls_key cannot be used together: {why}") from None
    return context


def among(networks: tuple[str, ...]) -> Callable[[str], bool]:
    """Return what tells whether an address is in one of these networks. Raises `ConfigError` for what is none."""
    try:
        known = [ipaddress.ip_network(network) for network in networks]
    except ValueError as error:
        raise ConfigError(f"server.trusted_proxies: {error}") from None

    def is_among(address: str) -> bool:
        try:
            return any(ipaddress.ip_address(address) in network for network in known)
        except ValueError:
            return False

    return is_among
