"""Finding a plugin's class in the interpreter that will run it."""

import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from modelhost.contract.backend import Backend
from modelhost.contract.errors import PluginError

GROUP = "modelhost.backends"


def find_plugin(name: str) -> EntryPoint:
    """Find the one entry point of that name. Raises `PluginError` when there is none, or more than one distribution's."""
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    owners = sorted({entry.dist.name if entry.dist else "?" for entry in found})
    if not found:
        raise PluginError(f"no plugin {name!r} is installed here; `modelhost plugins` lists those that are")
    if len(owners) > 1:
        raise PluginError(f"the distributions {' and '.join(owners)} both bring a plugin {name!r}; uninstall one")
    return found[0]


def import_backend(name: str) -> type[Backend[Any]]:
    """Import a plugin's class. Raises `PluginError`; what the import itself raises is named by type only."""
    entry = find_plugin(name)
    try:
        backend = entry.load()
    except Exception as error:
        missing = f": no module named {error.name!r}" if isinstance(error, ModuleNotFoundError) else ""
        raise PluginError(f"importing plugin {name!r} failed ({type(error).__name__}{missing}{_place(error)})") from error
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        raise PluginError(f"{entry.value} is not a subclass of modelhost.Backend")
    return backend


def _place(error: Exception) -> str:
    """Return in which line of whose file an import failed; the machinery of imports itself is left out."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {Path(error.filename).name}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if len(frames) > 1 else ""
