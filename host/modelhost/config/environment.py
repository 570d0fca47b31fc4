"""Environment variables on top of the file: `MODELHOST_SERVER__PORT=9000` sets `server.port`.

A mistake in a variable is told as one of the variable: whoever set it may never have seen the file.
"""

import contextlib
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from modelhost.config.schema import TABLES, Config, ModelConfig
from modelhost.contract.errors import ConfigError
from modelhost.contract.structs import Struct, literals

PREFIX = "MODELHOST_"
NOT_KEYS = ("MODELHOST_API_KEY", "MODELHOST_CACERT", "MODELHOST_CONFIG", "MODELHOST_PARENT", "MODELHOST_URL")
"""Variables with our prefix that are no keys of the file."""

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def override(raw: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Put every such variable's value into `raw`; returns a warning for each that names nothing. Raises `ConfigError`."""
    warnings = []
    variables = sorted(name for name in environ if name.startswith(PREFIX) and name not in NOT_KEYS)
    for variable in variables:
        keys = variable.removeprefix(PREFIX).lower().split("__")
        if len(keys) < 2 or keys[0] not in TABLES:
            warnings.append(f"{variable} names no key; write MODELHOST_SERVER__PORT for server.port, for example")
        elif keys[0] in ("models", "keys") and _is_nobodys(raw, keys, variables):
            there = ", ".join(raw.get(keys[0]) or ()) or "none"
            warnings.append(f"{variable} names nothing in {keys[0]}, where there are: {there}; it changes nothing")
        elif warning := _put(raw, keys, variable, environ[variable]):
            warnings.append(warning)
    return warnings


def _is_nobodys(raw: dict[str, Any], keys: list[str], variables: list[str]) -> bool:
    """Return whether an entry is neither in the file nor made by another variable, which for a model names its plugin."""
    entries = raw.get(keys[0])
    if isinstance(entries, dict) and _spelt(entries, keys[1]) in entries:
        return False
    makes = {"models": ("plugin",), "keys": ("key", "file", "sha256")}[keys[0]]
    return not any(f"{PREFIX}{keys[0]}__{keys[1]}__{key}".upper() in variables for key in makes)


def _put(raw: dict[str, Any], keys: list[str], variable: str, text: str) -> str | None:
    table, kind = raw, Config
    for number, key in enumerate(keys[:-1]):
        kind, spelt = _inner(kind, keys[: number + 1], variable), _spelt(table, key)
        table = table.setdefault(spelt, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{variable} sets a key of {spelt}, which is not a table")
    kind = _inner(kind, keys, variable)
    if text == "" and not _takes(kind, ""):
        return f"{variable} is empty and changes nothing"
    table[_spelt(table, keys[-1])] = _value(kind, variable, text)
    return None


def _spelt(table: Mapping[str, Any], key: str) -> str:
    """Return a table's key, which a variable writes in the letters that a shell allows: `tiny.en` as `tiny_en`."""
    found = [known for known in table if _plain(known) == _plain(key)]
    if len(found) > 1:
        raise ConfigError(f"{PREFIX}…__{key.upper()} may mean {' or '.join(map(repr, found))}; set that in the file")
    return found[0] if found else key


def _plain(key: str) -> str:
    return re.sub(r"\W", "_", key.lower())


def _inner(kind: Any, keys: list[str], variable: str) -> Any:
    """Return the type of the last key in a table of type `kind`. Raises `ConfigError` where there is no such key."""
    kind = _bare(kind)
    if keys[:2] == ["defaults", "models"] and len(keys) == 3:
        kind = ModelConfig  # in the file's type any value, so that what is missing there is not missed
    if get_origin(kind) is dict:
        names, inner = get_args(kind)
        allowed = list(literals(names))
        if allowed and keys[-1] not in allowed:
            raise ConfigError(f"{variable}: there is no {'.'.join(keys)}; allowed here: {', '.join(allowed)}")
        return inner
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        return Any  # a plugin's own; or no table at all, which is found where it is read
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    if keys[-1] not in known:
        near = get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{variable}: there is no key {'.'.join(keys)}; {hint}allowed here: {', '.join(known)}")
    return known[keys[-1]]


def _bare(kind: Any) -> Any:
    """Take `Annotated` and `| None` off a type."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        parts = [part for part in get_args(kind) if part is not NoneType]
        return _bare(parts[0]) if len(parts) == 1 else kind
    return kind


def _takes(kind: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _value(kind: Any, variable: str, text: str) -> Any:
    """Read a variable's text as the key's type has it: as TOML, as it stands, or as a shell has such a value."""
    candidates: list[Any] = [text]
    with contextlib.suppress(ValueError, RecursionError):
        candidates.insert(0, tomllib.loads(f"value = {text}")["value"])
    bare = _bare(kind)
    if bare is bool and text.strip().lower() in (*_YES, *_NO):
        candidates = [text.strip().lower() in _YES]
    elif get_origin(bare) in (tuple, list):
        candidates.append([part.strip() for part in text.split(",") if part.strip()])
    for value in candidates:
        if _takes(kind, value):
            return value
    try:
        msgspec.convert(candidates[0], kind)
    except msgspec.ValidationError as error:
        problem = str(error).partition(" - at `")[0].replace("Expected", "expected")
        values = ", ".join(literals(kind))
        raise ConfigError(f"{variable}: {problem}{f'; allowed: {values}' if values else ''}") from None
    raise AssertionError(variable)
