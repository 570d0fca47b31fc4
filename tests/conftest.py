"""Fixtures of the host's tests."""

from collections.abc import Iterator

import pytest
from serving import Serve, Served


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
