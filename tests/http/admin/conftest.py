import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Load what collects schemathesis' tests, which takes seconds, only where there are any."""
    if not config.pluginmanager.has_plugin("schemathesis"):
        config.pluginmanager.import_plugin("schemathesis.pytest.plugin")
