"""`from modelhost import …` is the whole API of plugins, and nothing else is."""

import ast
from pathlib import Path

import modelhost
import pytest

ROOT = Path(__file__).parents[1]
PROMISED = ("modelhost", "modelhost.audio", "modelhost.authors", "modelhost.testing")
"""What plugins may import: the face, and three packages with what stands in them."""


def exported():
    tree = ast.parse(Path(modelhost.__file__).read_text())
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


def modules(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "modelhost")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_what_type_checkers_see_is_what_there_is():
    assert {name for name in exported() if getattr(modelhost, name, None) is None} == set()


@pytest.mark.parametrize(
    "name", ["get_args", "Any", "TYPE_CHECKING", "import_module", "Wire", "REQUESTS", "SomeError", "msgspec"]
)
def test_what_is_no_part_of_it_cannot_be_imported(name):
    with pytest.raises(AttributeError, match=name):
        getattr(modelhost, name)


@pytest.mark.parametrize("plugin", sorted(file.parent.name for file in ROOT.glob("plugins/*/pyproject.toml")))
def test_our_own_plugins_import_what_is_promised_to_everybody_and_no_more(plugin):
    for file in (ROOT / "plugins" / plugin / f"modelhost_{plugin}").rglob("*.py"):
        of_ours = {module for module in modules(file) if module.partition(".")[0] == "modelhost"}
        names = {f"modelhost.{name}" for name in exported()}
        beyond = {one for one in of_ours - names if one not in PROMISED and ".".join(one.split(".")[:2]) not in PROMISED}
        assert not beyond, f"{file.name} imports {beyond}"
