"""A host that also watches how late its event loop is; `paced_streams.py` and `loop_pauses.py` start it."""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

from modelhost.config import load_config
from modelhost.host import ModelHost
from modelhost.http.server.bind import address_of, bind
from modelhost.http.server.run import HostServer
from modelhost.observability.logs import host_log, set_up

EVERY = 0.005
"""Seconds between two looks."""


async def watch(lateness: list[float], own: list[float]) -> None:
    """Note by how much each wake-up is late, in milliseconds, and how much of that the process has computed meanwhile.

    What else runs on a machine makes wake-ups late, and the process does not compute then: `own` is what it is itself to blame
    for. All of its threads count: one that decodes holds the interpreter's lock, and the loop waits.
    """
    loop = asyncio.get_running_loop()
    while True:
        due, computed = loop.time() + EVERY, time.process_time()
        await asyncio.sleep(EVERY)
        late = loop.time() - due
        lateness.append(late * 1000)
        own.append(min(late, time.process_time() - computed) * 1000)


async def main() -> None:
    """Serve; each SIGUSR1 writes the lateness since the last one to `lateness.json`, and its own part of it to `own.json`."""
    loaded = load_config()
    set_up("error", "json")
    server = loaded.config.server
    sock = bind(type(server)(port=0))
    lateness: list[float] = []
    own: list[float] = []

    def dump() -> None:
        for name, noted in (("own", own), ("lateness", lateness)):
            unfinished = Path(f"{name}.json.part")
            unfinished.write_text(json.dumps(noted))
            unfinished.replace(f"{name}.json")
            noted.clear()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, dump)
    watching = asyncio.get_running_loop().create_task(watch(lateness, own))
    ready = lambda: print("ready on", address_of(sock, server), file=sys.stderr, flush=True)  # noqa: E731
    await HostServer(ModelHost.of(loaded, host_log()), ready).serve(sockets=[sock])
    watching.cancel()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
