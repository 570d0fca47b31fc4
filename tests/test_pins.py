"""Nothing that a fresh machine installs may decide whether the README's two commands work."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    return [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]


def pins() -> dict[str, str]:
    """What constraints.txt allows on this system, by name."""
    found = [Requirement(line) for line in lines("constraints.txt")]
    here = [one for one in found if one.marker is None or one.marker.evaluate()]
    assert all(str(one.specifier).startswith("==") for one in here)
    return {canonicalize_name(one.name): str(one.specifier)[2:] for one in here}


def named(file: str) -> list[Requirement]:
    """What a requirements file names: the workspace's distributions by their names."""
    found = []
    for line in lines(file):
        if line.startswith("-c"):
            continue
        path, bracket, extras = line.removeprefix("-e ").partition("[")
        if path.startswith("./"):
            name = "modelhost" if path == "./host" else "modelhost-" + path.removeprefix("./plugins/").replace("_", "-")
            found.append(Requirement(name + bracket + extras))
        else:
            found.append(Requirement(line.partition(" --")[0]))
    return found


def installed(roots: list[Requirement]) -> dict[str, str]:
    """Everything that these bring on this system, and the versions that are installed."""
    waiting = [(canonicalize_name(one.name), extra) for one in roots for extra in ("", *one.extras)]
    seen = set()
    versions = {}
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another system, or of an extra that is not asked for here
        versions[name] = found.version
        for text in found.requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(needed.name), wanted) for wanted in ("", *needed.extras)]
    return versions


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_everything_that_a_readme_command_installs_is_pinned_to_the_version_that_is_tested(file: str) -> None:
    assert "-c constraints.txt" in lines(file)
    found = installed(named(file))
    found.pop("pip", None)  # it must not replace itself while it installs
    brought = {name: version for name, version in found.items() if not name.startswith("modelhost")}
    assert len(brought) > 50
    pinned = pins()
    # A build of its own ("2.13.0+cpu") is the same release.
    assert {name: version.partition("+")[0] for name, version in brought.items()} == {name: pinned.get(name) for name in brought}
