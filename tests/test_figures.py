"""Every figure in the code says what it is and where it comes from: a specification, a benchmark, or why it was chosen."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "host" / "modelhost").rglob("*.py"), *(ROOT / "plugins").glob("*/modelhost_*/*.py")])

CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")


def unexplained(source: str) -> Iterator[str]:
    """Yield the names of numeric constants of a module whose paragraph of lines has neither a docstring nor a comment."""
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        names = [name for name in _targets(statement) if CONSTANT.fullmatch(name)]
        if names and _is_numeric(statement) and not any('"""' in line or "#" in line for line in _paragraph(lines, statement)):
            yield from names


def _paragraph(lines: list[str], statement: ast.stmt) -> list[str]:
    first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
    while first > 0 and lines[first - 1].strip():
        first -= 1
    while last < len(lines) and lines[last].strip():
        last += 1
    return lines[first:last]


def _targets(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.AnnAssign):
        targets: list[ast.expr] = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = [name for target in statement.targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
    else:
        return []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_numeric(statement: ast.stmt) -> bool:
    assert isinstance(statement, ast.Assign | ast.AnnAssign)
    value = statement.value
    if not isinstance(value, ast.Constant | ast.BinOp | ast.UnaryOp | ast.Tuple):
        return False
    found = [part.value for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return bool(found) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_figure_is_explained_where_it_stands(path: Path) -> None:
    assert list(unexplained(path.read_text())) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("LIMIT = 5\n", ["LIMIT"]),
        ("_FIRST, _LAST = 1, 2.5\nx = 1\n", ["_FIRST", "_LAST"]),
        ("SIZE: int = 64 * 1024\n", ["SIZE"]),
        ('LIMIT = 5\n"""Seconds; chosen, because …"""\n', []),
        ("LIMIT = 5  # RFC 9110\n", []),
        ("# RFC 9110\nOK = 200\nGONE = 410\n", []),
        ("# RFC 9110\nOK = 200\n\nGONE = 410\n", ["GONE"]),
        ("NAME = 'x'\nFLAG = True\nlimit = 5\nBOTH = (1, 'a')\n", []),
    ],
)
def test_what_counts_as_a_figure_without_a_word(source: str, names: list[str]) -> None:
    assert list(unexplained(source)) == names
