"""Finding a plugin's class in the interpreter that will run it."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from modelhost.backend import Backend
from modelhost.errors import PluginError

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
        raise PluginError(f"importing plugin {name!r} failed ({type(error).__name__}{missing})") from error
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        raise PluginError(f"{entry.value} is not a subclass of modelhost.Backend")
    return backend
