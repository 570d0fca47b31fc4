"""What a client that is quick waits for, while hundreds of slow ones (Debian's slowhttptest) hold connections to the host."""

import contextlib
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measurement import Host, ratio, serving, tell

CONNECTIONS = 400
SECONDS = 10
ROUNDS = 2
MODES = {"slow headers": "-H", "slow bodies": "-B"}

CONFIG = """
[models.echo]
plugin = "echo"
"""
BODY = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]})


def waits(port: int, seconds: float) -> list[float]:
    """Ask one request after the other, on a new connection every fourth time; returns how long each took, in milliseconds."""
    took: list[float] = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        if len(took) % 4 == 0:
            connection.close()
        connection.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        took.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.002)
    connection.close()
    return took


@contextlib.contextmanager
def slow_clients(mode: str, host: Host, folder: str) -> Iterator[None]:
    """Hold connections by slow clients, all of them at once, and bring them back when they are closed."""
    url = f"{host.url}/v1/chat/completions"
    command = ["slowhttptest", MODES[mode], "-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-i", "1", "-p", "30"]
    command += ["-l", str(SECONDS + 3), "-t", "POST", "-s", "8192", "-x", "10", "-v", "0", "-u", url]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while established(host.port) < 100:
            assert process.poll() is None, "slowhttptest ended"
            time.sleep(0.01)
        yield
        assert process.poll() is None, "slowhttptest ended before the measurement"
    finally:
        process.terminate()
        process.wait()


def established(port: int) -> int:
    """Count the connections that are open to a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def main() -> None:
    """For each way of being slow, measure alone and beside it by turns."""
    if not shutil.which("slowhttptest"):
        sys.exit("slowhttptest is not on this machine. To get it: apt-get install slowhttptest")
    with serving(CONFIG) as host, tempfile.TemporaryDirectory() as folder:
        waits(host.port, 1)
        for mode in MODES:
            values: dict[str, list[float]] = {"alone": [], "beside": []}
            medians: dict[str, list[float]] = {"alone": [], "beside": []}
            worst, held = 0.0, []
            for _ in range(ROUNDS):
                alone = waits(host.port, SECONDS)
                with slow_clients(mode, host, folder):
                    beside = waits(host.port, SECONDS)
                    held.append(established(host.port))
                for name, took in (("alone", alone), ("beside", beside)):
                    values[name].append(statistics.quantiles(took, n=100)[98])
                    medians[name].append(statistics.median(took))
                worst = max(worst, *beside)
                while established(host.port) > 10:
                    time.sleep(0.1)
            tell(
                f"a fast client beside {CONNECTIONS} with {mode}",
                "all answered; medians beside / alone <= 1.5; worst <= 1000 ms",
                ratio=ratio(medians, "beside", "alone"),
                p99_ratio=ratio(values, "beside", "alone"),
                p99_ms=statistics.median(values["beside"]),
                p99_alone_ms=statistics.median(values["alone"]),
                worst_ms=worst,
                held=min(held),
            )


if __name__ == "__main__":
    main()
