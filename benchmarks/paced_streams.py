"""64 streams of 300 events a second over HTTP, through a worker: what an event costs the host, and how late its loop gets."""

import asyncio
import json
import os
import signal
import statistics
from pathlib import Path

import uvloop
from measurement import cpu_seconds, serving, tell

STREAMS = 64
PACE = 300
SECONDS = 8
ROUNDS = 3

CONFIG = f"""
[models.paced]
plugin = "echo"
options = {{ pace = {PACE} }}
"""


async def one_stream(port: int, words: int) -> int:
    """Read a stream to its end; returns how many events came."""
    body = {"model": "paced", "stream": True, "messages": [{"role": "user", "content": "word " * words}]}
    raw = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    events = 0
    while data := await reader.read(65536):
        events += data.count(b"data: ")
    writer.close()
    return events


async def all_streams(port: int, words: int) -> int:
    """Read all of them at once."""
    return sum(await asyncio.gather(*(one_stream(port, words) for _ in range(STREAMS))))


def main() -> None:
    """Measure the CPU of the host's process and the lateness of its loop."""
    program = str(Path(__file__).with_name("instrumented_host.py"))
    per_event, late = [], []
    with serving(CONFIG, program=program) as host:
        folder = Path(f"/proc/{host.process.pid}/cwd").resolve()
        uvloop.run(all_streams(host.port, 10))
        for _ in range(ROUNDS):
            lateness_of(host.process.pid, folder)
            before = cpu_seconds(host.process.pid)
            events = uvloop.run(all_streams(host.port, PACE * SECONDS))
            per_event.append((cpu_seconds(host.process.pid) - before) / events * 1e6)
            late.append(statistics.quantiles(lateness_of(host.process.pid, folder), n=100)[98])
    tell(
        "64 paced streams",
        "host <= 25 us of CPU an event, p99 of loop lateness <= 10 ms",
        cpu_us_per_event=statistics.median(per_event),
        lateness_p99_ms=statistics.median(late),
        events=events,
    )


def lateness_of(pid: int, folder: Path) -> list[float]:
    """Fetch what the host has noted since the last time, in milliseconds."""
    file = folder / "lateness.json"
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    while not file.exists():
        pass
    noted: list[float] = json.loads(file.read_text())
    return noted


if __name__ == "__main__":
    main()
