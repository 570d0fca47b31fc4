"""Fixtures of the host's tests."""

import compileall
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from serving import Serve, Served

# CI tries what it tried before, so that a change is judged by what it changed; elsewhere every run tries something new.
settings.register_profile("modelhost", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("modelhost")


def pytest_sessionstart() -> None:
    """Compile the workspace once: where Python writes no bytecode, each process would, in a third of its start."""
    workspace = Path(__file__).parents[1]
    for package in (workspace / "host" / "modelhost", *workspace.glob("plugins/*/modelhost_*")):
        compileall.compile_dir(package, quiet=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, whole servers and models, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: 0 if "e2e" in item.path.parts else 1 if item.path.parts[-4] == "plugins" else 2)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start hosts with a configuration each; all are stopped at the end of the module, and must have ended well."""
    hosts: list[Served] = []

    def start(config: str, *arguments: str, env: dict[str, str] | None = None) -> Served:
        hosts.append(Served(config, tmp_path_factory.mktemp("host"), *arguments, env=env))
        return hosts[-1]

    yield start
    statuses = [host.stop() for host in hosts]
    assert statuses == [0] * len(hosts)
