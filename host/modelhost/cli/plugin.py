"""`modelhost plugin`."""

import keyword
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import click

TEMPLATE = files("modelhost.cli") / "new_plugin"

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""What a module, an entry point and `plugin = "…"` may all be called."""


@click.group("plugin")
def plugin_command() -> None:
    """Make a plugin of one's own."""


@plugin_command.command("new")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), help="The folder to write; by default modelhost-NAME, here.")
def new(name: str, into: Path | None) -> None:
    """Write a plugin NAME with its tests, ready to be installed, tested and changed."""
    _check(name)
    folder = into or Path(f"modelhost-{name.replace('_', '-')}")
    if folder.exists():
        raise click.ClickException(f"{folder} is there already; nothing was written. Name another folder with --into")
    for path, text in written(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    click.echo(f"{folder} is a plugin that repeats what is said. In this environment:\n")
    for step in (f"cd {folder}", "pip install -e '.[test]'", "python -m pytest", "modelhost serve"):
        click.echo(f"  {step}")
    click.echo(f"\nThen make it yours, in modelhost_{name}/__init__.py.")


def written(name: str) -> dict[str, str]:
    """Return the files of a new plugin by their paths in its folder."""
    major, minor = map(int, version("modelhost").split(".")[:2])
    facts = {
        "name": name,
        "dashed": name.replace("_", "-"),
        "kind": "".join(part.capitalize() for part in name.split("_")),
        "modelhost": f"{major}.{minor}",
        "next": f"{major}.{minor + 1}" if major == 0 else f"{major + 1}",  # before 1.0 a minor version may break things
    }

    def filled(file: str) -> str:
        return Template((TEMPLATE / f"{file}.txt").read_text(encoding="utf-8")).substitute(facts)

    return {
        "pyproject.toml": filled("pyproject.toml"),
        "README.md": filled("README.md"),
        f"modelhost_{name}/__init__.py": filled("backend.py"),
        f"modelhost_{name}/py.typed": "",
        f"tests/test_{name}.py": filled("test.py"),
        "modelhost.toml": filled("modelhost.toml"),
    }


def _check(name: str) -> None:
    """Refuse what cannot be a plugin's name, or is one's. Raises `click.ClickException`."""
    from modelhost.plugins.discovery import installed  # here, for what it imports

    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = f", such as {plain}" if NAME.fullmatch(plain) and not keyword.iskeyword(plain) else ""
        raise click.ClickException(f"{name!r} cannot be the name of a plugin: it is lower-case letters, digits and _{hint}")
    if name in installed():
        raise click.ClickException(f"a plugin {name} is installed here already; choose another name")
