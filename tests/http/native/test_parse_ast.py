"""The outline of a Python file, in the shape of the service that had the route first; hostile code harms nobody."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies as st
from modelhost.http.native import python_outline as outline
from modelhost.http.native.parse_ast import MAX_CHARACTERS
from serving import Serve, Served, eventually


@pytest.fixture(scope="module")
def host(serve: Serve) -> Served:
    return serve('[server]\nmax_body_mb = 2\n[models.echo]\nplugin = "echo"\nrun = "inline"\n')


def parse(host: Served, code: str | bytes, **fields: str) -> httpx.Response:
    return host.client.post("/parse-ast", files={"file": ("code.py", code)}, data=fields)


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"]


def test_who_leaves_takes_the_parser_along(host: Served) -> None:
    dense = "@a\n" * 100_000 + "def f(): pass\n"
    for _ in range(6):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{host.url}/parse-ast",
                files={"file": ("code.py", dense * 2)},
                timeout=httpx.Timeout(10, read=0.05),
                trust_env=False,
            )
    eventually(lambda: not [one for one in host.client.get("/v1/requests").json()["data"] if one["route"] == "/parse-ast"], 5)
    assert parse(host, "def f(): pass").status_code == 200


CODE = '''"""A test module for parsing."""
import os
from typing import List


def my_function(param1, param2) -> int:
    """A standalone function."""


class MyClass:
    """A simple example class."""

    def __init__(self):
        import json

    def my_method(self, arg1: int) -> int:
        return arg1
'''

SAID: dict[str, Any] = {
    "language": "python",
    "docstring": "A test module for parsing.",
    "imports": ["json", "os", "typing"],
    "functions": [
        {
            "name": "my_function",
            "docstring": "A standalone function.",
            "params": [{"name": "param1", "type": "None"}, {"name": "param2", "type": "None"}],
            "returns": "int",
            "decorators": [],
            "is_async": False,
        }
    ],
    "classes": [
        {
            "name": "MyClass",
            "docstring": "A simple example class.",
            "base_classes": [],
            "methods": [
                {
                    "name": "__init__",
                    "docstring": "",
                    "params": [{"name": "self", "type": "None"}],
                    "returns": "None",
                    "decorators": [],
                    "is_async": False,
                },
                {
                    "name": "my_method",
                    "docstring": "",
                    "params": [{"name": "self", "type": "None"}, {"name": "arg1", "type": "int"}],
                    "returns": "int",
                    "decorators": [],
                    "is_async": False,
                },
            ],
            "decorators": [],
        }
    ],
}


def test_a_file_is_outlined_in_the_shape_its_clients_know(host: Served) -> None:
    for language in ({"language": "python"}, {"language": "Python"}, {}):
        answer = parse(host, CODE, **language)
        assert (answer.status_code, answer.json()) == (200, SAID)


def test_parameters_of_every_kind_are_there_with_types_and_defaults() -> None:
    (found,) = outline.outline("@a.b(1)\nasync def f(p, /, q: int = 1, *r: str, s=None, t: 'T', **u): ...")["functions"]
    assert [(one["name"], one["type"], one.get("default")) for one in found["params"]] == [
        ("p", "None", None),
        ("q", "int", "1"),
        ("*r", "str", None),
        ("s", "None", "None"),
        ("t", "'T'", None),
        ("**u", "None", None),
    ]
    assert (found["decorators"], found["is_async"]) == (["a.b(1)"], True)


def test_imports_are_named_once_and_relative_ones_with_their_dots() -> None:
    assert outline.outline("import a.b as c, a.b\nfrom .. import d\nfrom .e import f")["imports"] == ["..", ".e", "a.b"]


@given(st.sampled_from(sorted(Path(ast.__file__).parent.glob("*.py"))))
def test_python_s_own_modules_are_outlined_with_every_function_at_their_top(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = outline.outline(text)
    top = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [one["name"] for one in found["functions"]] == top


def test_code_that_does_not_parse_is_refused_with_line_and_column(host: Served) -> None:
    answer = parse(host, "x = 1\ndef f(:\n")
    assert refusal(answer) == (400, "file", "invalid_syntax")
    assert "line 2, column 7" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (b"x = '\xff'", "file is not UTF-8"),
        (b"x = 1\0", "file is not a text: it has NUL in it"),
        (b"#" * (MAX_CHARACTERS + 1), "the file has 1048577 characters"),
    ],
)
def test_what_is_no_text_or_too_much_of_it_is_refused(host: Served, code: bytes, problem: str) -> None:
    answer = parse(host, code)
    assert refusal(answer) == (400, "file", "invalid_value")
    assert answer.json()["error"]["message"].startswith(problem)


def test_a_body_over_the_limit_another_language_and_no_file_are_refused(host: Served) -> None:
    assert parse(host, b"#" * (2 * 2**20 + 1)).status_code == 413
    answer = parse(host, "", language="cobol")
    assert refusal(answer) == (400, "language", "unsupported")
    assert "these are: python" in answer.json()["error"]["message"]
    assert refusal(host.client.post("/parse-ast", data={"language": "python"})) == (400, "file", "missing_required_parameter")


def test_half_a_character_in_a_docstring_an_empty_file_and_a_byte_order_mark_are_no_trouble(host: Served) -> None:
    assert parse(host, '"""a \\ud800 b"""').json()["docstring"] == "a ? b"
    assert parse(host, "").json()["functions"] == []
    assert parse(host, b"\xef\xbb\xbfimport os").json()["imports"] == ["os"]


HOSTILE = {
    "signs": "-" * 100_000 + "1",
    "sum": "1" + "+1" * 400_000,
    "attributes": "a" + ".a" * 400_000,
    "calls": "a" + "()" * 300_000,
    "elif": "if a: pass\n" + "elif a: pass\n" * 50_000,
    "annotation": f"def f(a: {'-' * 3000}1): pass",
    "not": "not " * 200_000 + "a",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_code_that_is_nested_too_deeply_is_refused(host: Served, name: str) -> None:
    assert refusal(parse(host, HOSTILE[name])) == (400, "file", "too_complex")


def test_while_the_densest_code_is_parsed_others_are_served_and_the_host_does_not_grow(host: Served) -> None:
    memory = Path(f"/proc/{host.process.pid}/statm")
    before = int(memory.read_text().split()[1])
    with ThreadPoolExecutor(1) as pool:
        parsing = pool.submit(httpx.post, f"{host.url}/parse-ast", files={"file": "a," * 200_000}, timeout=60, trust_env=False)
        served = 0
        while not parsing.done():
            served += host.client.get("/livez").status_code == 200
    assert parsing.result().status_code in (200, 400)
    assert served > 5
    assert (int(memory.read_text().split()[1]) - before) * 4096 < 32 * 2**20
