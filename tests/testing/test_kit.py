"""The conformance kit catches what it is for, says what to do, and ends, whatever a backend does."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from planted import GOOD, KIT, MISTAKES

Verdict = dict[str, str]
"""Tests that failed, with what they said."""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """What the kit says of the good plugin and of each mistake, found in one run of pytest."""
    folder = tmp_path_factory.mktemp("kit")
    (folder / "text.txt").write_text("one two three four five six seven eight nine ten eleven twelve")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider --disable-plugin-autoload\n")
    for number, code in enumerate([GOOD, *(planted(name) for name in MISTAKES)]):
        (folder / f"plugin_{number}.py").write_text(code)
        (folder / f"test_{number}.py").write_text(KIT.format(module=f"plugin_{number}", source=str(folder / "text.txt")))
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml", "report.xml", *wanted()]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=170, check=False)
    return {name: failures(folder / "report.xml", number) for number, name in enumerate(["good", *MISTAKES])}


def all_failures(folder: Path, name: str) -> Verdict:
    """What the whole kit says of a mistake."""
    (folder / "text.txt").write_text("one two three four five six seven eight nine ten eleven twelve")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider --disable-plugin-autoload\n")
    (folder / "plugin_0.py").write_text(planted(name))
    (folder / "test_0.py").write_text(KIT.format(module="plugin_0", source=str(folder / "text.txt")))
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml", "report.xml"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=170, check=False)
    return failures(folder / "report.xml", 0)


def planted(name: str) -> str:
    code = GOOD
    for before, after in MISTAKES[name].edits:
        assert before in code, name
        code = code.replace(before, after)
    return code


def wanted() -> list[str]:
    """All tests for the good plugin; of a mistake the one that should catch it and those beside it that are quick."""
    ids = ["test_0.py"]
    for number, mistake in enumerate(MISTAKES.values(), 1):
        ids.append(f"test_{number}.py::Test{mistake.kinds}::test_{mistake.test}")
    return ids


def failures(report: Path, number: int) -> Verdict:
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.get("classname", "").startswith(f"test_{number}."):
            for outcome in (*case.iter("failure"), *case.iter("error")):
                found[case.get("name", "").removeprefix("test_")] = f"{outcome.get('message')}\n{outcome.text}"
    return found


def test_a_plugin_that_does_everything_right_passes(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["good"] == {}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught_and_it_is_said_what_to_do(verdicts: dict[str, Verdict], name: str) -> None:
    assert MISTAKES[name].says in verdicts[name].get(MISTAKES[name].test, "it passed")


@pytest.mark.parametrize("name", ["never says that it is done", "a hook without a mark", "unload raises", "cannot be loaded"])
def test_one_mistake_is_told_once(tmp_path: Path, name: str) -> None:
    told = all_failures(tmp_path, name)
    assert list(told) == [MISTAKES[name].test]
    assert MISTAKES[name].says in told[MISTAKES[name].test]
