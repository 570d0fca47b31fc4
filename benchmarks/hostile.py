"""What refusing hostile requests costs the host: CPU for each class of the tests' catalogue, and memory over many of them."""

import socket
import statistics
import sys
from pathlib import Path

from measurement import Host, cpu_seconds, serving, tell

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from hostile_requests import ATTACKS, CONFIG  # the catalogue lives with the tests

EACH = 40
"""Requests of a class in a row, so that the clock's ticks of 10 ms are small beside what they take."""

TIMES = 10_000


def refused(port: int, sent: bytes) -> None:
    """Send a request on a connection of its own and read until the host has closed it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        try:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            while line.recv(65536):
                pass
        except ConnectionError:
            pass


def cpu_of(host: Host, sent: bytes) -> float:
    """Return the milliseconds of CPU one refusal takes."""
    before = cpu_seconds(host.process.pid)
    for _ in range(EACH):
        refused(host.port, sent)
    return (cpu_seconds(host.process.pid) - before) / EACH * 1e3


def memory(host: Host) -> float:
    """Return the MiB the host holds."""
    fields = Path(f"/proc/{host.process.pid}/statm").read_text().split()
    return int(fields[1]) * 4096 / 2**20


def main() -> None:
    """Measure every class, then all of them by turns for a long time."""
    with serving(CONFIG) as host:
        costs = {name: cpu_of(host, attack.sent) for name, attack in ATTACKS.items()}
        attacks = list(ATTACKS.values())
        held: list[float] = []
        for n in range(TIMES):
            refused(host.port, attacks[n % len(attacks)].sent)
            if n % (TIMES // 10) == TIMES // 10 - 1:
                held.append(memory(host))
    worst = max(costs, key=costs.__getitem__)
    tell(
        "hostile requests",
        "each < 50 ms of CPU; memory flat over 10,000",
        classes=len(costs),
        worst_ms=costs[worst],
        worst_is=worst,
        median_ms=statistics.median(costs.values()),
        mib_after_1000=held[0],
        mib_after_10000=held[-1],
    )


if __name__ == "__main__":
    main()
