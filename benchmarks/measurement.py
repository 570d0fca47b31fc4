"""What the benchmarks share: measuring things beside each other, and telling the outcome in one line."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


def interleaved(rounds: int, **measures: Callable[[], float]) -> dict[str, list[float]]:
    """Run measures by turns, so that what else the machine does hits all alike; returns each one's values."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            values[name].append(measure())
    return values


def ratio(values: dict[str, list[float]], of: str, to: str) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(values[of], values[to], strict=True))


def tell(name: str, wanted: str, **results: Any) -> None:
    """Print one line of JSON: what was measured, what is wanted, what came out."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in results.items()}
    print(json.dumps({"benchmark": name, "wanted": wanted, "cores": os.cpu_count(), **rounded}))


def wall(*command: str, env: dict[str, str] | None = None) -> float:
    """Return the seconds a command takes."""
    began = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used so far, in all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without this machine's configuration and caches."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MODELHOST_", "XDG_"))}
    return {**env, "XDG_CACHE_HOME": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "config")}


class Host:
    """A running host: its URL, and its process for whoever measures that."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


def _drain(pipe: int) -> None:
    """Read a log as cheaply as can be: line by line would take from what is measured."""
    while os.read(pipe, 1 << 20):
        time.sleep(0.05)  # lets it gather


@contextmanager
def serving(config: str, *, program: str = "-m modelhost serve --port 0", env: dict[str, str] | None = None) -> Iterator[Host]:
    """Run a host with a configuration; its log goes to a pipe that is read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "modelhost.toml").write_text(config)
        command = [sys.executable, *program.split()]
        process = subprocess.Popen(
            command, cwd=folder, env={**environment(folder), **(env or {})}, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if " on http://" in line)
            threading.Thread(target=_drain, args=(process.stderr.fileno(),), daemon=True).start()
            yield Host(process, int(line.rpartition(":")[2]))
        finally:
            process.terminate()
            process.wait()
