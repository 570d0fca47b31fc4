"""What a chat template may call: Jinja's filters, tests and globals within bounds, and those of Hugging Face beside them."""

import datetime
import json
import re
from collections.abc import Callable, Mapping
from functools import wraps
from types import GeneratorType
from typing import Any, NoReturn

from jinja2 import Environment, pass_environment, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.filters import do_format, do_indent, do_replace, do_round, do_title, make_attrgetter, sync_do_join
from jinja2.nodes import EvalContext
from jinja2.utils import generate_lorem_ipsum
from modelhost.authors.chat_templates import OverBoundError

from modelhost_gguf_chat.bounds import (
    MAX_SLOW,
    check_method,
    check_numbers,
    check_operator,
    paid,
    rendering,
    ticking,
    weighed,
)
from modelhost_gguf_chat.origins import Safe, Traced, escaped, like, own, pure, spans, traced

MAX_RANGE = 10_000
"""Numbers of a `range`. Chosen, because conversations have fewer turns."""
MAX_WORDS = 10_000
"""Words of `lipsum`. Chosen, because no template needs any."""
MAX_DIGITS = 300
"""Digits that a number is rounded to. Chosen, because Jinja computes ten to this power, and a float has no more."""
MAX_REFUSAL = 300
"""Characters of the message a template may refuse a conversation with. Chosen, because it goes into an error of one line."""
SHALLOW = frozenset(
    {"attr", "batch", "count", "d", "default", "first", "float", "int", "items", "last", "length", "list", "map", "random"}
    | {"reject", "rejectattr", "reverse", "round", "safe", "select", "selectattr", "slice", "sum", "tojson"}
)
"""Filters that take a list's elements as they are; all others may walk through what they are given."""
ANY_NUMBER = frozenset({"d", "default", "abs", "float", "int", "filesizeformat", "string", "tojson"})
"""Filters to which a large number is a value, not a width or a count."""
SLOW = frozenset({"pprint", "striptags", "urlize", "wordwrap"})
"""Filters that take time by the square of a text, or may."""

FREE = frozenset({"attr", "d", "default", "first", "last", "max", "min", "random"})
"""Filters that make nothing."""

Function = Callable[..., Any]


class RefusedError(Exception):
    """A template refuses a conversation, with a message of its own."""


def bounded_filters(known: Mapping[str, Function]) -> dict[str, Any]:
    """Return Jinja's filters, each within bounds, and `from_json`, which templates for llama.cpp use."""
    filters = {**known, **_FILTERS}
    return {name: _bounded(name, function) for name, function in filters.items()}


def bounded_tests(known: Mapping[str, Function]) -> dict[str, Any]:
    """Return Jinja's tests; they walk through nothing that is too large."""
    return {name: _weighing(function) for name, function in known.items()}


def _bounded(name: str, function: Function) -> Function:
    deep, slow, any_number, free = name not in SHALLOW, name in SLOW, name in ANY_NUMBER, name in FREE

    @wraps(function)  # with what says that Jinja gives it its context, too
    def filtered(*args: Any, **kwargs: Any) -> Any:
        rendering.get().tick()
        values = [*args, *kwargs.values()]
        if not any_number:
            check_numbers(values)
        for value in values if deep else ():
            weighed(value)
        if slow and any(isinstance(value, str) and len(value) > MAX_SLOW for value in values):
            raise OverBoundError(f"uses the filter {name} on too long a text")
        made = function(*args, **kwargs)
        if not free:
            paid(made)
        return ticking(made) if isinstance(made, GeneratorType) else made

    return filtered


def _weighing(function: Function) -> Function:
    @wraps(function)
    def tested(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            weighed(value)
        return function(*args, **kwargs)

    return tested


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_RANGE:
        raise OverBoundError("counts too far")
    return made


def _lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:  # noqa: A002  # as Jinja's
    if n * max > MAX_WORDS or n > MAX_WORDS:
        raise OverBoundError("asks for too much of lipsum")
    return generate_lorem_ipsum(n, html, min, max)


def _raise_exception(message: object) -> NoReturn:
    text = str(weighed(message))
    shown, at = [], 0
    for begin, end in (*spans(text), (len(text), len(text))):
        shown += ["…" if begin > at else "", text[begin:end]]  # never what a message says
        at = end
    raise RefusedError("".join(shown)[:MAX_REFUSAL])


def _strftime_now(form: str) -> str:
    if len(form) > 100 or re.search(r"%[^a-zA-Z%]*\d", form):
        raise SecurityError("a date format with widths")
    made = datetime.datetime.now().astimezone().strftime(form)
    return own(made) if pure(form) else Traced(made)


def _escape(value: Any) -> Safe:
    return escaped(value if isinstance(value, str) else str(value))


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    check_operator("%", value if isinstance(value, str) else str(value), kwargs or args)
    return do_format(value, *args, **kwargs)


def _safe(value: Any) -> Safe:
    return Safe(value, spans(value)) if isinstance(value, str) else Safe(str(value))


def _from_json(value: str) -> Any:
    return traced(json.loads(value))


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    indention = width if isinstance(width, str) else " " * width
    rendering.get().afford(len(s) + len(s.splitlines()) * len(indention))
    if not isinstance(s, Traced):
        return do_indent(s, width, first, blank)
    newline = Traced("\n")
    lines = (s + newline).splitlines()
    made: str = (newline + indention).join(lines) if blank else lines.pop(0)
    if not blank and lines:
        made += newline + newline.join([indention + line if line else line for line in lines])
    return indention + made if first else made


@pass_eval_context
def _join(eval_ctx: EvalContext, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    if eval_ctx.autoescape:
        return sync_do_join(eval_ctx, value, d, attribute)
    if attribute is not None:
        value = map(make_attrgetter(eval_ctx.environment, attribute), value)
    parts = [str(weighed(part)) for part in value]
    between = d if isinstance(d, Traced) else Traced(str(d))
    check_method(between, "join", (parts,), {})
    return between.join(parts)


@pass_eval_context
def _replace(eval_ctx: EvalContext, s: Any, old: Any, new: Any, count: int | None = None) -> str:
    check_method(str(s), "replace", (str(old), str(new)), {})
    return do_replace(eval_ctx, s, old, new, count)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > MAX_DIGITS:
        raise OverBoundError("rounds to too many digits")
    return do_round(value, precision, method)


@pass_environment
def _sum(environment: Environment, iterable: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    of = make_attrgetter(environment, attribute) if attribute is not None else None
    total = start
    for item in ticking(iterable):
        term = of(item) if of else item
        check_operator("+", total, term)
        total += term
        paid(term if isinstance(total, list) else total)
    return total


def _title(s: str) -> str:
    made = do_title(s)
    return like(made, s) if isinstance(s, Traced) else made


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    check_numbers([indent])
    rendering.get().afford(sum(map(len, separators or ())) * rendering.get().weigh(value))
    written = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if indent is None:
        return Traced(written.encode(value))
    return Traced("".join(paid(chunk) for chunk in ticking(written.iterencode(value))))  # each line has its level's indent


GLOBALS: dict[str, Function] = {
    "lipsum": _lipsum,
    "range": _range,
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
}
"""Beside Jinja's own `cycler`, `dict`, `joiner` and `namespace`, whose calls are bounded like all calls."""

_FILTERS: dict[str, Function] = {
    "e": _escape,
    "escape": _escape,
    "format": _format,
    "from_json": _from_json,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "safe": _safe,
    "sum": _sum,
    "title": _title,
    "tojson": _tojson,
}
