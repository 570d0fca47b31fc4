"""What a Python file is made of. Run as a program it reads the text from its standard input and writes JSON.

It is run in a process of its own, because texts can be made that take all the memory, time or stack of whoever parses them.
It needs the standard library alone, so that it starts in a hundredth of a second.
"""

import ast
import json
import sys
from typing import Any

MAX_MEMORY = 1024 * 1024 * 1024
"""Bytes the program may take: a megabyte of the densest code takes 0.6 GB."""
MAX_SECONDS = 10
"""Of CPU time it may take: a megabyte of the densest code takes 3."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def outline(text: str) -> dict[str, Any]:
    """Describe a module: its imports, functions and classes. Raises `SyntaxError`, `RecursionError` and `MemoryError`."""
    tree = ast.parse(text)
    return {
        "language": "python",
        "docstring": _docstring(tree),
        "imports": _imports(tree),
        "functions": [_function(node) for node in tree.body if isinstance(node, Function)],
        "classes": [_class(node) for node in tree.body if isinstance(node, ast.ClassDef)],
    }


def _imports(tree: ast.Module) -> list[str]:
    """Name the modules that are imported anywhere in the file, in alphabetical order; relative ones with their dots."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return sorted(names)


def _class(node: ast.ClassDef) -> dict[str, Any]:
    return {
        "name": node.name,
        "docstring": _docstring(node),
        "base_classes": [ast.unparse(base) for base in node.bases],
        "methods": [_function(inner) for inner in node.body if isinstance(inner, Function)],
        "decorators": [ast.unparse(decorator) for decorator in node.decorator_list],
    }


def _function(node: Function) -> dict[str, Any]:
    return {
        "name": node.name,
        "docstring": _docstring(node),
        "params": _params(node.args),
        "returns": _written(node.returns),
        "decorators": [ast.unparse(decorator) for decorator in node.decorator_list],
        "is_async": isinstance(node, ast.AsyncFunctionDef),
    }


def _params(args: ast.arguments) -> list[dict[str, str]]:
    by_place = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [*[None] * (len(by_place) - len(args.defaults)), *args.defaults]
    found = [_param(arg, default) for arg, default in zip(by_place, defaults, strict=True)]
    if args.vararg:
        found.append(_param(args.vararg, None, "*"))
    found += [_param(arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        found.append(_param(args.kwarg, None, "**"))
    return found


def _param(arg: ast.arg, default: ast.expr | None, stars: str = "") -> dict[str, str]:
    param = {"name": stars + arg.arg, "type": _written(arg.annotation)}
    return param if default is None else {**param, "default": ast.unparse(default)}


def _written(annotation: ast.expr | None) -> str:
    return "None" if annotation is None else ast.unparse(annotation)


def _docstring(node: ast.Module | ast.ClassDef | Function) -> str:
    text = ast.get_docstring(node) or ""
    return text.encode("utf-8", "replace").decode()  # an escape may have made half a character, which no JSON may hold


def _limit() -> None:
    import resource

    for what, most in (("RLIMIT_AS", MAX_MEMORY), ("RLIMIT_CPU", MAX_SECONDS), ("RLIMIT_CORE", 0)):
        resource.setrlimit(getattr(resource, what), (most, most))


def main() -> int:
    """Write the outline, or where and why the text does not parse; returns 1 where it is too much to be parsed."""
    _limit()
    try:
        answer: dict[str, Any] = {"outline": outline(sys.stdin.buffer.read().decode())}
    except SyntaxError as error:
        answer = {"line": error.lineno or 1, "column": error.offset or 1, "problem": error.msg}
    except (RecursionError, MemoryError):
        return 1
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
