"""Checks what requests carry for a plugin before they wait, by the JSON Schema that the plugin has described itself with.

The host does not import a plugin whose models run in a process, so the schema is made into a type again. What it cannot say in
msgspec's types passes here, and is found by the worker.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta

from modelhost.contract.errors import BadInputError, RequestError, UnsupportedError
from modelhost.contract.request_options import FIELD, refusal

Schema = Mapping[str, Any]

_BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
"""JSON Schema's words (validation vocabulary, 2020-12, section 6) and msgspec's."""

_PLAIN: dict[str, Any] = {"boolean": bool, "integer": int, "number": float, "string": str, "null": None}


def problem_of(plugin: str, schema: Schema | None, given: Mapping[str, Any], model: str) -> RequestError | None:
    """Return the error for what a request carries for plugins, asked of a model of `plugin`; None where all is well."""
    for name in given:
        if name != plugin:
            said = f"model {model!r} is of the plugin {plugin!r}, which has no options of {name!r}"
            return UnsupportedError(said, param=f"{FIELD}.{name}")
    if plugin not in given:
        return None
    if schema is None:
        return UnsupportedError(f"requests carry no options for the plugin {plugin!r}", param=f"{FIELD}.{plugin}")
    known = schema.get("properties", {})
    for key in given[plugin].keys() - known.keys():
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        told = f"{FIELD}.{plugin}: there is no option {key[:60]!r}; {hint}there are: {', '.join(known)}"
        return BadInputError(told, param=f"{FIELD}.{plugin}.{key[:60]}")
    try:
        msgspec.msgpack.encode(given[plugin])
    except OverflowError:
        return BadInputError(f"{FIELD}.{plugin} has a number of more than 64 bits", param=f"{FIELD}.{plugin}")
    try:
        msgspec.convert(given[plugin], _checked_by(msgspec.json.encode(schema)), strict=False)
    except msgspec.ValidationError as error:
        return refusal(plugin, error)
    return None


@lru_cache(maxsize=64)  # one a plugin; chosen, as more plugins than anybody has in one host
def _checked_by(schema: bytes) -> Any:
    read = msgspec.json.decode(schema)
    return type_of(read, read.get("$defs", {}))


def type_of(schema: Schema, definitions: Schema) -> Any:
    """Return the type of the values that a schema allows, or one that allows more."""
    made = _made(schema, definitions)
    try:
        msgspec.json.Decoder(made)
    except (TypeError, ValueError, RecursionError):  # a union of two kinds of text, for one
        return Any
    return made


def _made(schema: Schema, definitions: Schema) -> Any:
    if "$ref" in schema:
        return type_of(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if "anyOf" in schema:
        return Union[tuple(type_of(one, definitions) for one in schema["anyOf"])]  # noqa: UP007  # made of what is known now
    bounds = {_BOUNDS[word]: value for word, value in schema.items() if word in _BOUNDS}
    plain = _unbound(schema, definitions)
    return Annotated[plain, Meta(**bounds)] if bounds else plain


def _unbound(schema: Schema, definitions: Schema) -> Any:
    match schema.get("type"):
        case "array":
            return list[type_of(schema.get("items") or {}, definitions)]  # type: ignore[misc]
        case "object" if "properties" in schema:
            required = schema.get("required", ())
            fields = [
                (name, type_of(one, definitions)) if name in required else (name, type_of(one, definitions), msgspec.UNSET)
                for name, one in schema["properties"].items()
            ]
            return msgspec.defstruct("Options", fields, kw_only=True, forbid_unknown_fields=True)
        case "object":
            values = schema.get("additionalProperties")
            return dict[str, type_of(values if isinstance(values, dict) else {}, definitions)]  # type: ignore[misc]
        case str(kind) if kind in _PLAIN:
            return _PLAIN[kind]
    return Any
