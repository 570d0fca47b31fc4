"""A worker as the system sees it: a process that leads a session, and the pipe it prints to."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from modelhost.concurrency.daemon_threads import DaemonThreads
from modelhost.contract.errors import NotReadyError
from modelhost.runner.output import Output
from modelhost.runner.spec import WorkerSpec, worker_environment

OOM_SCORE = 300
"""Whom the kernel ends first when memory runs out: a worker rather than the host (proc(5): -1000 to 1000, inherited 0). Chosen,
because it outweighs 30 % of the machine's memory, and an operator can still set both apart."""

_threads = DaemonThreads("modelhost-reaper")


class Child:
    """Starts the process at once. `exited` is called with its status, on the loop, when it and all it started are gone."""

    def __init__(self, spec: WorkerSpec, line: int, folder: Path, exited: Callable[[int], None]) -> None:
        """Start `spec` in `folder` with one end of the line to the host; that end is still the caller's to close.

        Raises `NotReadyError`.
        """
        loop = asyncio.get_running_loop()
        self._reaping = threading.Lock()
        ours, theirs = os.pipe()
        try:
            self._process = _spawn(spec, line, theirs, folder)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._output = Output(loop, ours)
        _limit(self._process.pid, spec.memory)

        def reap() -> None:
            if hasattr(os, "waitid"):  # not on macOS before Python 3.13
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
                self.kill(signal.SIGKILL)  # what it may have started itself, while the number is still its own
            with self._reaping:
                status = self._process.wait()
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody asks any more
                loop.call_soon_threadsafe(exited, status)

        _threads.run(reap)

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def kill(self, how: signal.Signals) -> None:
        """Signal the process and all it started; nothing happens once it is reaped, for its number may be another's then."""
        with self._reaping:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, how)

    def close(self) -> None:
        """Stop reading what it prints: a child of its own that got away may hold the other end for ever."""
        self._output.close()

    def output(self) -> str:
        """Return the end of what it printed."""
        return self._output.text()

    def memory(self) -> int | None:
        """Return its own share of memory in bytes; None where the system does not say."""
        with contextlib.suppress(OSError, ValueError, StopIteration):
            rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
            return int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))) * 1024
        return None


def _spawn(spec: WorkerSpec, line: int, output: int, folder: Path) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            [spec.python, "-P", "-m", "modelhost.worker", "run", str(line)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[line],
            env=worker_environment(os.environ, spec),
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise NotReadyError(
            f"the interpreter {spec.python!r} of model {spec.model!r} cannot be started ({error.strerror}); check its `python`",
            retry=False,
        ) from None


def _limit(pid: int, memory: int) -> None:
    """Limit what the worker may take, before it has taken anything; on Linux only."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # it has ended already
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))
    if memory:
        # Not the address space: CUDA reserves more of that than any machine has, and mapped weights are no burden.
        with contextlib.suppress(OSError, ValueError):  # likewise, or the system's own limit is lower
            resource.prlimit(pid, resource.RLIMIT_DATA, (memory, memory))
