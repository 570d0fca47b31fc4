"""Plugins and extensions made up for a test: a module, and the metadata that makes an installed distribution of it."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GOOD = """
from typing import Annotated

from modelhost import Backend, Done, ModelCard, Options, Source, hookimpl
from msgspec import Meta


class FakeOptions(Options):
    greeting: str = "hello"
    \"\"\"Said
    first.\"\"\"
    size: Annotated[int, Meta(ge=1)] = 3
    \"\"\"How large it is.\"\"\"
    source: Source | None = None
    remote: bool = False


class Fake(Backend[FakeOptions]):
    \"\"\"Made up for a test.

    Nobody reads this.
    \"\"\"

    @classmethod
    def leaves_machine(cls, options):
        return options.remote

    def load(self):
        return ModelCard()

    @hookimpl
    def embed(self, request, context):
        yield Done()

    @hookimpl
    def generate(self, request, context):
        yield Done()
"""
"""The source of a plugin that does everything right."""


def fake_plugin(
    site: Path,
    name: str,
    code: str = GOOD,
    *,
    target: str = "Fake",
    distribution: str | None = None,
    version: str = "1.2.3",
    group: str = "modelhost.backends",
    module: str | None = None,
) -> Path:
    """Install a distribution with one module and one entry point into the folder `site`, and give that folder."""
    module = module or f"fake_{name}"
    distribution = distribution or f"modelhost-{name}"
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{module}.py").write_text(code)
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{target}\n")
    importlib.invalidate_caches()
    return site


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, with caches and a user's folder of one's own and nothing of ours in the environment."""
    for name in os.environ:
        if name.startswith("MODELHOST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


def put_on_path(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    """Make what is installed in `site` visible to this process and to those it starts."""
    monkeypatch.syspath_prepend(site)
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{inherited}" if inherited else str(site))
