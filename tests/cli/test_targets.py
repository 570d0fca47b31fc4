"""Which host a command asks, and what it says where that cannot be asked or the command is none."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from modelhost.cli import MEANT
from serving import Serve, Served
from terminal import type_here

ECHO = '[models.echo]\nplugin = "echo"\naliases = ["e"]\n'


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve(ECHO)


@pytest.fixture(scope="module")
def secure(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A host with HTTPS of an authority of its own, and the authority's certificate."""
    folder = tmp_path_factory.mktemp("secure")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    host = serve(f'[server]\ntls_cert = "{folder}/both.pem"\ntls_key = "{folder}/both.pem"\n' + ECHO)
    return host.url, folder / "ca.pem"


@pytest.mark.parametrize("ending", ["/", "/v1", "/v1/"])
def test_an_address_may_end_as_those_of_openais_clients_do(tmp_path: Path, host: Served, ending: str) -> None:
    assert "echo" in type_here(tmp_path, "models", "--url", host.url + ending).stdout


def test_an_authority_of_ones_own_is_named_and_then_trusted(tmp_path: Path, secure: tuple[str, Path]) -> None:
    url, authority = secure
    refused = type_here(tmp_path, "models", "--url", url)
    assert refused.returncode == 1
    assert "its certificate is not trusted here; name the file of its authority with --cacert" in refused.stderr
    assert "echo" in type_here(tmp_path, "models", "--url", url, "--cacert", str(authority)).stdout
    for variable in ("SSL_CERT_FILE", "MODELHOST_CACERT"):
        assert "echo" in type_here(tmp_path, "models", "--url", url, **{variable: str(authority)}).stdout


def test_https_to_a_host_without_it_says_so(tmp_path: Path, host: Served) -> None:
    ended = type_here(tmp_path, "models", "--url", host.url.replace("http:", "https:"))
    assert "it does not speak HTTPS; write http://" in ended.stderr


@pytest.fixture
def closing() -> Iterator[str]:
    """A server that takes a line and closes it, as one that wants HTTPS does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                line.recv(1000)
                line.sendall(b"\x15\x03\x01\x00\x02\x02\x16")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_http_to_a_host_with_https_says_so(tmp_path: Path, closing: str) -> None:
    assert "it may want https://" in type_here(tmp_path, "models", "--url", closing).stderr


def test_a_broken_file_does_not_hide_a_host_that_is_named(tmp_path: Path, host: Served) -> None:
    (tmp_path / "modelhost.toml").write_text("[models.x\n")
    assert "echo" in type_here(tmp_path, "models", "--url", host.url).stdout


def test_a_broken_file_does_not_hide_a_host_that_runs(tmp_path: Path, host: Served) -> None:
    (tmp_path / "modelhost.toml").write_text("[models.x\n")
    ended = type_here(tmp_path, "models", MODELHOST_SERVER__PORT=host.url.rpartition(":")[2])
    assert "echo" in ended.stdout
    assert "not valid TOML" in ended.stderr
    assert type_here(tmp_path, "models").returncode == 2


def test_a_model_is_shown_whole(tmp_path: Path, host: Served) -> None:
    shown = type_here(tmp_path, "show", "e", MODELHOST_URL=host.url).stdout
    assert [line.split()[:2] for line in shown.splitlines() if line.startswith("id")] == [["id", "echo"]]
    assert "generate" in shown
    assert json.loads(type_here(tmp_path, "show", "e", "--json", MODELHOST_URL=host.url).stdout)["id"] == "echo"


def test_plugins_of_a_python_of_its_own_are_listed_with_it(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text('[models.m]\nplugin = "echo"\npython = "gone/bin/python"\n')
    listed = type_here(tmp_path, "plugins").stdout
    assert [line for line in listed.splitlines() if line.startswith("echo") and "gone/bin/python" in line]


@pytest.mark.parametrize(("typed", "meant"), [("serv", "serve"), ("transcibe", "transcribe"), *MEANT.items()])
def test_a_mistyped_command_is_told_what_may_have_been_meant(tmp_path: Path, typed: str, meant: str) -> None:
    ended = type_here(tmp_path, typed)
    assert ended.returncode == 2
    assert f"Did you mean `modelhost {meant}`?" in ended.stderr


def test_what_is_like_no_command_is_not_guessed_at(tmp_path: Path) -> None:
    assert "Did you mean" not in type_here(tmp_path, "zzzzzz").stderr
