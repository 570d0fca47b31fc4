"""`load` with weights that are none, in a process of its own: a runtime may end the one it is in.

python -m modelhost.testing.bad_weights MODULE CLASS < options.json
"""

import json
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from modelhost.contract.backend import Backend
from modelhost.contract.errors import BackendFailedError, ModelhostError
from modelhost.contract.failures import Failure, written
from modelhost.contract.log import Log, silent
from modelhost.worker.instance import Instance

WHAT_TO_DO = "raise BadInputError, or NotReadyError.missing(what, command), with what is wrong with the weights"


def outcome_of_loading(
    backend: type[Backend[Any]], options: dict[str, Any], sources: tuple[str, ...], patience: float
) -> str | None:
    """Return what is wrong with how a backend refuses weights that are none; None where nothing is.

    `sources` are the names of the options that say where weights are.
    """
    plain = {name: value for name, value in options.items() if name not in sources}
    files = tuple(name for name in sources if not _is_folder(options[name]))
    several = tuple(name for name in sources if isinstance(options[name], (list, tuple)))
    return _outcome(backend.__module__, backend.__qualname__, json.dumps(plain, default=str), sources, files, several, patience)


def _is_folder(option: Any) -> bool:
    from modelhost.contract.source import Source
    from modelhost.testing.loaded import place_of_source

    first = option[0] if isinstance(option, (list, tuple)) else option
    return Path(place_of_source(Source.from_option(first))["path"]).is_dir()


@cache
def _outcome(
    module: str,
    name: str,
    plain: str,
    sources: tuple[str, ...],
    files: tuple[str, ...],
    several: tuple[str, ...],
    patience: float,
) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = json.loads(plain)
        for number, option in enumerate(sources):
            path = Path(folder, f"{number}-empty")
            path.touch() if option in files else path.mkdir()
            resolved = {"uri": str(path), "path": str(path)}
            options[option] = [resolved] if option in several else resolved
        command = [sys.executable, "-m", "modelhost.testing.bad_weights", module, name]
        try:
            done = subprocess.run(command, input=json.dumps(options).encode(), capture_output=True, timeout=patience, check=False)
        except subprocess.TimeoutExpired:
            return f"load with empty weights has not ended after {patience:g} s; {WHAT_TO_DO}"
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode == 0 and lines and lines[-1] == "fine":
        return None
    output = done.stderr.decode(errors="replace").strip()[-2000:]
    if done.returncode == 1:
        return f"load with empty weights fails with an exception of Python's own; {WHAT_TO_DO}\n{output}"
    return (
        f"load with empty weights ends its process (status {done.returncode}); look at the file first, and {WHAT_TO_DO}\n{output}"
    )


def main(module: str, name: str) -> int:
    """Load a backend and say how it went by the exit status: 0 for loaded or refused, 1 for failed."""
    failures: list[Failure] = []
    backend = getattr(import_module(module), name)
    instance = Instance(backend, json.load(sys.stdin), model="under-test", threads=1, log=Log(silent), failed=failures.append)
    try:
        instance.load()
    except BackendFailedError:
        print(written(failures[-1].error) if failures else "", file=sys.stderr)  # noqa: T201
        return 1
    except ModelhostError:
        pass
    print("fine", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    import os

    status = main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # threads that `load` began must not keep it
