"""One table knows HTTP statuses; everything else asks it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import modelhost.http
import pytest
from modelhost.contract.errors import ModelhostError
from modelhost.http.routing import statuses
from modelhost.http.routing.statuses import FAILURES, status_of
from modelhost.http.server.limits import REFUSALS

HTTP = Path(modelhost.http.__file__).parent
TABLE = Path(statuses.__file__)


def numbers_in(path: Path) -> Iterator[int]:
    """Yield the whole numbers of a module, but for those that cut texts to a length."""
    tree = ast.parse(path.read_text())
    cuts = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Slice) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) is int and id(node) not in cuts:
            yield node.value


KNOWN = {number for number in numbers_in(TABLE) if 101 <= number < 600}


@pytest.mark.parametrize("path", sorted(HTTP.rglob("*.py")), ids=lambda path: str(path.relative_to(HTTP)))
def test_no_other_module_writes_a_status(path: Path) -> None:
    if path != TABLE:
        assert not KNOWN.intersection(numbers_in(path))


def test_every_status_that_an_error_has_is_in_the_documents_or_refused_before_them() -> None:
    def below(kind: type[ModelhostError]) -> Iterator[type[ModelhostError]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    before = {status_of(error) for error in REFUSALS.values() if error}
    blank = [kind.__new__(kind) for kind in below(ModelhostError)]
    assert {status_of(error) for error in blank} - before - {405, 426} <= FAILURES.keys()


def test_a_status_is_documented_with_an_error_that_has_it() -> None:
    assert all(status_of(failure.example) == status for status, failure in FAILURES.items())
