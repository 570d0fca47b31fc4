"""Who may import whom: one order of rooms, no circle, no dialect that knows another; and how long files and functions may be."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import modelhost
import pytest

ROOT = Path(modelhost.__file__).parent

STOREYS: tuple[tuple[str, ...], ...] = (
    ("contract",),  # what host and plugins agree on: it is read by everybody, so it knows nobody
    ("authors", "concurrency"),  # what plugins may use beside it; threads and timers that carry its events
    ("audio", "config", "wire"),  # sound, the file, and frames: each is needed on both sides of a worker's socket or before it
    ("worker",),  # the other side: a backend and what the host does around its hooks
    ("access", "observability", "plugins", "runner", "testing"),  # keys; logs and counts; who is installed; where a backend runs
    ("planning",),  # the file and what plugins say of it, as one value: the host and the commands start from it
    ("running_call", "pool"),  # models' lives and their calls: what is planned, run by runners, counted
    ("caching",),  # kept results, by the models that made them
    ("router",),  # from a name to a model, around it extensions and cache
    ("dialogue",),  # three calls of the router as one
    ("host",),  # puts all of these together
    ("http",),  # the host over the network
    ("cli",),  # starts the host, or asks one
)
"""The rooms of the package, from the bottom. A room imports what stands below it, never what stands above or beside."""

HTTP_STOREYS: tuple[tuple[str, ...], ...] = (
    ("routing",),  # what routes are made of
    ("middleware",),  # what a request passes before its route
    ("openai", "native", "admin"),  # the dialects: each changes for its owner's reasons, so none knows another
    ("app",),  # all routes together
    ("server",),  # runs the application; what it refuses before a route is told in OpenAI's words
)
"""The same within `http/`."""

FACE = ("modelhost", "modelhost.__main__")
"""Looks names up when they are asked for, and starts the command line: it may name anything, and nothing here imports it."""


class Import(NamedTuple):
    """That a module needs another; `typing` says that only type checkers do."""

    importer: str
    imported: str
    typing: bool = False


@cache
def modules() -> dict[str, Path]:
    """Return all modules of the package by name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports_in(node: ast.AST, importer: str, *, typing: bool = False) -> Iterator[Import]:
    """Yield what is imported in a piece of code, wherever in it."""
    for child in ast.iter_child_nodes(node):
        within = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        if isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{importer}: modules are named in full"
            for name in child.names:
                whole = f"{child.module}.{name.name}"
                yield Import(importer, whole if whole in modules() else child.module or "", within)
        elif isinstance(child, ast.Import):
            yield from (Import(importer, name.name, within) for name in child.names)
        yield from imports_in(child, importer, typing=within)


@cache
def imports() -> list[Import]:
    """Return which module of the package imports which, in functions too."""
    found = (one for name, path in modules().items() for one in imports_in(ast.parse(path.read_text()), name))
    return [one for one in found if one.imported.partition(".")[0] == "modelhost" and one.importer not in FACE]


def storey_of(module: str, storeys: tuple[tuple[str, ...], ...], depth: int) -> tuple[int, str]:
    """Return on which storey a module stands, and its room there."""
    room = module.split(".")[depth]
    return next((number for number, rooms in enumerate(storeys) if room in rooms), -1), room


def test_every_module_has_its_storey() -> None:
    lost = [name for name in modules() if name not in FACE and storey_of(name, STOREYS, 1)[0] < 0]
    lost += [name for name in modules() if name.startswith("modelhost.http.") and storey_of(name, HTTP_STOREYS, 2)[0] < 0]
    assert lost == []


def test_nothing_imports_the_face() -> None:
    assert [one for one in imports() if one.imported in FACE] == []


def test_nothing_imports_what_stands_above_or_beside_it() -> None:
    wrong = []
    for one in imports():
        (above, room), (below, other) = storey_of(one.importer, STOREYS, 1), storey_of(one.imported, STOREYS, 1)
        if room != other and above <= below:
            wrong.append(one)
    assert wrong == []


def test_within_http_nothing_does_either_and_no_dialect_imports_another() -> None:
    wrong = []
    for one in imports():
        if one.importer.startswith("modelhost.http.") and one.imported.startswith("modelhost.http."):
            (above, room), (below, other) = storey_of(one.importer, HTTP_STOREYS, 2), storey_of(one.imported, HTTP_STOREYS, 2)
            if room != other and above <= below:
                wrong.append(one)
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    needs: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        if not one.typing:
            needs[one.importer].add(one.imported)
    while free := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in free:
            del needs[name]
    assert needs == {}


LONG_FILES = {"http/server/limits/connection.py", "wire/channel.py"}
"""Each has one state machine that would be harder to read in two places."""


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_have_400_lines_at_most_and_functions_40(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= 400 or str(path.relative_to(ROOT)) in LONG_FILES
    long = [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 40
        and not any("click." in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert long == []
