"""What holds for the tests of the host and of all plugins."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes long and has a shorter form beside it, unless `SLOW_TESTS` asks for it."""
    if os.environ.get("SLOW_TESTS"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="SLOW_TESTS=1 runs it"))
