"""What the documents say of the configuration is true, and complete."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from modelhost.config import Config, KeyConfig, ModelConfig, ServerConfig, load_config
from modelhost.config.checking import option_problems
from modelhost.host import wanted_plugins
from modelhost.plugins import describe_all

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "modelhost.example.toml"


def test_the_example_configuration_loads_and_its_plugins_take_their_options() -> None:
    loaded = load_config(EXAMPLE, environ={})
    assert option_problems(loaded, describe_all(wanted_plugins(loaded))) == []


@pytest.mark.parametrize("kind", [Config, ServerConfig, KeyConfig, ModelConfig])
def test_the_example_configuration_names_every_key(kind: type[msgspec.Struct]) -> None:
    text = EXAMPLE.read_text()
    for field in msgspec.structs.fields(kind):
        assert re.search(rf"^(# )?{field.name} = |^\[(.*\.)?{field.name}[.\]]", text, re.MULTILINE), field.name


def test_the_example_configuration_shows_the_defaults() -> None:
    server = tomllib.loads(EXAMPLE.read_text())["server"]
    assert msgspec.convert(server, ServerConfig) == ServerConfig()


def test_the_readmes_configuration_loads(tmp_path: Path) -> None:
    match = re.search(r"^```toml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert match
    (tmp_path / "modelhost.toml").write_text(match[1])
    loaded = load_config(tmp_path / "modelhost.toml", environ={})
    assert option_problems(loaded, describe_all(wanted_plugins(loaded))) == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")], ids=str)
def test_every_link_between_documents_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
