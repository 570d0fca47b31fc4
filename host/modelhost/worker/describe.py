"""Says what a plugin is without loading a model: its hooks, its options and what is wrong with those that are set.

Runs in a process of its own, because importing a stranger's module may hang, exit or crash.
"""

import importlib.util
import json
import os
import re
import sys
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from modelhost.contract.backend import Backend, Options, Run, options_type, read_options
from modelhost.contract.errors import PluginError
from modelhost.contract.failures import written
from modelhost.contract.source import Source
from modelhost.contract.structs import Struct, literals
from modelhost.contract.types import Ability
from modelhost.worker.instance import hooks_of
from modelhost.worker.parent import end_with_parent
from modelhost.worker.plugin import find_plugin, import_backend


class FoundSource(Struct):
    """A source that an option names: `package:` ones are looked up here, where they are installed."""

    option: str
    uri: str
    sha256: str | None = None
    path: str | None = None
    """Where a `package:` source lies; None for other kinds, and for a package that is not installed."""


class OptionsReport(Struct):
    """What the plugin makes of one model's options."""

    problem: str | None = None
    key: str | None = None
    """Where in the options the problem is, to be appended to their name: `.prefix`, `.shards[1]`."""
    sources: tuple[FoundSource, ...] = ()
    leaves_machine: bool = False
    abilities: tuple[Ability, ...] | None = None
    """What the options say that the model can do; None where they say nothing of it."""
    troubles: tuple[str, ...] = ()
    """What keeps these options from working on this machine."""
    asks: dict[str, tuple[str, Ability]] = {}
    """For an option the model that it names, and what that must be able to do."""


class Description(Struct):
    """What the host knows of a plugin; it never imports one whose models run in a process."""

    name: str
    distribution: str
    version: str
    summary: str
    hooks: tuple[Ability, ...]
    run: Run
    options_schema: dict[str, Any]
    models: dict[str, OptionsReport] = {}
    request_schema: dict[str, Any] | None = None
    """What requests may carry for it; None for nothing."""


def answer(name: str) -> int:
    """Describe plugin `name` as JSON on standard output; each model's options come as JSON on standard input."""
    end_with_parent()
    models: dict[str, dict[str, Any]] = json.load(sys.stdin)
    # Whatever the plugin prints while it is imported must not mix with the answer.
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        reply: Any = describe(name, models)
    except PluginError as error:
        reply = {"error": error.message, **({"traceback": written(error.__cause__)} if error.__cause__ else {})}
    except Exception as error:
        reply = {"error": f"describing plugin {name!r} failed ({type(error).__name__})", "traceback": written(error)}
    with os.fdopen(out, "wb") as file:
        file.write(msgspec.json.encode(reply))
    return 0


def describe(name: str, models: dict[str, dict[str, Any]]) -> Description:
    """Import a plugin and describe it. Raises `PluginError`."""
    entry = find_plugin(name)
    backend = import_backend(name)
    kind = options_type(backend)
    if backend.run not in get_args(Run):
        raise PluginError(f"{backend.__name__}.run is {backend.run!r}; it must be one of {', '.join(get_args(Run))}")
    assert entry.dist is not None
    return Description(
        name=name,
        distribution=entry.dist.name,
        version=entry.dist.version,
        summary=(backend.__doc__ or "").strip().partition("\n")[0],
        hooks=hooks_of(backend),
        run=backend.run,
        options_schema=options_schema(kind),
        request_schema=None if backend.request_options is None else options_schema(backend.request_options),
        models={model: _report(backend, kind, options) for model, options in models.items()},
    )


def options_schema(kind: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema of options, with their docstrings. Raises `PluginError` for types that cannot be options."""

    def hook(custom: type) -> dict[str, Any]:
        if custom is Source:
            table = {
                "type": "object",
                "properties": {"uri": {"type": "string"}, "sha256": {"type": "string"}},
                "required": ["uri"],
                "additionalProperties": False,
            }
            return {
                "anyOf": [{"type": "string"}, table],
                "description": "hf:org/repo[/file][@rev], package:module/file or a path",
            }
        raise PluginError(f"options of type {custom.__name__} are not supported; use what msgspec knows, or Source")

    (schema,), components = msgspec.json.schema_components([kind], schema_hook=hook, ref_template="#/$defs/{name}")
    own = components.pop(schema["$ref"].rpartition("/")[2])
    for name, text in field_docs(kind).items():
        own["properties"].get(name, {}).setdefault("description", text)
    return {**own, **({"$defs": components} if components else {})}


def field_docs(kind: type) -> dict[str, str]:
    """Read the docstrings that stand under a class's fields, its bases' included."""
    import ast
    import inspect
    import textwrap

    docs: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.ClassDef) else []
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = " ".join(doc.split())
    return docs


def _report(backend: type[Backend[Any]], kind: type[Options], values: dict[str, Any]) -> OptionsReport:
    try:
        options = read_options(kind, values)
    except msgspec.ValidationError as error:
        problem, key = problem_of(error, kind)
        return OptionsReport(problem=problem, key=key)
    except ValueError as error:
        return OptionsReport(problem=str(error))
    return OptionsReport(
        sources=tuple(_sources(options, kind)),
        leaves_machine=backend.leaves_machine(options),
        abilities=backend.abilities_of(options),
        troubles=tuple(f"options.{problem}" for problem in backend.problems(options)),
        asks=dict(backend.asks(options)),
    )


def problem_of(error: msgspec.ValidationError, kind: type[Options], whose: str = "plugin") -> tuple[str, str | None]:
    """Return what is wrong with options, what is allowed, and where: `.prefix`, `.shards[1]`, or None for all of them."""
    problem, _, at = str(error).partition(" - at `$")
    fields = msgspec.structs.fields(kind)
    if match := re.search(r"unknown field `(.*)`", problem):
        known = [field.encode_name for field in fields]
        near = get_close_matches(match[1], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        problem = f"unknown option {match[1]!r}; {hint}the {whose}'s options are: {', '.join(known) or 'none'}"
    elif match := re.search(r"missing required field `(.*)`", problem):
        problem = f"the option {match[1]!r} is missing"
    elif match := re.search(r"Invalid enum value (.*)", problem):
        name = re.sub(r"\W.*", "", at.removeprefix("."))
        allowed = [value for field in fields if field.encode_name == name for value in literals(field.type)]
        problem = f"{match[1]} is not a known value; allowed: {', '.join(allowed)}" if allowed else problem
    return problem, at.rstrip("`") or None


def _sources(options: Options, kind: type[Options]) -> list[FoundSource]:
    found = []
    for field in get_type_hints(kind):
        value = getattr(options, field)
        for source in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(source, Source):
                found_at = locate(source.uri) if source.uri.startswith("package:") else None
                path = None if found_at is None else str(found_at)
                found.append(FoundSource(option=field, uri=source.uri, sha256=source.sha256, path=path))
    return found


def locate(uri: str) -> Path | None:
    """Find `package:module/file` in this interpreter without importing the module; None where it is not installed."""
    module, _, inside = uri.removeprefix("package:").partition("/")
    top, *below = module.split(".")  # looking for a module inside a package would import the package
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for found in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(found, *below)
        path = folder / inside
        if path.exists() and path.resolve().is_relative_to(Path(folder).resolve()):
            return path
    return None
