"""Nothing leaves this machine when nothing is to leave it: a proxy that all would go through sees no connection."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import type_in

CONFIG = """
[server]
local_only = true

[models.kept]
plugin = "gguf_chat"
download = "never"
options = { source = "hf:org/repo/model.gguf" }

[models.whole]
plugin = "whisper"
options = { source = "hf:org/whole" }
"""


class Proxy:
    """Takes every connection, answers none, and remembers that there was one."""

    def __init__(self) -> None:
        self.connections: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            line, _ = self._socket.accept()
            with line:
                line.settimeout(5)
                if (first := line.recv(200)) == b"end":
                    return
                self.connections.append(first)

    def close(self) -> None:
        host, _, port = self.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"end")
        self._thread.join()
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@pytest.mark.parametrize("command", [("config", "check"), ("config", "check", "--strict"), ("doctor",), ("plugins",)])
def test_looking_at_a_configuration_connects_to_nobody(tmp_path: Path, proxy: Proxy, command: tuple[str, ...]) -> None:
    (tmp_path / "modelhost.toml").write_text(CONFIG)
    through = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), proxy.url)
    ended = type_in(tmp_path, *command, HF_ENDPOINT=proxy.url, HF_HOME=str(tmp_path / "hub"), NO_PROXY="", **through)
    assert "Traceback" not in ended.stderr
    assert proxy.connections == []


def test_a_model_that_is_to_be_fetched_is_asked_for_through_it(tmp_path: Path, proxy: Proxy) -> None:
    """So that the proxy of the other test is known to see what there is to see."""
    from modelhost.config.sources import Weights
    from modelhost.contract.errors import NotReadyError

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", proxy.url)
        patch.setenv("HF_HOME", str(tmp_path / "hub"))
        with pytest.raises(NotReadyError):
            Weights(uri="hf:org/repo/model.gguf", sha256=None, folder=tmp_path).resolve("auto")
    assert proxy.connections
