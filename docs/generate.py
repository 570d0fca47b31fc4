"""Writes the tables of these documents that follow from the code: `python docs/generate.py`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; what is around it is written by hand. With `--check` nothing
is written: the pages that are behind the code are named, and the exit status is 1.
"""

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import click
import msgspec
from litestar.handlers import HTTPRouteHandler
from modelhost import testing
from modelhost.cli import cli
from modelhost.config.schema import TABLES as CONFIG_TABLES, Config
from modelhost.contract.card import Feature, ModelCard
from modelhost.contract.errors import ModelhostError, RequestError, ServiceError
from modelhost.contract.types import (
    Message,
    Part,
    ResponseFormat,
    Timings,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
    VoiceSample,
    Word,
)
from modelhost.contract.types.abilities import ABILITIES, EVENTS, REQUESTS, Ability
from modelhost.http.app import DIALECTS, ROUTES
from modelhost.http.routing.errors import MethodNotAllowedError, UnknownPathError, UnreadableError
from modelhost.http.routing.spec import spec_of
from modelhost.http.routing.statuses import status_of
from modelhost.http.server import limits
from modelhost.pool.requirements import ASKS
from modelhost.testing import BackendTests
from modelhost.testing.duties import DUTIES
from modelhost.worker.describe import field_docs

DOCS = Path(__file__).parent
KIT: list[Any] = sorted(
    (kind for kind in vars(testing).values() if hasattr(kind, "ability")), key=lambda kind: ABILITIES.index(kind.ability)
)
"""The class of the conformance kit for each ability."""

TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(columns: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, re.sub(r"[^|]+", "---", columns)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


# The configuration


def keys_of(kind: type[msgspec.Struct]) -> str:
    """Return the keys of one table of the file, in the order of the schema."""
    docs, kinds = field_docs(kind), get_type_hints(kind, include_extras=True)
    rows = [(f"`{key.name}`", type_of(kinds[key.name]), default_of(key), docs[key.name]) for key in msgspec.structs.fields(kind)]
    return table("| key | type | default | meaning |", rows)


PLAIN = {bool: "boolean", str: "string", int: "integer", float: "number", Any: "value"}


def type_of(kind: Any) -> str:
    """Return in words what a key takes."""
    arguments = get_args(kind)
    match get_origin(kind):
        case None:
            return PLAIN.get(kind, "table")
        case typing.Annotated:
            return type_of(arguments[0]) + _bounds(arguments[1])
        case typing.Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        case types.UnionType | typing.Union:
            return " or ".join(type_of(one) for one in arguments if one is not types.NoneType)
    what = "table" if get_origin(kind) is dict else "list"
    return f"{what} of {_many(arguments[1 if what == 'table' else 0])}"


def _many(kind: Any) -> str:
    return re.sub(r"^\w+", r"\g<0>s", type_of(kind))


def _bounds(meta: msgspec.Meta) -> str:
    if meta.gt is not None:
        return f" above {meta.gt:g}"
    if meta.ge is None:
        return ""
    return f", {meta.ge:g} or more" if meta.le is None else f", {meta.ge:g} to {meta.le:g}"


def default_of(key: msgspec.structs.FieldInfo) -> str:
    """Return a key's default as it would stand in the file; nothing for what is not set."""
    if key.required:
        return "required"
    default = key.default if key.default is not msgspec.NODEFAULT else key.default_factory()
    return "" if default is None or isinstance(default, msgspec.Struct) else f"`{json.dumps(default)}`"


# The command line


def commands() -> str:
    """Return every command with what it takes."""
    return "\n\n".join(_commands(cli, click.Context(cli, info_name="modelhost")))


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield _described(command, context)
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from _commands(inner, click.Context(inner, info_name=name, parent=context))


def _described(command: click.Command, context: click.Context) -> str:
    path = context.command_path
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## {path}", f"    {usage}", inspect.cleandoc(command.help or "")]
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        parts.append(table("| option | value | meaning |", (_option(option) for option in options)))
    return "\n\n".join(parts)


def _option(option: click.Option) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in option.opts)
    variable = f" The variable `{option.envvar}` says it as well." if option.envvar else ""
    return names, "" if option.is_flag else option.metavar or _value(option.type), f"{option.help}{variable}"


def _value(kind: Any) -> str:
    match kind:
        case click.Choice(choices=choices):
            return ", ".join(f"`{choice}`" for choice in choices)
        case click.IntRange(min=low, max=high) | click.FloatRange(min=low, max=high):
            what = "integer" if isinstance(kind, click.IntRange) else "number"
            return f"{what}, {low} or more" if high is None else f"{what}, {low} to {high}"
        case click.Path():
            return "file"
    return str(kind.name)


# HTTP


def endpoints() -> str:
    """Return every route with who may use it."""
    shown = [route for route in ROUTES if isinstance(route, HTTPRouteHandler) and route.include_in_schema]
    found = [
        (re.sub(r":\w+}", "}", path), method, str(route.summary), spec_of(route).access)
        for route in shown
        for path in route.paths
        for method in route.http_methods
    ]
    rows = [(f"`{method} {path}`", summary, access) for path, method, summary, access in sorted(found)]
    return table("| | what | key |", rows)


def messages(path: str) -> str:
    """Return the messages of a WebSocket: what it takes, what it sends, and their fields."""
    route = next(route for route in ROUTES if path in route.paths)
    rows = [
        (f"`{kind.__struct_config__.tag}`", way, " ".join(str(kind.__doc__).split()), _fields(kind))
        for way, kinds in (("to the host", spec_of(route).receives), ("from the host", spec_of(route).sends))
        for kind in kinds
    ]
    return table("| `type` | way | what | fields |", rows)


def _fields(kind: type[msgspec.Struct]) -> str:
    return ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(kind))


def error_classes() -> str:
    """Return every class of error that is raised, by status."""
    rows = []
    kinds = sorted(_below(ModelhostError), key=lambda kind: (status_of(_blank(kind)), kind.__name__))
    for kind in kinds:
        error = _blank(kind)
        told = msgspec.to_builtins(DIALECTS.default.body_of(error))["error"]
        retry = "yes" if error.retry else "no"
        status = str(status_of(error))
        meaning = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
        rows.append((f"`{kind.__name__}`", status, f"`{told['type']}`", f"`{told['code']}`", retry, meaning))
    return table("| class | status | type | code | retry | when |", rows)


def _below(kind: type[ModelhostError]) -> Iterator[type[ModelhostError]]:
    """Yield all subclasses but those that only sort others."""
    for child in kind.__subclasses__():
        if child not in (RequestError, ServiceError):
            yield child
        yield from _below(child)


def _blank(kind: type[ModelhostError]) -> ModelhostError:
    """Make an error without the arguments its class may want."""
    error = kind.__new__(kind)
    ModelhostError.__init__(error, "")
    return error


def refusals() -> str:
    """Return what is refused before a route is reached, or instead of one."""
    unrouted = (UnknownPathError("METHOD", "PATH"), MethodNotAllowedError("METHOD", "PATH"), UnreadableError.no_json())
    told = (*filter(None, limits.REFUSALS.values()), *unrouted)
    rows = [(status_of(error), error.code, error.message, "yes" if error.retry else "no") for error in told]
    return table(
        "| status | code | message | retry |", ((str(s), f"`{code}`", text, retry) for s, code, text, retry in sorted(rows))
    )


# The contract


def hooks() -> str:
    """Return every hook with what goes in and what comes out."""
    rows = [
        (f"`{ability}`", f"`{REQUESTS[ability].__name__}`", ", ".join(f"`{kind.__name__}`" for kind in get_args(EVENTS[ability])))
        for ability in ABILITIES
    ]
    return table("| hook | request | events |", rows)


WORKERS = {
    ("synthesize", "format"): "the host's: you yield PCM whatever stands here",
    ("synthesize", "sample_rate"): "the host's: you yield your own rate",
}
"""What is done around a hook, in the worker."""


def who(ability: Ability, field: str) -> str:
    """Return who sees to a field of a request: the host, by a feature of the card or around the hook, and then the backend."""
    asks = ASKS.get(REQUESTS[ability], ())
    told = [f"refused unless the features name `{ask.feature}`" for ask in asks if ask.field == field]
    if duty := DUTIES[ability].get(field):
        told.append(f"yours: {duty.what}")
    if around := WORKERS.get((ability, field)):
        told.append(around)
    return "; ".join(told)


def request_fields() -> str:
    """Return the fields of every request, and who sees to them."""
    return "\n\n".join(
        f"### {REQUESTS[ability].__name__}\n\n{_summary(REQUESTS[ability])}\n\n{_members(REQUESTS[ability], ability)}"
        for ability in ABILITIES
    )


def event_fields() -> str:
    """Return the fields of every event, and of what events are made of."""
    kinds = dict.fromkeys(kind for ability in ABILITIES for kind in get_args(EVENTS[ability]))
    return "\n\n".join(f"### {kind.__name__}\n\n{_summary(kind)}\n\n{_members(kind)}" for kind in kinds)


def part_fields() -> str:
    """Return the fields of what requests and events are made of."""
    kinds = (Message, *get_args(Part), Tool, ToolChoice, ToolCall, ResponseFormat, VoiceSample)
    more = (Usage, Timings, TokenLogprob, Word)
    return "\n\n".join(f"### {kind.__name__}\n\n{_summary(kind)}\n\n{_members(kind)}" for kind in (*kinds, *more))


def _summary(kind: type) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())


def _members(kind: Any, ability: Ability | None = None) -> str:
    docs, kinds = field_docs(kind), get_type_hints(kind, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(kind):
        default = "required" if field.required else f"`{field.default!r}`" if field.default is not msgspec.NODEFAULT else ""
        row = [f"`{field.name}`", _python(kinds[field.name]), default, docs.get(field.name, "")]
        rows.append([*row, who(ability, field.name)] if ability else row)
    return table(
        "| field | type | default | meaning | who sees to it |" if ability else "| field | type | default | meaning |", rows
    )


def _python(kind: Any) -> str:
    """Write a type as its author would."""
    arguments = get_args(kind)
    match get_origin(kind):
        case None:
            return "None" if kind is types.NoneType else f"`{getattr(kind, '__name__', kind)}`"
        case typing.Annotated:
            return _python(arguments[0]) + _bounds(arguments[1])
        case typing.Literal:
            return ", ".join(f"`{value!r}`" for value in arguments)
        case types.UnionType | typing.Union:
            return " or ".join(_python(one) for one in arguments)
    inside = ", ".join("…" if one is Ellipsis else _python(one).replace("`", "") for one in arguments)
    return f"`{get_origin(kind).__name__}[{inside}]`"


def features() -> str:
    """Return the features of a card, and which field takes each."""
    asked: dict[str, list[str]] = {}
    for kind, asks in ASKS.items():
        for ask in asks:
            asked.setdefault(ask.feature, []).append(f"`{kind.__name__}.{ask.field}`")
    for kind_of_format in ("json_object", "json_schema"):
        asked[kind_of_format] = ["`GenerateRequest.response_format` of this kind"]
    asked["compaction"] = ["a `CompactionPart` in `GenerateRequest.messages`"]
    rows = [
        (f"`{feature}`", " and ".join(asked[feature]) if feature in asked else UNASKED[feature]) for feature in get_args(Feature)
    ]
    return table("| feature | what asks for it |", rows)


UNASKED = {
    "streaming": "nothing: the answer comes piece by piece, which clients may rely on",
    "stop": "nothing: `GenerateRequest.stop` is honoured by the backend; where it is not named, the host cuts",
}


def kit() -> str:
    """Return every test of the conformance kit."""
    parts = []
    seen: set[str] = set()
    for kind in (BackendTests, *KIT):
        tests = [name for name in dir(kind) if name.startswith("test_") and name not in seen]
        ordered = sorted(tests, key=lambda name: inspect.getsourcelines(getattr(kind, name))[1])
        rows = [(name.removeprefix("test_").replace("_", " "), _summary(getattr(kind, name))) for name in ordered]
        if kind is BackendTests:
            seen |= set(tests)
        title = "every class" if kind is BackendTests else f"{kind.__name__}, for `{kind.ability}`"
        parts.append(f"### {title[0].upper()}{title[1:]}\n\n{table('| claim | why |', rows)}")
    return "\n\n".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    "the whole file": lambda: keys_of(Config),
    **{known.heading: partial(keys_of, known.kind) for known in CONFIG_TABLES.values() if known.kind},
    "commands": commands,
    "endpoints": endpoints,
    "/v1/speech-to-text/ws": lambda: messages("/v1/speech-to-text/ws"),
    "/v1/text-to-speech/ws": lambda: messages("/v1/text-to-speech/ws"),
    "/v1/generate_ws": lambda: messages("/v1/generate_ws"),
    "errors": error_classes,
    "refusals": refusals,
    "hooks": hooks,
    "requests": request_fields,
    "events": event_fields,
    "parts": part_fields,
    "card": lambda: _members(ModelCard),
    "features": features,
    "kit": kit,
}


def rendered(text: str) -> str:
    """Return a page with its tables as the code has them now."""
    return TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name those that are behind."""
    behind = [page for page in sorted(DOCS.rglob("*.md")) if rendered(page.read_text()) != page.read_text()]
    for page in behind:
        if arguments == ["--check"]:
            print(f"{page.relative_to(DOCS.parent)} is behind the code; run: python docs/generate.py")  # noqa: T201
        else:
            page.write_text(rendered(page.read_text()))
    return 1 if behind and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
