"""Who may ask: named API keys, kept as digests only, each with what it is good for."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from modelhost.config.paths import path_in, read_text
from modelhost.config.schema import KeyConfig, Scope
from modelhost.contract.errors import ConfigError
from modelhost.contract.structs import Struct

SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
"""`inference`: use the models. `metrics`: read /metrics. `admin`: load, unload, and see or cancel what others do."""

SHORTEST = 16
"""Characters a key must have. Chosen, because shorter ones can be guessed over the network (16 characters of hex are 64 bits)."""


MOST_BYTES = 64 * 1024
"""Of a file with a key: chosen, because no header could carry a longer one (`MAX_HEAD`)."""


class Caller(Struct):
    """Who asks: the name of a key and its scopes."""

    name: str
    scopes: frozenset[Scope]


ANYBODY = Caller(name="", scopes=SCOPES)
"""Who asks a host that has no keys."""


class Keys:
    """The keys of a host. Which one a caller has takes the same time to find out whoever it is."""

    def __init__(self, callers: Iterable[tuple[bytes, Caller]]) -> None:
        self._callers = tuple(callers)

    def __bool__(self) -> bool:
        return bool(self._callers)

    def __len__(self) -> int:
        return len(self._callers)

    def whose(self, key: bytes) -> Caller | None:
        """Return whose key this is, or None. Compares with every digest, in constant time each."""
        digest = hashlib.sha256(key).digest()
        found = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def read_keys(configured: Mapping[str, KeyConfig], folder: Path, where: str) -> Keys:
    """Read the keys of a configuration; files are relative to `folder`. Raises `ConfigError`."""
    callers: dict[bytes, Caller] = {}
    for name, config in configured.items():
        digest = _digest(config, folder, f"{where}: keys.{name}")
        if digest in callers:
            raise ConfigError(f"{where}: keys.{name} is the same key as keys.{callers[digest].name}")
        callers[digest] = Caller(name=name, scopes=frozenset(config.scopes))
    return Keys(callers.items())


def _digest(config: KeyConfig, folder: Path, at: str) -> bytes:
    given = [name for name in ("key", "file", "sha256") if getattr(config, name) is not None]
    if len(given) != 1:
        raise ConfigError(f"{at} needs one of key, file and sha256; `modelhost keys new` makes one")
    if config.sha256 is not None:
        return bytes.fromhex(config.sha256)
    key = config.key if config.key is not None else _in_file(path_in(folder, config.file or "", f"{at}.file"), at)
    if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"{at}: a key is at least {SHORTEST} printable ASCII characters without spaces; `modelhost keys new` makes one"
        )
    return hashlib.sha256(key.encode()).digest()


def _in_file(path: Path, at: str) -> str:
    try:
        return read_text(path, MOST_BYTES).strip()
    except ConfigError as error:
        raise ConfigError(f"{at}.file: {error.message}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{at}.file: {path} cannot be read ({type(error).__name__})") from None
