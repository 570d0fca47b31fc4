"""What libraries and Python itself say: lines of the host's log, which never stops the host whoever reads it, or nobody."""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_plugins import fake_plugin
from modelhost.contract.log import Log
from modelhost.observability.library_log import listen, listen_to_loop
from raw_client import Client, chat, handshake
from serving import READY, Serve, Served, clean_environment, eventually

SECRET = "what-somebody-said-5f1d"

Lines = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Lines that were logged, by everything that `listen` listens to; afterwards nothing does."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook)
    found: Lines = []
    listen(Log(lambda level, event, facts: found.append((level, event, facts))))
    yield found
    root.handlers[:], level, warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook = before
    root.setLevel(level)


def fail(*ignored: object) -> None:
    raise ValueError(SECRET)


def test_a_librarys_message_is_a_line_with_what_its_author_wrote_and_nothing_else(lines: Lines) -> None:
    log = logging.getLogger("some.library")
    log.info("nobody needs to know")
    log.warning("%s came %d times in %.1f s\nand more", SECRET, 3, 0.5)
    log.error("named %(name)s", {"name": SECRET})
    try:
        fail()
    except ValueError:
        log.exception("it failed: %r", SECRET)
    log.warning(ValueError(SECRET))
    assert [(level, event) for level, event, _ in lines] == [
        ("warning", "… came 3 times in 0.5 s"),
        ("error", "named %(name)s"),
        ("error", "it failed: …"),
        ("warning", "ValueError"),
    ]
    assert lines[2][2]["error"] == "ValueError"
    assert "in fail" in lines[2][2]["place"]
    assert {facts["logger"] for _, _, facts in lines} == {"some.library"}
    assert SECRET not in repr(lines)


def test_what_nobody_caught_is_a_line(lines: Lines) -> None:
    class Bad:
        def __del__(self) -> None:
            fail()

    async def lose_a_task() -> None:
        loop = asyncio.get_running_loop()
        listen_to_loop(loop, Log(lambda level, event, facts: lines.append((level, event, facts))))
        loop.call_soon(fail)
        await asyncio.sleep(0)

    asyncio.run(lose_a_task())
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Bad()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, UserWarning, stacklevel=1)
    try:
        fail()
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    events = [event for _, event, _ in lines]
    assert events[0].startswith("Exception in callback fail")
    assert events[1:] == ["a thread failed", "an error could not be raised", "Python warns", "the host failed"]
    assert all(facts.get("error", "ValueError") == "ValueError" and facts["place"] for _, _, facts in lines)
    assert SECRET not in repr(lines)


LOUD = """
import asyncio
import logging
import warnings

from modelhost import hookimpl


def fail():
    raise ValueError("what-somebody-said-5f1d")


class Loud:
    @hookimpl
    def app(self):
        async def application(scope, receive, send):
            for number in range(100):
                try:
                    fail()
                except ValueError:
                    logging.getLogger("loud").exception("it failed: %s " + "x" * 150, "what-somebody-said-5f1d")
            warnings.warn("what-somebody-said-5f1d")
            asyncio.get_running_loop().call_soon(fail)
            await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"loud"})

        return application
"""
CONFIG = '[models.echo]\nplugin = "echo"\n'


class Unread(Served):
    """A host whose standard error nobody reads once it is there."""

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if READY.search(line):
                break
        self._ready.set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_plugin(tmp_path_factory.mktemp("site"), "loud", LOUD, target="Loud", group="modelhost.extensions")


@pytest.mark.hostile
def test_a_log_that_nobody_reads_stops_neither_the_host_nor_its_end(tmp_path: Path, site: Path) -> None:
    host = Unread(CONFIG, tmp_path, env={"PYTHONPATH": str(site)})
    try:
        for _ in range(10):  # some 400 KB: a pipe takes 64
            assert host.client.get("/x/loud").status_code == 200
            with Client(host.url) as client:
                client.send(handshake("/v1/generate_ws") + b"\x81\x82\0\0\0\0\xff\xfe")
                while b"\x88" not in client._read:
                    client._more()
        with Client(host.url) as client:
            assert client.send(chat()).said() == "hello"
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(20) == 0
    finally:
        host.process.kill()
        host.client.close()
        host.process.stderr.close()  # type: ignore[union-attr]  # it is a pipe


@pytest.mark.hostile
def test_a_log_on_a_full_disk_stops_neither_the_hosts_start_nor_its_end(tmp_path: Path) -> None:
    (tmp_path / "modelhost.toml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "modelhost", "serve", "--port", str(port)]
    with Path("/dev/full").open("w") as full:
        host = subprocess.Popen(command, cwd=tmp_path, env=clean_environment(tmp_path), stderr=full)

    def alive() -> bool:
        assert host.poll() is None
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200
        return False

    try:
        eventually(alive)
        host.send_signal(signal.SIGTERM)
        assert host.wait(20) == 0
    finally:
        host.kill()
        host.wait()


def test_every_line_is_json_where_json_is_asked(serve: Serve, site: Path) -> None:
    host = serve(CONFIG + '[server]\nlog_format = "json"\n', env={"PYTHONPATH": str(site)})
    began = len(host.log)
    assert host.client.get("/x/loud").text == "loud"
    assert host.stop() == 0
    host._reader.join()
    lines = [json.loads(line) for line in host.log[began:]]
    assert sum(line.get("logger") == "loud" for line in lines) == 100
    assert {"Python warns", "request"} <= {line["event"] for line in lines}
    assert SECRET not in "".join(host.log)
