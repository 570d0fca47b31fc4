"""The plugins on this machine: found by their metadata, described in a process of their own, never imported here."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_cache_path

from modelhost.authors import devices
from modelhost.authors.devices import device_files
from modelhost.config.secrecy import given_to_workers
from modelhost.contract import backend, source
from modelhost.contract.structs import Struct
from modelhost.worker import describe
from modelhost.worker.describe import Description
from modelhost.worker.parent import VARIABLE
from modelhost.worker.plugin import GROUP

DESCRIBE_SECONDS = 10.0
"""What a plugin gets to import and describe itself."""


class Plugin(Struct):
    """A plugin with its description, or (quarantined) with the reason why there is none."""

    name: str
    python: str
    description: Description | None = None
    problem: str | None = None
    traceback: str | None = None
    """Of the exception that kept it from being imported: for an administrator's eyes only."""
    stamp: str = ""
    """Changes with its code, its interpreter, and what is installed for that."""


def installed() -> dict[str, list[EntryPoint]]:
    """List the plugins installed beside the host by name; more than one entry is more than one distribution's."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, {})[entry.dist.name if entry.dist else "?"] = entry
    return {name: list(entries.values()) for name, entries in sorted(found.items())}


Wanted = dict[tuple[str, str], dict[str, dict[str, Any]]]
"""(plugin, interpreter) → model → options."""


def describe_all(wanted: Wanted) -> dict[tuple[str, str], Plugin]:
    """Describe plugins and check their models' options; all at once, and none can hurt the others."""
    if not wanted:
        return {}
    running = _Running()
    with ThreadPoolExecutor(max_workers=min(8, len(wanted))) as executor:
        described = executor.map(lambda item: _describe(item[0][0], item[0][1], item[1], running), wanted.items())
        try:
            return dict(zip(wanted, described, strict=True))
        except BaseException:  # Ctrl-C: the executor waits for its threads, and they for what they have started
            running.end()
            raise


class _Running:
    """The processes that describe plugins now, to be ended together. They end with their host however that ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._over = False

    @contextlib.contextmanager
    def among(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        """Count a process among them inside the block."""
        with self._lock:
            self._processes.add(process)
            if self._over:
                _kill(process)
        try:
            yield
        finally:
            with self._lock:
                self._processes.discard(process)

    def end(self) -> None:
        """End them, and those that are still started."""
        with self._lock:
            self._over = True
            for process in self._processes:
                _kill(process)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _describe(name: str, python: str, models: dict[str, dict[str, Any]], running: _Running) -> Plugin:
    owners = installed().get(name, [])
    if python == sys.executable and len(owners) != 1:
        if not owners:
            near = get_close_matches(name, installed(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            problem = f"plugin {name!r} is not installed; {hint}installed are: {', '.join(installed()) or 'none'}"
        else:
            names = " and ".join(sorted(entry.dist.name if entry.dist else "?" for entry in owners))
            problem = f"the distributions {names} both bring a plugin {name!r}; uninstall one"
        return Plugin(name=name, python=python, problem=problem)
    here = python == sys.executable
    stamp = _stamp(python, owners[0] if here else None)
    asked = json.dumps(models, sort_keys=True, default=str)
    kept = _cache_file(stamp, asked) if here else None
    if kept and kept.is_file():
        try:
            description = msgspec.json.decode(kept.read_bytes(), type=Description)
            return Plugin(name=name, python=python, description=description, stamp=stamp)
        except (OSError, msgspec.MsgspecError):
            kept.unlink(missing_ok=True)
    plugin = _ask(name, python, asked, running)
    if kept and plugin.description and not _lacks_package(plugin.description):
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(msgspec.json.encode(plugin.description))
        unfinished.replace(kept)
    return msgspec.structs.replace(plugin, stamp=stamp)


def _lacks_package(description: Description) -> bool:
    """Whether a `package:` source was not installed: it may be by next time, so that answer must not be kept."""
    return any(
        source.uri.startswith("package:") and source.path is None
        for report in description.models.values()
        for source in report.sources
    )


def _ask(name: str, python: str, asked: str, running: _Running) -> Plugin:
    problem = traceback = None
    try:
        process = subprocess.Popen(
            [python, "-P", "-m", "modelhost.worker", "describe", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **{name: value for name, value in os.environ.items() if given_to_workers(name, value)},
                VARIABLE: str(os.getpid()),  # this thread waits for it, so it does not end before
            },
            start_new_session=True,
        )
    except OSError as error:
        return Plugin(name=name, python=python, problem=f"{python} cannot be started: {error.strerror}")
    try:
        with running.among(process):
            out, _ = process.communicate(asked.encode(), timeout=DESCRIBE_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.communicate()
        return Plugin(name=name, python=python, problem=f"importing it took longer than {DESCRIBE_SECONDS:g} s")
    try:
        answer = msgspec.json.decode(out)
        if "error" in answer:
            problem, traceback = answer["error"], answer.get("traceback")
        else:
            return Plugin(name=name, python=python, description=msgspec.convert(answer, Description))
    except (msgspec.MsgspecError, TypeError):
        how = (
            f"was ended by {signal.Signals(-process.returncode).name}"
            if process.returncode < 0
            else f"exited with status {process.returncode}"
        )
        missing = "" if python == sys.executable else f"; is modelhost installed for {python}?"
        problem = f"the process that imported it {how} without an answer{missing}"
    return Plugin(name=name, python=python, problem=problem, traceback=traceback)


def _stamp(python: str, entry: EntryPoint | None) -> str:
    """Digest what may change what a plugin can do: its interpreter, what is installed for that and, where known, its code."""
    code: list[tuple[str, int]] = []
    if entry:
        spec = find_spec(entry.module.partition(".")[0])
        files = [Path(spec.origin)] if spec and spec.origin else []
        files += [file for folder in (spec and spec.submodule_search_locations) or () for file in Path(folder).rglob("*.py")]
        code = [(str(file), file.stat().st_mtime_ns) for file in sorted(files) if file.exists()]
    # Whatever is installed or removed there changes the folder's own time.
    packages = {Path(sysconfig.get_path("purelib"))} if python == sys.executable else set()
    packages |= set(Path(python).parent.parent.glob("lib/python*/site-packages"))
    installed = [(str(folder), folder.stat().st_mtime_ns) for folder in sorted(packages) if folder.is_dir()]
    version = entry and [sys.version, entry.value, entry.dist.version if entry.dist else "?"]
    return hashlib.sha256(json.dumps([python, version, code, installed]).encode()).hexdigest()[:16]


def _cache_file(stamp: str, asked: str) -> Path:
    """Name the file that keeps a description: another one as soon as the plugin, this code, options or devices change."""
    own = [Path(module.__file__ or "").stat().st_mtime_ns for module in (backend, devices, source, describe)]
    key = json.dumps([stamp, own, device_files(), asked])
    return user_cache_path("modelhost") / "plugins" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
