"""What a worker process adds to a call that does nothing, over the same backend inline."""

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from measurement import tell
from modelhost.contract.context import Context
from modelhost.contract.log import Log, silent
from modelhost.runner.death import Death
from modelhost.runner.inline import InlineRunner
from modelhost.runner.process import ProcessRunner
from modelhost.runner.spec import WorkerSpec
from modelhost.testing import chat

ROUNDS = 40
CALLS = 100
REQUEST = chat("word")


class Watch:
    """Nothing here is expected to die."""

    def lost(self) -> None:
        """Do nothing."""

    def died(self, death: Death) -> None:
        """Do nothing."""


async def timed(call: Callable[[], Awaitable[None]]) -> list[float]:
    """Time calls one by one."""
    seconds = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - began)
    return seconds


async def main() -> None:
    """Measure both by turns."""
    nobody: Any = None
    runners: dict[str, ProcessRunner | InlineRunner] = {
        "process": ProcessRunner(WorkerSpec(plugin="echo", model="m"), log=Log(silent), watch=Watch(), host_call=nobody),
        "inline": InlineRunner("echo", "m", {}, threads=1, log=Log(silent), host_call=nobody),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for runner in runners.values():
        await runner.start()
    for _ in range(ROUNDS):
        for name, runner in runners.items():

            async def call(runner: ProcessRunner | InlineRunner = runner) -> None:
                async for _ in runner.call("generate", REQUEST, Context()):
                    pass

            seconds[name] += await timed(call)
    for runner in runners.values():
        await runner.stop()
    process, inline = (statistics.median(seconds[name]) * 1e6 for name in ("process", "inline"))
    tell("no-op call", "process adds <= 200 us at the median", added_us=process - inline, process_us=process, inline_us=inline)


if __name__ == "__main__":
    uvloop.run(main())
