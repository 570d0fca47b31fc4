"""A real host for every test that wants one, in a process and with caches of its own."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

READY = re.compile(r"modelhost is serving .* on (https?://\S+)")


class Served:
    """A running `modelhost serve`, with a client of it."""

    def __init__(self, config: str, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "modelhost.toml").write_text(config)
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modelhost", "serve", "--port", "0", *arguments],
            cwd=folder,
            env={**clean_environment(folder), "TMPDIR": str(self._temporary()), **(env or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(30), "the host said nothing"
        found = [match[1] for line in self.log if (match := READY.search(line))]
        assert found, "".join(self.log)
        self.url = found[0]
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def _temporary(self) -> Path:
        """A place of its own for temporary files, with a path short enough for anybody."""
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def uploads(self) -> list[Path]:
        """Files of requests that are on disk now."""
        return list((self.folder / "tmp").rglob("modelhost-upload-*"))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if READY.search(line):
                self._ready.set()
        self._ready.set()

    def chat(self, model: str, text: str = "hello big world", **settings: Any) -> httpx.Response:
        """Ask a model something."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **settings}
        return self.client.post("/v1/chat/completions", json=body)

    def worker(self, model: str) -> dict[str, Any]:
        """What the host says of a running model."""
        answer: dict[str, Any] = self.client.get(f"/v1/workers/{model}").json()
        return answer

    def pid_of(self, model: str) -> int:
        """The process id of a model's worker."""
        return int(self.worker(model)["pid"])

    def stop(self) -> int:
        """Stop it as an operator would; returns the exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


def clean_environment(folder: Path) -> dict[str, str]:
    """The environment without this machine's configuration and caches."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MODELHOST_", "XDG_"))}
    return {**env, "XDG_CACHE_HOME": str(cache_of(folder)), "XDG_CONFIG_HOME": str(folder / "config")}


_caches = tempfile.TemporaryDirectory(prefix="modelhost-caches-")


def cache_of(folder: Path) -> Path:
    """The caches of those who run in a folder.

    Only what plugins say of themselves is kept in one place for all: it depends on nothing else, and asking takes long.
    """
    cache = Path(_caches.name, hashlib.sha256(bytes(folder)).hexdigest())
    descriptions = cache / "modelhost" / "plugins"
    if not descriptions.exists():
        descriptions.parent.mkdir(parents=True)
        shared = Path(_caches.name, "plugins")
        shared.mkdir(exist_ok=True)
        descriptions.symlink_to(shared)
    return cache


def eventually(claim: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is true of another process."""
    import time

    until = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)


Serve = Callable[..., Served]
"""What the fixture `serve` is: takes a configuration and arguments, gives a running host."""
