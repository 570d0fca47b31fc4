"""The keys in use, and how they change without a restart."""

import asyncio
from pathlib import Path
from typing import Any

from modelhost.access.keys import Keys, read_keys
from modelhost.config import Loaded, load_config
from modelhost.config.paths import path_in
from modelhost.contract.errors import ConfigError
from modelhost.contract.log import Log, place_of

LOOK_SECONDS = 1.0
"""Seconds between two looks at the files that hold keys. Chosen, because a revoked key should be refused at once, and `stat`
costs nothing."""


class KeyRing:
    """Holds the keys of a host, and reads them again when their files change."""

    def __init__(self, loaded: Loaded, keys: Keys, log: Log) -> None:
        self._loaded = loaded
        self.keys = keys
        self._log = log

    async def reload(self) -> None:
        """Read the keys again. A file that is wrong, or has no keys where there were some, changes nothing.

        The keys alone: one that was revoked must not be good until the plugins have been asked about everything else.
        """
        if self._loaded.path is None:
            return
        try:
            loaded, keys = await asyncio.to_thread(_read_again, self._loaded.path)
        except Exception as error:  # whatever is wrong with the file, it will be mended, and must then be read
            reason = error.message if isinstance(error, ConfigError) else f"{type(error).__name__} at {place_of(error)}"
            self._log.error("the keys stay as they are", reason=reason)
            return
        if self.keys and not keys:
            # A file that is just being written looks like this too, and must not open the host to everybody.
            self._log.error("the keys stay as they are", reason="the file has none any more; to go without takes a restart")
            return
        self._loaded, self.keys = loaded, keys
        self._log.info("the keys have been read", keys=len(keys))

    async def watch(self) -> None:
        """Read the keys again whenever a file that holds them has changed, until cancelled."""
        seen = await asyncio.to_thread(self._stamps)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                now = await asyncio.to_thread(self._stamps)
                if now != seen:
                    seen = now
                    await self.reload()
            except Exception as error:  # who stopped watching would leave revoked keys valid for good
                self._log.error("the files of the keys cannot be looked at", error=type(error).__name__, place=place_of(error))

    def _stamps(self) -> dict[Path, Any]:
        """Return what changes when a file does."""
        folder, config = self._loaded.folder, self._loaded.config
        named = [path_in(folder, key.file, f"keys.{name}.file") for name, key in config.keys.items() if key.file]
        return {path: _stamp(path) for path in (*self._loaded.files, *named)}


def _read_again(path: Path) -> tuple[Loaded, Keys]:
    """Read the configuration and what its keys name; a network drive may take its time for either."""
    loaded = load_config(path)
    return loaded, read_keys(loaded.config.keys, loaded.folder, loaded.name)


def _stamp(path: Path) -> Any:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
