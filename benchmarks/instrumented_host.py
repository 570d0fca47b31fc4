"""A host that also watches how late its event loop is; `paced_streams.py` starts it."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from modelhost.config import load_config
from modelhost.host import ModelHost
from modelhost.http.server.bind import address_of, bind
from modelhost.http.server.run import HostServer
from modelhost.observability.logs import host_log, set_up

EVERY = 0.005
"""Seconds between two looks."""


async def watch(lateness: list[float]) -> None:
    """Note by how much each wake-up is late, in milliseconds."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY
        await asyncio.sleep(EVERY)
        lateness.append((loop.time() - due) * 1000)


async def main() -> None:
    """Serve; each SIGUSR1 writes the lateness since the last one to `lateness.json`."""
    loaded = load_config()
    set_up("error", "json")
    server = loaded.config.server
    sock = bind(type(server)(port=0))
    lateness: list[float] = []

    def dump() -> None:
        unfinished = Path("lateness.json.part")
        unfinished.write_text(json.dumps(lateness))
        unfinished.replace("lateness.json")
        lateness.clear()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, dump)
    watching = asyncio.get_running_loop().create_task(watch(lateness))
    ready = lambda: print("ready on", address_of(sock, server), file=sys.stderr, flush=True)  # noqa: E731
    await HostServer(ModelHost.of(loaded, host_log()), ready).serve(sockets=[sock])
    watching.cancel()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
