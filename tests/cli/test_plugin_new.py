"""`modelhost plugin new`: what it writes is a plugin that passes the kit and serves, before a line of it is changed."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from modelhost.cli import cli
from modelhost.cli.plugin import written
from serving import Serve


def new(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "modelhost", "plugin", "new", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new plugin, whose metadata stands beside it as an installer would write it."""
    folder = tmp_path_factory.mktemp("new")
    done = new("big_parrot", folder=folder)
    assert done.returncode == 0, done.stderr
    made = folder / "modelhost-big-parrot"
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    (entry,) = project["entry-points"]["modelhost.backends"].items()
    info = made / "modelhost_big_parrot-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text("[modelhost.backends]\n{} = {}\n".format(*entry))
    return made


def test_its_own_tests_pass_as_they_were_written(parrot: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=parrot,
        env={**os.environ, "PYTHONPATH": str(parrot)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_it_serves_with_the_configuration_that_comes_along(parrot: Path, serve: Serve) -> None:
    host = serve((parrot / "modelhost.toml").read_text(), env={"PYTHONPATH": str(parrot)})
    assert host.chat("big_parrot").json()["choices"][0]["message"]["content"] == "hello big world "


def test_it_says_what_to_type_next(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["plugin", "new", "owl", "--into", str(tmp_path / "here")])
    assert [line.strip() for line in done.output.splitlines() if line.startswith("  ")] == [
        f"cd {tmp_path / 'here'}",
        "pip install -e '.[test]'",
        "python -m pytest",
        "modelhost serve",
    ]
    assert {str(path.relative_to(tmp_path / "here")) for path in (tmp_path / "here").rglob("*") if path.is_file()} == set(
        written("owl")
    )


def test_its_python_is_formatted_and_no_line_is_left_to_fill_in() -> None:
    for path, text in written("owl").items():
        assert "$" not in text
        if path.endswith(".py"):
            ast.parse(text)
            assert all(len(line) <= 130 for line in text.splitlines())


def test_it_takes_the_versions_of_the_host_that_keep_the_contract() -> None:
    (needed,) = tomllib.loads(written("owl")["pyproject.toml"])["project"]["dependencies"]
    (echoes,) = tomllib.loads((Path(__file__).parents[2] / "plugins/echo/pyproject.toml").read_text())["project"]["dependencies"]
    assert needed == echoes


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Owl", "such as owl"),
        ("barn-owl", "such as barn_owl"),
        ("../owl", "such as owl"),
        ("1owl", "cannot be the name"),
        ("class", "cannot be the name"),
        ("_", "cannot be the name"),
        ("", "cannot be the name"),
        ("echo", "installed here already"),
    ],
)
def test_a_name_that_cannot_be_a_plugins_is_refused_and_nothing_is_written(name: str, told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["plugin", "new", "--into", str(tmp_path / "here"), "--", name])
    assert done.exit_code == 1
    assert told in done.output
    assert not (tmp_path / "here").exists()


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pyproject.toml").write_text("mine")
    done = CliRunner().invoke(cli, ["plugin", "new", "owl", "--into", str(tmp_path / "here")])
    assert (done.exit_code, "is there already" in done.output) == (1, True)
    assert [file.read_text() for file in (tmp_path / "here").iterdir()] == ["mine"]
