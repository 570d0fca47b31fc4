"""Finds the configuration file, reads it and those it includes, and puts the environment on top."""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from platformdirs import user_config_path

from modelhost.config.environment import override
from modelhost.config.paths import read_text
from modelhost.config.schema import TABLES, Config, ModelConfig, Table
from modelhost.contract.errors import ConfigError
from modelhost.contract.structs import Struct, literals
from modelhost.contract.types import ABILITIES, Ability

FILE_NAME = "modelhost.toml"
MOST_BYTES = 16 * 1024 * 1024
"""Of a file of the configuration: chosen, because ten thousand models with all their keys take half of it."""
STARTER = "the starter configuration"

_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]+/?")
"""RFC 6454, section 6.2: a scheme, a name and perhaps a port."""

_HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]")

_REFERENCE = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Loaded(Struct):
    """A configuration with where it came from."""

    config: Config
    path: Path | None
    """The file; None for the starter configuration."""
    origins: dict[str, Path] = {}
    """For each model the file that defines it."""
    files: tuple[Path, ...] = ()
    """Every file that was read or, like .env, would have been."""
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return what to call it in messages."""
        return STARTER if self.path is None else str(self.path)

    @property
    def folder(self) -> Path:
        """Return where the host's own relative paths start."""
        return Path.cwd() if self.path is None else self.path.parent

    def folder_of(self, model: str) -> Path:
        """Return where a model's relative paths start."""
        return self.origins[model].parent if model in self.origins else self.folder


def find_config(path_given: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: asked for, MODELHOST_CONFIG, working directory, user's folder; None means the starter."""
    for named, by in ((path_given, "--config"), (environ.get("MODELHOST_CONFIG"), "MODELHOST_CONFIG")):
        if named:
            if not Path(named).is_file():
                raise ConfigError(f"{by} names {named}, which is not a file")
            return Path(named).absolute()
    for folder in (Path.cwd(), user_config_path("modelhost")):
        found = folder / FILE_NAME
        if found.is_dir():
            raise ConfigError(f"{found} is a folder, not a file; containers make one of a mount whose file is missing")
        if found.exists():
            return found
    return None


def load_config(path_given: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the configuration. Raises `ConfigError`."""
    environ = os.environ if environ is None else environ
    path = find_config(path_given, environ)
    if path is None:
        raw = tomllib.loads(files("modelhost.config").joinpath("starter.toml").read_text())
        origins: dict[str, Path] = {}
        files_read: list[Path] = []
        seen = environ
    else:
        files_read = [path.parent / ".env"]
        raw, origins = _read_all(path, files_read)
        seen = {**_beside(path), **environ}
    name = STARTER if path is None else str(path)
    warnings = override(raw, seen)
    raw = _interpolate(raw, seen, origins, name)
    _check_keys(raw, origins, name)
    _apply_defaults(raw)
    config = _convert(raw, origins, name)
    _check_names(config, name)
    return Loaded(config=config, path=path, origins=origins, files=tuple(files_read), warnings=tuple(warnings))


def _read_all(path: Path, files_read: list[Path], above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, Path]]:
    """Read a file and what it includes; the including file wins, and no model may be defined twice."""
    if path.resolve() in above:
        raise ConfigError(f"{above[-1]}: include names {path}, which includes this file in turn")
    files_read.append(path)
    raw = _read(path)
    models = raw.get("models")
    origins = dict.fromkeys(models, path) if isinstance(models, dict) else {}
    merged: dict[str, Any] = {}
    for included in _included(raw.get("include", []), path):
        inner, inner_origins = _read_all(included, files_read, (*above, path.resolve()))
        for model in inner_origins.keys() & origins.keys():
            raise ConfigError(f"{origins[model]}: models.{model} is also defined in {inner_origins[model]}; remove one")
        origins |= inner_origins
        _merge(merged, inner)
    _merge(merged, raw)
    return merged, origins


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(read_text(path, MOST_BYTES))
        if at := _nul_in({key: value for key, value in raw.items() if key != "include"}):  # which is told of below
            raise ConfigError(f"{path}: {at} has a NUL character in it, which neither a path nor a name may have")
        return raw
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: numbers and nesting have limits too
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _nul_in(value: Any, at: str = "") -> str:
    """Find a text with a NUL in it, on which the system's calls break off; returns where it stands."""
    if isinstance(value, str):
        return at if "\0" in value else ""
    inside: Iterable[tuple[Any, str]] = ()
    if isinstance(value, list):
        inside = ((inner, at) for inner in value)
    elif isinstance(value, dict):
        inside = ((part, f"{at}.{key}".lstrip(".").replace("\0", "\\0")) for key, inner in value.items() for part in (key, inner))
    return next((found for inner, where in inside if (found := _nul_in(inner, where))), "")


def _beside(path: Path) -> dict[str, str]:
    """Read the .env beside a file, if there is one."""
    file = path.parent / ".env"
    try:
        text = read_text(file, MOST_BYTES) if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({type(error).__name__})") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise ConfigError(f"{file}: line {binding.original.line} is not NAME=value; mend it, or put a # before it")
    return {key: value or "" for key, value in dotenv_values(stream=StringIO(text)).items()}


def _included(patterns: Any, path: Path) -> Iterator[Path]:
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"{path}: include must be a list of file names")
    for pattern in patterns:
        anchor = Path(pattern).anchor
        try:
            found = sorted(Path(anchor or path.parent).glob(pattern.removeprefix(anchor)))
        except (ValueError, IndexError, NotImplementedError, OSError):  # by pathlib, for "", ".", "a**" and loops of links
            raise ConfigError(f"{path}: include names {pattern!r}, which is neither a file name nor a pattern") from None
        if not found and not re.search(r"[*?\[]", pattern):
            raise ConfigError(f"{path}: include names {pattern}, which is not there")
        yield from (file for file in found if file.resolve() != path.resolve())


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _interpolate(raw: dict[str, Any], environ: Mapping[str, str], origins: dict[str, Path], name: str) -> Any:
    """Replace ${NAME} in every string; models that are not enabled may name what is not set."""

    def walk(value: Any, at: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            if at[:1] == ("models",) and len(at) == 2 and value.get("enabled") is False:
                return value
            return {key: walk(inner, (*at, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, at) for inner in value]
        return _REFERENCE.sub(lambda match: expand(match, at), value) if isinstance(value, str) else value

    def expand(match: re.Match[str], at: tuple[str, ...]) -> str:
        if match[1]:
            return f"${{{match[2]}}}"
        if match[2] not in environ:
            where = origins.get(at[1], name) if at[0] == "models" and len(at) > 1 else name
            raise ConfigError(
                f"{where}: {'.'.join(at)} needs the environment variable {match[2]}, which is not set; "
                "set it, or put it into a .env file beside the configuration"
            )
        return environ[match[2]]

    return walk(raw, ())


def _check_keys(raw: dict[str, Any], origins: dict[str, Path], name: str) -> None:
    """Refuse keys nobody knows, with what is allowed there: clearer than the decoder's own message."""

    def check(table: Any, kind: type, at: str, where: Any, beside: tuple[str, ...] = ()) -> None:
        if not isinstance(table, dict):
            return
        allowed = [key for key in kind.__struct_fields__ if key not in beside]  # type: ignore[attr-defined]
        for key in table.keys() - set(allowed):
            near = get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else _elsewhere(table, key, at) if kind is ModelConfig else ""
            raise ConfigError(f"{where}: unknown key {at}{key}; {hint}allowed here: {', '.join(allowed)}")

    check(raw, Config, "", name)
    for table in TABLES.values():
        found = raw.get(table.name)
        if table.kind is None:
            continue
        if not table.entries:
            check(found, table.kind, f"{table.name}.", name)
            continue
        for entry, inner in (found if isinstance(found, dict) else {}).items():
            where = origins.get(entry, name) if table.name == "models" else name
            check(inner, table.kind, f"{table.name}.{entry}.", where)
    defaults = raw.get("defaults")
    if isinstance(defaults, dict):
        check(defaults.get("models"), ModelConfig, "defaults.models.", name, beside=("plugin", "options", "aliases", "listed_as"))


def _elsewhere(table: dict[str, Any], key: str, at: str) -> str:
    """Return where a key of a model may belong."""
    if isinstance(table[key], dict):
        return f'a name with a dot needs quotes: [models."{at.removeprefix("models.")}{key}"]; '
    return f"the plugin's options stand below [{at}options]; " if at != "defaults.models." else ""


def _apply_defaults(raw: dict[str, Any]) -> None:
    defaults = raw.get("defaults")
    shared = defaults.get("models") if isinstance(defaults, dict) else None
    models = raw.get("models")
    if not isinstance(shared, dict) or not isinstance(models, dict):
        return
    for table in models.values():
        if isinstance(table, dict):
            for key, value in shared.items():
                table.setdefault(key, value)


def _convert(raw: dict[str, Any], origins: dict[str, Path], name: str) -> Config:
    # msgspec does not say which entry of a table is meant, so entries whose names are free are read one by one first.
    defaults = raw.get("defaults")
    if isinstance(defaults, dict) and isinstance(defaults.get("models"), dict):
        _read_as(ModelConfig, {**defaults["models"], "plugin": ""}, "defaults.models", name)
    for table in (table.name for table in TABLES.values() if table.entries):
        entries = raw.get(table)
        for entry, value in entries.items() if isinstance(entries, dict) else ():
            where = origins.get(entry, name) if table == "models" else name
            _read_as(Config.__annotations__[table], {entry: value}, f"{table}.{entry}", where)
    config: Config = _read_as(Config, raw, "", name)
    return config


def _read_as(kind: Any, value: Any, at: str, where: Any) -> Any:
    """Convert a part of the file that lies at `at`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problem, _, inner = str(error).rpartition(" - at `")
        key = at + inner.rstrip("`").removeprefix("$").removeprefix("[...]")
        if inner.startswith("key"):
            key, problem = at, _bad_name(TABLES[at.partition(".")[0]])
        raise ConfigError(f"{where}: {key.lstrip('.') or 'the file'}: {_plainly(problem)}{_choices(key.lstrip('.'))}") from None


def _bad_name(table: Table) -> str:
    if table.names == Ability:
        return f"not a known ability; allowed: {', '.join(ABILITIES)}"
    return "a name is letters, digits and . _ : / -, and starts with a letter or digit"


def _plainly(problem: str) -> str:
    for theirs, ours in (
        ("Expected `object`", "expected a table"),
        ("Object missing required field", "missing"),
        ("Expected ", "expected "),
        ("Invalid enum value", "not a known value:"),
    ):
        problem = problem.replace(theirs, ours)
    return problem


def _choices(key: str) -> str:
    """Name the allowed values of a key that has a fixed set of them."""
    section, _, rest = key.partition(".")
    kind = ModelConfig if section == "defaults" else TABLES[section].kind if section in TABLES else None
    last = re.sub(r"\[.*", "", rest.rpartition(".")[2])
    found = [field for field in msgspec.structs.fields(kind) if field.name == last] if kind else []
    values = list(literals(found[0].type)) if found else []
    return f"; allowed: {', '.join(values)}" if values else ""


def _check_names(config: Config, name: str) -> None:
    """Refuse two models under one name, and routes to models that are not there."""
    owner: dict[str, str | None] = dict.fromkeys(config.models)
    for model, settings in config.models.items():
        for alias in settings.names:
            if alias in owner:
                taken = f"an alias of {owner[alias]}" if owner[alias] else "a model"
                key = "aliases" if alias in settings.aliases else "listed_as"
                raise ConfigError(f"{name}: models.{model}.{key}: {alias!r} is already {taken}")
            owner[alias] = model
    for origin in config.server.cors_origins:
        if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"{name}: server.cors_origins: {origin!r} is no page's origin; write its scheme, name and port, and no path, "
                "as in 'https://chat.example.com'"
            )
    for host in config.server.allowed_hosts:
        if not _HOST_NAME.fullmatch(host):
            raise ConfigError(
                f"{name}: server.allowed_hosts: {host!r} is no name of a host; write it without scheme, port and path, "
                "as in 'models.example.com', '*.lan' or '*'"
            )
    for ability, names in config.routes.items():
        for target in names:
            if target not in owner:
                raise ConfigError(
                    f"{name}: routes.{ability}: there is no model {target!r}; there are: {', '.join(owner) or 'none'}"
                )
