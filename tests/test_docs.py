"""What the documents say of the configuration is true, and complete."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from modelhost.config import Config, KeyConfig, ModelConfig, ServerConfig, load_config
from modelhost.config.checking import option_problems
from modelhost.host import wanted_plugins
from modelhost.http.about import about_of
from modelhost.http.app import ROUTES
from modelhost.plugins import describe_all
from serving import Serve

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


def test_the_reference_names_every_endpoint_with_its_rule() -> None:
    text = (ROOT / "docs/reference/endpoints.md").read_text()
    for route in ROUTES:
        for path in route.paths if route.include_in_schema else ():
            for method in route.http_methods:
                plain = re.sub(r":\w+}", "}", path)
                assert f"| `{method} {plain}` | {route.summary} | {about_of(route).access} |" in text


def test_the_reference_names_every_metric_and_no_other(serve: Serve) -> None:
    text = serve('[models.echo]\nplugin = "echo"\n').client.get("/metrics").text
    there = {name for name in re.findall(r"^# HELP (modelhost_\S+)", text, re.MULTILINE) if not name.endswith("_created")}
    assert there == set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/metrics.md").read_text(), re.MULTILINE))
